"""Laws of attention by tiles: the softmax that is carried on, what is read with it, and what goes back."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.attention_weights import rule_of, seeing_cases, sees_nothing
from minitransformer.laws.cases import AttentionCase, ManyCase, attention_cases, many_cases, numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same

Function = Callable[..., tuple[Tensor, ...]]
State = tuple[Tensor, ...]

TILE = (2, 3)
"""Queries by keys: so few that cases have several tiles, of which the last ones are seldom whole."""
TILES = ((4, 1), (2, 3))
FAR = 3e4
"""A score at a distance at which nothing of any other is left."""


# The softmax that is carried from tile to tile


def nothing_yet(case: AttentionCase) -> State:
    """What is carried before the first tile: no maximum, no sum, nothing read."""
    largest = torch.full((case.batch, case.length, 1), -math.inf, dtype=case.dtype)
    return largest, torch.zeros_like(largest), torch.zeros(case.batch, case.length, case.d_v, dtype=case.dtype)


def scores_of(case: AttentionCase) -> Tensor:
    """The scores of all queries and keys, −∞ where a key is hidden."""
    return (case.query @ case.key.mT / math.sqrt(case.d_k)).masked_fill(~case.visible, -math.inf)


def tiles_of(case: AttentionCase) -> list[Tensor]:
    """The places of the keys, some at once."""
    step = 1 + case.seed % 4
    return [torch.arange(start, min(start + step, case.memory)) for start in range(0, case.memory, step)]


def carried(online_softmax: Function, case: AttentionCase, score: Tensor, tiles: Iterable[Tensor]) -> State:
    """What is carried after all tiles."""
    state = nothing_yet(case)
    for columns in tiles:
        state = online_softmax(*state, score[..., columns], case.value[:, columns])
    return state


def finished(state: State) -> tuple[Tensor, Tensor]:
    """What is read, and the logarithm of the sum of exponentials; 0 for a query that may read nothing."""
    largest, total, read = state
    sees = total > 0
    return (read / total).where(sees, 0.0), (largest + total.log()).where(sees, 0.0)


def assert_finished_alike(actual: State, expected: State, scale: float, what: str) -> None:
    """Compare what two states come to: their maxima may differ."""
    for ours, theirs, part in zip(finished(actual), finished(expected), ("read", "sum"), strict=True):
        assert_close(ours, theirs, SUM, scale, what=f"the {part} {what}")


@law("online-softmax", given=attention_cases())
def one_tile_after_another_gives_what_all_keys_give_at_once(online_softmax: Function, case: AttentionCase) -> None:
    """Keys that are read tile by tile give what they give all at once.

    Kills: what was read, or the sum, not mended under a new maximum; a sum that begins anew.
    Hint: Two tiles, with the largest scores 0 and 1. Under which maximum was the first one summed up, and by which
    factor is it too large once the second is known?
    """
    score = scores_of(case)
    together = carried(online_softmax, case, score, [torch.arange(case.memory)])
    assert_finished_alike(carried(online_softmax, case, score, tiles_of(case)), together, case.scale, "tile by tile")


@law("online-softmax", given=attention_cases())
def the_order_of_the_tiles_does_not_matter(online_softmax: Function, case: AttentionCase) -> None:
    """The same tiles in the opposite order give the same.

    Kills: the maximum of the last tile alone, under which earlier exponentials overflow; a factor turned upside down.
    Hint: Let the largest score come first, and then let it come last. Is the maximum that you carry ever smaller than
    one that was seen?
    """
    score, tiles = scores_of(case), tiles_of(case)
    forwards, backwards = (carried(online_softmax, case, score, order) for order in (tiles, tiles[::-1]))
    assert_finished_alike(backwards, forwards, case.scale, "in the opposite order")


@law("online-softmax", given=attention_cases())
def a_tile_of_hidden_keys_changes_nothing(online_softmax: Function, case: AttentionCase) -> None:
    """A tile in which all keys are hidden changes nothing, bit for bit, whether it comes first or later.

    Kills: NaN from −∞ − (−∞); hidden keys that count because they are as large as their own maximum.
    Hint: Let all scores of the first tile be −∞. What is the maximum then, and what is left if you subtract it?
    """
    score = scores_of(case)
    for before in (nothing_yet(case), carried(online_softmax, case, score, tiles_of(case))):
        after = online_softmax(*before, torch.full_like(score, -math.inf), case.value)
        for name, one, other in zip(("maximum", "sum", "read"), before, after, strict=True):
            assert_same(other, one, what=f"the {name} after a tile of hidden keys")


@law("online-softmax", given=attention_cases())
def a_late_key_that_towers_over_all_others_is_read_alone(online_softmax: Function, case: AttentionCase) -> None:
    """After a last key whose score lies far above all others, nothing of them is left, bit for bit.

    Kills: a maximum that is not renewed, so that exponentials overflow; what was read before not mended.
    Hint: The scores 0 and 30,000 come in two tiles. What must become of all that was summed up under 0?
    """
    state = carried(online_softmax, case, scores_of(case), tiles_of(case))
    towering = torch.full((case.batch, case.length, 1), case.score_size + FAR, dtype=case.dtype)
    last = numbers(case.seed, "last value", case.batch, 1, case.d_v, dtype=case.dtype)
    read, log_sum = finished(online_softmax(*state, towering, last))
    assert_same(read, last.expand_as(read), what="what is read after a key that towers over all others")
    assert_same(log_sum, towering, what="the logarithm of the sum after it")


@law("online-softmax", given=seeing_cases())
def scores_far_below_zero_are_read_as_any_others(online_softmax: Function, case: AttentionCase) -> None:
    """Scores that all lie far below 0 give what they give near 0.

    Kills: a maximum that begins at 0 in place of −∞; exponentials without a maximum, which are all 0.
    Hint: Before the first tile no score has been seen. Which number is no larger than any score that may come?
    """
    score, tiles = scores_of(case), tiles_of(case)
    near, below = (finished(carried(online_softmax, case, score - far, tiles))[0] for far in (0.0, FAR))
    scale = case.scale + FAR * max(1.0, float(case.value.abs().max()))
    assert_close(below, near, SUM, scale, what="what is read under scores far below 0")


@law("online-softmax", given=attention_cases())
def what_is_carried_agrees_with_the_reference(online_softmax: Function, case: AttentionCase) -> None:
    """After each tile the maximum, the sum, and what is read agree with the reference.

    Kills: what is read divided too early; a sum that is not mended; a maximum of one tile alone.
    Hint: Follow the scores 0, ln 2 and ln 4 with a pencil, one by one. Which of the three numbers differs first?
    """
    state, score = nothing_yet(case), scores_of(case)
    for columns in tiles_of(case):
        given = (*state, score[..., columns], case.value[:, columns])
        expected = reference.kernels.tiled.online_softmax(*map(as_array, given))
        state = online_softmax(*given)
        for name, actual, wanted in zip(("maximum", "sum", "read"), state, expected, strict=True):
            assert_close(actual, wanted, SUM, case.scale * case.memory, what=f"the {name}")


# What is read by tiles


@law("tiled-attention", given=attention_cases())
def the_size_of_the_tiles_does_not_matter(tiled_attention: Function, case: AttentionCase) -> None:
    """Tiles of any size, down to one key, give the same.

    Kills: a last tile that is dropped because it is not whole; the rule of the first tile for all of them.
    Hint: Five keys in tiles of two: how many tiles are there, and which keys stand in the last?
    """
    given = (case.query, case.key, case.value, case.may_attend, None)
    whole = tiled_attention(*given, (case.length, case.memory))
    for tile in TILES:
        for name, actual, wanted in zip(("read", "sum"), tiled_attention(*given, tile), whole, strict=True):
            assert_close(actual, wanted, SUM, case.scale, what=f"the {name} in tiles of {tile[0]} by {tile[1]}")


@law("tiled-attention", given=attention_cases())
def what_is_read_by_tiles_agrees_with_attention(tiled_attention: Function, case: AttentionCase) -> None:
    """What is read tile by tile agrees with the reference of attention, which holds the whole matrix.

    Kills: the mean of what single tiles read; the rule of the first tile for all of them; a scale that comes twice.
    Hint: Two tiles read on their own are two softmaxes. Which of the two has more to say, and how much more?
    """
    read, _ = tiled_attention(case.query, case.key, case.value, case.may_attend, None, TILE)
    arrays = (as_array(case.query), as_array(case.key), as_array(case.value))
    expected = reference.attention.scaled_dot_product_attention(*arrays, rule_of(case))
    assert_close(read, expected, SUM, case.scale * math.sqrt(case.d_k), what="what is read")


@law("tiled-attention", given=attention_cases())
def the_logarithm_of_the_sum_gives_every_weight_back(tiled_attention: Function, case: AttentionCase) -> None:
    """A score less the logarithm of the sum is the logarithm of its weight; a row without weights has a finite one.

    Kills: the maximum left out of the logarithm; −∞ or NaN where a query may read nothing.
    Hint: The sum was taken of exponentials under the maximum. What is the logarithm of the sum without one?
    """
    _, log_sum = tiled_attention(case.query, case.key, case.value, case.may_attend, None, TILE)
    weights = (scores_of(case) - log_sum).exp()
    expected = reference.attention.attention_weights(as_array(case.query), as_array(case.key), rule_of(case))
    assert_close(weights, expected, SUM, case.score_size * math.sqrt(case.d_k), what="the weights given back")


@law("tiled-attention", given=sees_nothing)
def by_tiles_too_a_query_that_sees_nothing_reads_zeros(tiled_attention: Function, case: AttentionCase) -> None:
    """A query that may read nothing reads zeros, and its logarithm is finite, so that the way back is free of NaN.

    Kills: 0 divided by 0; the logarithm of a sum of 0.
    Hint: Hide every key from one query. What is its sum after the last tile, and what do you divide by it?
    """
    read, log_sum = tiled_attention(case.query, case.key, case.value, case.may_attend, None, TILE)
    assert not read[~case.visible.any(-1)].any(), "a query that sees nothing should read exact zeros"
    assert torch.isfinite(log_sum).all(), "every logarithm should be finite"


@law("tiled-attention", given=many_cases())
def in_bfloat16_many_tiles_lose_nothing(tiled_attention: Function, case: ManyCase) -> None:
    """In bfloat16 ten tiles of 51 equal keys with one value give that value, and the logarithm of 510.

    Kills: what is carried from tile to tile kept in bfloat16, where 306 + 51 is no number.
    Hint: Of which type is the sum that you carry? What is 256 + 1 in it?
    """
    tile = (2, 51)
    count = 10 * tile[1]
    query, key = torch.zeros(1, 2, 3).bfloat16(), torch.ones(1, count, 3).bfloat16()
    read, log_sum = tiled_attention(query, key, case.size.expand(1, count, 5), None, None, tile)
    assert_close(read / case.size, torch.ones_like(read), ROUNDING, 1.0, what="what is read, over the only value,")
    expected = torch.full_like(log_sum, math.log(count))
    assert_close(log_sum, expected, ROUNDING, math.log(count), what="the logarithm of the sum")


# What goes back by tiles

differentiable = attention_cases(scores=("ordinary", "equal"))


def upstream_of(case: AttentionCase) -> Tensor:
    """What the loss gains per unit of all that is read."""
    return numbers(case.seed, "upstream", case.batch, case.length, case.d_v, dtype=case.dtype)


def passed_back(
    gradient: Function, case: AttentionCase, upstream: Tensor, tile: tuple[int, int] = TILE
) -> tuple[Tensor, ...]:
    """What goes back to queries, keys and values, from what the reference read."""
    given = (case.query, case.key, case.value)
    query, key, value = map(as_array, given)
    kept = reference.kernels.tiled.tiled_attention(query, key, value, rule_of(case))
    read, log_sum = (torch.from_numpy(array).to(case.dtype) for array in kept)
    return gradient(upstream, *given, read, log_sum, case.may_attend, None, tile)


def size_of(case: AttentionCase, upstream: Tensor) -> float:
    """The size of the largest number on the way back."""
    largest = max(float(x.abs().max()) for x in (case.query, case.key, case.value))
    return case.scale * max(1.0, largest) * (1 + float(upstream.abs().sum()))


@law("tiled-attention-gradient", given=differentiable)
def what_goes_back_by_tiles_agrees_with_the_gradient_of_attention(gradient: Function, case: AttentionCase) -> None:
    """What goes back tile by tile agrees with the gradient of attention, derived by hand on the whole matrix.

    Kills: δ left out; weights that are not divided by their sum; hidden keys that are not hidden on the way back.
    Hint: Of one query and two keys, write the weights down, then their gradients. Which of your sums has other terms?
    """
    upstream = upstream_of(case)
    query, key, value = map(as_array, (case.query, case.key, case.value))
    expected = reference.attention.attention_gradient(as_array(upstream), query, key, value, rule_of(case))
    for name, actual, by_hand in zip(
        ("queries", "keys", "values"), passed_back(gradient, case, upstream), expected, strict=True
    ):
        assert_close(actual, by_hand, LAYER, size_of(case, upstream), what=f"the gradient of the {name}")


@law("tiled-attention-gradient", given=differentiable)
def on_the_way_back_too_the_size_of_the_tiles_does_not_matter(gradient: Function, case: AttentionCase) -> None:
    """Tiles of any size pass the same back.

    Kills: a tile that overwrites what another one passed back; δ summed up over the keys of one tile.
    Hint: Every key hears from several tiles of queries. Does each of them add to what was there, or replace it?
    """
    upstream = upstream_of(case)
    whole = passed_back(gradient, case, upstream, (case.length, case.memory))
    for tile in TILES:
        for actual, wanted in zip(passed_back(gradient, case, upstream, tile), whole, strict=True):
            what = f"a gradient in tiles of {tile[0]} by {tile[1]}"
            assert_close(actual, wanted, LAYER, size_of(case, upstream), what=what)


@law("tiled-attention-gradient", given=differentiable)
def the_gradients_of_the_keys_sum_to_nothing(gradient: Function, case: AttentionCase) -> None:
    """The same vector added to all keys changes no weight, so the gradients of the keys sum to zero.

    Kills: δ left out, or summed up over the keys of one tile.
    Hint: A softmax doesn't notice a constant. What must the gradients of the scores of one query sum to?
    """
    upstream = upstream_of(case)
    _, for_key, _ = passed_back(gradient, case, upstream)
    scale = size_of(case, upstream) * case.memory
    assert_close(for_key.sum(-2), torch.zeros_like(for_key[:, 0]), LAYER, scale, what="the sum over the keys")


@law("tiled-attention-gradient", given=differentiable)
def stretching_the_queries_does_what_stretching_the_keys_does(gradient: Function, case: AttentionCase) -> None:
    """Twice the queries or twice the keys make the same scores, so both hear the same of being stretched.

    Kills: the scale forgotten on the way to one of the two; queries in the place of keys.
    Hint: The scale multiplies the product of queries and keys once. How often does it stand in each gradient?
    """
    upstream = upstream_of(case)
    for_query, for_key, _ = passed_back(gradient, case, upstream)
    by_queries, by_keys = (case.query * for_query).sum((-1, -2)), (case.key * for_key).sum((-1, -2))
    scale = size_of(case, upstream) * case.memory * case.length
    assert_close(by_queries, by_keys, LAYER, scale, what="the gain of stretching the queries, beside that of the keys")


@law("tiled-attention-gradient", given=sees_nothing)
def by_tiles_too_a_query_that_sees_nothing_passes_nothing_back(gradient: Function, case: AttentionCase) -> None:
    """A query that may read nothing passes nothing back; all others pass numbers.

    Kills: NaN from the logarithm of a sum of 0; hidden keys that are not hidden on the way back.
    Hint: What is exp(−∞ − λ) for a row without any key, if λ is −∞ too?
    """
    blind_only = upstream_of(case).where(~case.visible.any(-1, keepdim=True), 0.0)
    for found in passed_back(gradient, case, blind_only):
        assert not found.any(), "a query that sees nothing should pass nothing back"
    for found in passed_back(gradient, case, upstream_of(case)):
        assert torch.isfinite(found).all(), "every gradient should be finite"
