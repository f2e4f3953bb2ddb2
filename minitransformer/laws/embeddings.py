"""Laws of embeddings."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.embeddings import Embeddings
from minitransformer.laws.cases import (
    LARGE,
    Draw,
    distinct_sizes,
    dtypes,
    numbers,
    randomise,
    seeds,
    shuffled,
    whole_numbers,
)
from minitransformer.laws.gradients import gradients_by_name
from minitransformer.laws.law import law
from minitransformer.laws.modules import Parameters
from minitransformer.laws.tolerances import LAYER, SUM, as_array, as_arrays, assert_close, assert_same

Function = Callable[..., Tensor]

EPS = 1e-12
"""What the norm adds to the variance."""

TABLES = ("word", "position", "segment")


@dataclass(frozen=True)
class TokensCase:
    """Tokens in a batch, each with its segment, and tables with two positions to spare."""

    batch: int
    length: int
    vocab_size: int
    n_segments: int
    d_model: int
    tables: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def token_ids(self) -> Tensor:
        """A word for each position."""
        return whole_numbers(self.seed, "tokens", 0, self.vocab_size, self.batch, self.length)

    @cached_property
    def segment_ids(self) -> Tensor:
        """A segment for each position."""
        return whole_numbers(self.seed, "segments", 0, self.n_segments, self.batch, self.length)

    @cached_property
    def parameters(self) -> Parameters:
        """Three tables, ordinary, as small as before training, or so large that no eps matters; a gain and a bias."""
        module = Embeddings(self.vocab_size, self.length + 2, self.n_segments, self.d_model)
        drawn = dict(randomise(module, self.seed, self.dtype).state_dict())
        size = {"ordinary": 1.0, "before training": 0.02, "large": LARGE**2}[self.tables]
        return drawn | {f"{table}.weight": size * drawn[f"{table}.weight"] for table in TABLES}

    @cached_property
    def plain(self) -> Parameters:
        """The same with a gain of 1 and a bias of 0."""
        gain, bias = torch.ones(self.d_model, dtype=self.dtype), torch.zeros(self.d_model, dtype=self.dtype)
        return self.parameters | {"norm.gain": gain, "norm.bias": bias}

    @property
    def place(self) -> tuple[int, int]:
        """The example and the position that are looked at while all others change."""
        return self.seed % self.batch, self.seed % self.length

    def with_table(self, table: str, rows: Tensor) -> Parameters:
        """The parameters with other rows in one of the tables."""
        return self.parameters | {f"{table}.weight": rows}


@st.composite
def tokens_cases(
    draw: Draw, tables: tuple[str, ...] = ("before training", "ordinary", "large"), narrowest: int = 2
) -> TokensCase:
    """Batches of tokens, down to one example, one position, one word and one segment."""
    batch, length, vocab_size, n_segments, d_model = draw(distinct_sizes(5, may_be_one=(0, 1, 2, 3)))
    return TokensCase(
        batch=batch,
        length=length,
        vocab_size=vocab_size,
        n_segments=n_segments,
        d_model=max(d_model, narrowest),
        tables=draw(st.sampled_from(tables)),
        dtype=draw(dtypes),
        seed=draw(seeds),
    )


def sums_of(case: TokensCase, parameters: Parameters) -> np.ndarray:
    """What is normalised: word + position + segment."""
    word, position, segment = (as_array(parameters[f"{table}.weight"]) for table in TABLES)
    sums: np.ndarray = word[case.token_ids] + position[: case.length] + segment[case.segment_ids]
    return sums


def scale_of(case: TokensCase, parameters: Parameters) -> float:
    """The largest number in a table, divided as the norm divides: over few columns it magnifies what was rounded."""
    spread = float(sums_of(case, parameters).var(-1).min()) + EPS
    largest = max(float(parameters[f"{table}.weight"].abs().max()) for table in TABLES)
    return 1 + largest / math.sqrt(spread) * (1 + float(parameters["norm.gain"].abs().max()))


def gradients(
    embeddings: Function, parameters: Parameters, token_ids: Tensor, segment_ids: Tensor, upstream: Tensor
) -> Parameters:
    """What each parameter gains per unit of it, as autograd finds it."""
    return gradients_by_name(lambda named: embeddings(named, token_ids, segment_ids), parameters, upstream)


def rows_of(chosen: Tensor) -> list[int]:
    """The numbers of the rows that are chosen."""
    return chosen.nonzero().flatten().tolist()


# What is added up


@law("embeddings", given=tokens_cases())
def embeddings_agree_with_the_reference(embeddings: Function, case: TokensCase) -> None:
    """Embeddings agree with the reference, entry by entry, whatever the size of the tables.

    Kills: an eps of 1e-5 beside tables that are small before training; all else that the other laws overlook.
    Hint: Set two of the tables to 0, and look at the third alone. At which of the three do you part?
    """
    actual = embeddings(case.parameters, case.token_ids, case.segment_ids)
    parameters = as_arrays(case.parameters)
    expected = reference.embeddings.embeddings(parameters, as_array(case.token_ids), as_array(case.segment_ids))
    assert_close(actual, expected, SUM, scale_of(case, case.parameters), what="a token's vector")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def a_vector_counts_the_same_in_any_of_the_three_tables(embeddings: Function, case: TokensCase) -> None:
    """A vector added to all rows of one table does the same, whichever of the three tables it is.

    Kills: words scaled by √d; the segment forgotten; tables normalised one by one, before the sum; concatenation.
    Hint: Follow a word's row and a position's row to the place where they meet. What is done to one and not the other?
    """
    shift = numbers(case.seed, "shift", case.d_model, dtype=case.dtype)
    words = case.with_table("word", case.parameters["word.weight"] + shift)
    expected = embeddings(words, case.token_ids, case.segment_ids)
    for table in ("position", "segment"):
        shifted = case.with_table(table, case.parameters[f"{table}.weight"] + shift)
        actual = embeddings(shifted, case.token_ids, case.segment_ids)
        scale = max(scale_of(case, words), scale_of(case, shifted))
        assert_close(actual, expected, SUM, scale, what=f"what a vector in the {table} table does")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def words_may_be_renumbered(embeddings: Function, case: TokensCase) -> None:
    """Giving the words other numbers, and their rows other places in the table, changes nothing, bit for bit.

    Kills: positions looked up by token id; a word that is taken for padding because its id is 0; ids off by one.
    Hint: Does anything but the look-up in the table of words depend on a token's id? Should it?
    """
    new_id = shuffled(case.seed, "words", case.vocab_size)
    renumbered = case.with_table("word", case.parameters["word.weight"][new_id.argsort()])
    actual = embeddings(renumbered, new_id[case.token_ids], case.segment_ids)
    expected = embeddings(case.parameters, case.token_ids, case.segment_ids)
    assert_same(actual, expected, what="the vectors of words with other ids")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def segments_may_be_renumbered(embeddings: Function, case: TokensCase) -> None:
    """Giving the segments other numbers, and their rows other places in the table, changes nothing, bit for bit.

    Kills: segment ids used as positions; the first segment taken for none.
    Hint: Which tables do you look up by segment id?
    """
    new_id = shuffled(case.seed, "segments renumbered", case.n_segments)
    renumbered = case.with_table("segment", case.parameters["segment.weight"][new_id.argsort()])
    actual = embeddings(renumbered, case.token_ids, new_id[case.segment_ids])
    expected = embeddings(case.parameters, case.token_ids, case.segment_ids)
    assert_same(actual, expected, what="the vectors of tokens in segments with other ids")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def tokens_move_with_their_positions(embeddings: Function, case: TokensCase) -> None:
    """Moving tokens to other places, and the first rows of the table of positions with them, moves their vectors.

    Kills: positions from 1 or 2; one position for all; positions counted along the batch, or past padding only.
    Hint: Which row of the table does the first token of the second example take? And which the second token of it?
    """
    order = shuffled(case.seed, "order", case.length)
    positions = case.parameters["position.weight"]
    moved = case.with_table("position", torch.cat([positions[order], positions[case.length :]]))
    actual = embeddings(moved, case.token_ids[:, order], case.segment_ids[:, order])
    expected = embeddings(case.parameters, case.token_ids, case.segment_ids)[:, order]
    assert_same(actual, expected, what="the vectors of tokens that moved with their positions")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def the_segment_is_the_first_unless_given(embeddings: Function, case: TokensCase) -> None:
    """Without segments, every token belongs to segment 0, whose vector is added, bit for bit.

    Kills: no segment vector where no segments are given.
    Hint: A text of a single segment has been seen in training. Which vector was added to its words then?
    """
    actual = embeddings(case.parameters, case.token_ids)
    expected = embeddings(case.parameters, case.token_ids, torch.zeros_like(case.token_ids))
    assert_same(actual, expected, what="the vectors of tokens without segments")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def tokens_do_not_know_each_other(embeddings: Function, case: TokensCase) -> None:
    """Changing every other token and its segment leaves a token's vector as it was, bit for bit.

    Kills: positions counted past padding only; a norm over the length or the batch; positions by the segment before.
    Hint: From which tokens could the vector of this one know anything at all?
    """
    others = torch.ones(case.batch, case.length, dtype=torch.bool)
    others[case.place] = False
    shape = case.batch, case.length
    token_ids = whole_numbers(case.seed, "other tokens", 0, case.vocab_size, *shape).where(others, case.token_ids)
    segment_ids = whole_numbers(case.seed, "other segments", 0, case.n_segments, *shape)
    actual = embeddings(case.parameters, token_ids, segment_ids.where(others, case.segment_ids))
    expected = embeddings(case.parameters, case.token_ids, case.segment_ids)
    assert_same(actual[case.place], expected[case.place], what="the vector of the only unchanged token")


# What the norm does


@law("embeddings", given=tokens_cases(tables=("large",), narrowest=7))
def every_token_has_mean_zero_and_mean_square_one(embeddings: Function, case: TokensCase) -> None:
    """With a gain of 1 and a bias of 0, every token's vector has mean 0 and mean square 1.

    Kills: no norm; the norm of the word alone, before the sum; the norm over the length.
    Hint: Add up the entries of one token's vector. What is the last thing that you do to it?
    """
    normal = embeddings(case.plain, case.token_ids, case.segment_ids).double()
    mean, mean_square = normal.mean(-1).to(case.dtype), normal.square().mean(-1).to(case.dtype)
    scale = scale_of(case, case.plain)
    assert_close(mean, torch.zeros_like(mean), SUM, scale, what="the mean of a token's vector")
    assert_close(mean_square, torch.ones_like(mean), SUM, scale**2, what="its mean square")


@law("embeddings", given=tokens_cases(tables=("ordinary",)))
def the_gain_and_the_bias_come_last(embeddings: Function, case: TokensCase) -> None:
    """The gain multiplies the normalised sum, and the bias is added to it; nothing is done after that.

    Kills: a norm that has no gain or no bias; vectors set to 0 afterwards, where padding is suspected.
    Hint: Set the gain to 0. What should every token's vector be then?
    """
    actual = embeddings(case.parameters, case.token_ids, case.segment_ids)
    normal = embeddings(case.plain, case.token_ids, case.segment_ids)
    expected = case.parameters["norm.gain"] * normal + case.parameters["norm.bias"]
    assert_close(actual, expected, SUM, scale_of(case, case.parameters), what="gain · normal + bias")


# What learns


@law("embeddings", given=tokens_cases(tables=("ordinary",), narrowest=3), needs_gradient=True)
def what_was_looked_up_learns_and_nothing_else(embeddings: Function, case: TokensCase) -> None:
    """The rows of the words, positions and segments that are there have a gradient; all other rows have exactly none.

    Kills: a table outside of autograd; a word that never learns because its id is taken for padding's.
    Hint: Which rows of each table did this batch read? Print which of them have a gradient.
    """
    upstream = numbers(case.seed, "upstream", case.batch, case.length, case.d_model, dtype=case.dtype)
    found = gradients(embeddings, case.parameters, case.token_ids, case.segment_ids, upstream)
    there = {"word": case.token_ids, "position": torch.arange(case.length), "segment": case.segment_ids}
    for table, ids in there.items():
        gradient = found[f"{table}.weight"]
        is_there = torch.isin(torch.arange(len(gradient)), ids)
        has_learned = gradient.any(-1)
        without, too_many = rows_of(is_there & ~has_learned), rows_of(has_learned & ~is_there)
        assert not without, f"rows {without} of the table of {table}s were looked up, and have no gradient"
        assert not too_many, f"rows {too_many} of the table of {table}s were not looked up, and have a gradient"


@law("embeddings", given=tokens_cases(tables=("ordinary",), narrowest=3), needs_gradient=True)
def each_row_gains_the_sum_over_its_places(embeddings: Function, case: TokensCase) -> None:
    """The gradient of a row is the sum of what it would be at each of its places, had each place a row of its own.

    Kills: the gradient of a word divided by its count; a table outside of autograd; words scaled by √d.
    Hint: A word stands in a sentence twice, and each time its row is read. What does the row gain from both?
    """
    shape = case.batch, case.length
    upstream = numbers(case.seed, "upstream", *shape, case.d_model, dtype=case.dtype)
    found = gradients(embeddings, case.parameters, case.token_ids, case.segment_ids, upstream)
    own_rows = case.with_table("word", case.parameters["word.weight"][case.token_ids].flatten(0, 1))
    own_ids = torch.arange(case.batch * case.length).view(shape)
    of_places = gradients(embeddings, own_rows, own_ids, case.segment_ids, upstream)["word.weight"]
    position_ids = torch.arange(case.length).expand(shape)
    for table, ids in (("word", case.token_ids), ("position", position_ids), ("segment", case.segment_ids)):
        actual = found[f"{table}.weight"]
        expected = torch.zeros_like(actual).index_add(0, ids.flatten(), of_places)
        scale = 1 + float(of_places.abs().sum())
        assert_close(actual, expected, LAYER, scale, what=f"the gradient of the table of {table}s")
