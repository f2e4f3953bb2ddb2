"""Laws of visibility: who may attend to whom."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import distinct_sizes, seeds, shuffled, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import as_array, assert_same

Function = Callable[..., Tensor]

N_HEADS = 4
"""No size of a case, so that heads cannot be taken for examples or tokens."""

N_SEGMENTS = 3

lengths = st.integers(1, 13)


@dataclass(frozen=True)
class RowsCase:
    """Rows of tokens, some of which are padding, from some segments; neither is in any order."""

    batch: int
    length: int
    seed: int

    @cached_property
    def attention_mask(self) -> Tensor:
        """1 for a token, 0 for padding."""
        return whole_numbers(self.seed, "mask", 0, 2, self.batch, self.length)

    @cached_property
    def segment_ids(self) -> Tensor:
        """The number of the segment that each token belongs to."""
        return whole_numbers(self.seed, "segments", 0, N_SEGMENTS, self.batch, self.length)


@st.composite
def rows_cases(draw: st.DrawFn) -> RowsCase:
    """Rows of tokens, down to a single row and a single token."""
    batch, length = draw(distinct_sizes(2, may_be_one=(0, 1)))
    return RowsCase(batch=batch, length=length, seed=draw(seeds))


def assert_boolean(rule: Tensor) -> None:
    """Fail unless the rule holds True and False, and neither 0 and 1 nor 0 and −∞."""
    assert rule.dtype == torch.bool, f"the rule should hold True and False, but holds {rule.dtype}"


def seen_in_two_steps(rule: Tensor) -> Tensor:
    """Who can be read by way of someone who may be read."""
    return (rule.float() @ rule.float()) > 0


# Causal


@law("causal-visibility", given=lengths)
def each_position_sees_itself_and_all_before(causal: Function, length: int) -> None:
    """Position i sees i + 1 positions: itself and all before it.

    Kills: the diagonal off by one, on either side; the triangle upside down.
    Hint: Print the rule of 3 positions. How many may the first one read, and how many the last?
    """
    rule = causal(length)
    assert rule.diagonal().all(), "every position should see itself"
    assert rule.sum(-1).tolist() == list(range(1, length + 1)), "position i should see i + 1 positions"
    assert rule[0].tolist() == [True] + [False] * (length - 1), "the first position should see only itself"


@law("causal-visibility", given=lengths)
def a_longer_rule_begins_with_the_shorter_one(causal: Function, length: int) -> None:
    """A longer causal rule begins with the shorter one.

    Kills: places counted from the end; the triangle of another diagonal.
    Hint: Print the rules of 2 and of 3 positions. What should a third position change for the first two?
    """
    assert_same(causal(length + 3)[:length, :length], causal(length), what="a shorter rule within a longer one")


@law("causal-visibility", given=lengths)
def a_second_layer_shows_nothing_of_the_future(causal: Function, length: int) -> None:
    """Whoever is read by those whom a position reads, it may read itself: a second layer shows nothing new.

    Kills: the next position visible, which opens the future step by step; the diagonal hidden; a window.
    Hint: Position 0 reads all it may, and then reads what those have read. How far does it see after two layers?
    """
    rule = causal(length)
    assert_same(seen_in_two_steps(rule), rule, what="what is seen in two layers")


@law("causal-visibility", given=lengths)
def the_causal_rule_is_true_or_false(causal: Function, length: int) -> None:
    """The causal rule is boolean, True where a position may be read.

    Kills: ones and zeros; zeros and −∞, to be added to the scores.
    Hint: What does `~` make of your rule, and what does it make of True?
    """
    assert_boolean(causal(length))


@law("causal-visibility", given=lengths)
def the_causal_rule_agrees_with_the_reference(causal: Function, length: int) -> None:
    """The causal rule agrees with the reference, which asks for each pair whether j ≤ i.

    Kills: queries and keys swapped; True for hidden; all else that the other laws overlook.
    Hint: Row i says what position i may read. Which column of row 2 is the first that should be False?
    """
    assert_same(causal(length), reference.visibility.causal(length), what="the causal rule")


# Padding


@law("padding-visibility", given=rows_cases())
def exactly_the_padded_keys_are_hidden(padding: Function, case: RowsCase) -> None:
    """Every query of an example, padded or not, may read exactly the tokens of that example.

    Kills: padding on the query axis; True for hidden; the rule of another example.
    Hint: Write the rule out for 3 tokens of which the last is padding. Is it a row of it that is False, or a column?
    """
    rule = padding(case.attention_mask).expand(case.batch, N_HEADS, case.length, case.length)
    expected = case.attention_mask.bool()[:, None, None, :].expand_as(rule)
    assert_same(rule, expected, what="what each query may read")


@law("padding-visibility", given=rows_cases())
def padding_may_stand_anywhere(padding: Function, case: RowsCase) -> None:
    """Shuffling the tokens of the rows shuffles what may be read.

    Kills: padding taken to stand at the end, or counted and not looked at.
    Hint: Put the padding in front of the tokens. Does your rule look at where it is, or at how much there is?
    """
    order = shuffled(case.seed, "order", case.length)
    actual = padding(case.attention_mask[:, order])
    assert_same(actual, padding(case.attention_mask)[..., order], what="the rule of shuffled tokens")


@law("padding-visibility", given=rows_cases())
def a_mask_of_any_type_gives_the_same_rule(padding: Function, case: RowsCase) -> None:
    """An attention mask of whole numbers, of floats or of True and False gives the same rule.

    Kills: `~` on whole numbers, which makes −2 of 1; a mask of floats taken for one that is added to scores.
    Hint: Tokenizers give whole numbers, others floats or booleans. What does each step of yours do to 1, 1.0 and True?
    """
    expected = padding(case.attention_mask)
    assert_same(padding(case.attention_mask.float()), expected, what="the rule of a mask of floats")
    assert_same(padding(case.attention_mask.bool()), expected, what="the rule of a mask of True and False")


@law("padding-visibility", given=rows_cases())
def the_padding_rule_is_true_or_false(padding: Function, case: RowsCase) -> None:
    """The rule of padding is boolean, True where a token may be read.

    Kills: the mask handed on as it came; zeros and −10,000, to be added to the scores.
    Hint: What does `~` make of your rule, and what does it make of True?
    """
    assert_boolean(padding(case.attention_mask))


@law("padding-visibility", given=rows_cases())
def the_padding_rule_agrees_with_the_reference(padding: Function, case: RowsCase) -> None:
    """The rule of padding agrees with the reference, with an axis of size 1 for all heads and for all queries.

    Kills: an axis forgotten, which takes examples for heads; all else that the other laws overlook.
    Hint: Scores have the axes (batch, heads, queries, keys). For which of them does your rule say something of its own?
    """
    expected = reference.visibility.padding(as_array(case.attention_mask))
    assert_same(padding(case.attention_mask), expected, what="the rule of padding")


# Packed sequences


@law("packed-visibility", given=rows_cases())
def seeing_is_mutual_within_a_segment(same_segment: Function, case: RowsCase) -> None:
    """Positions of one segment see each other, and positions of two segments do not.

    Kills: only neighbours compared; segments of different examples compared; a causal rule in its place.
    Hint: Print the rule of the segments 0, 1, 0. Which pairs should be True, and is it the same on both sides?
    """
    rule = same_segment(case.segment_ids)[:, 0]
    assert rule.diagonal(dim1=-2, dim2=-1).all(), "every position should see itself"
    assert_same(rule, rule.mT, what="the rule seen from the other side")
    for rule_of_example, segment_ids in zip(rule, case.segment_ids, strict=True):
        for number in range(N_SEGMENTS):
            inside = segment_ids == number
            assert rule_of_example[inside][:, inside].all(), "positions of one segment should see each other"
            assert not rule_of_example[inside][:, ~inside].any(), "positions of two segments should not see each other"


@law("packed-visibility", given=rows_cases())
def the_numbers_of_the_segments_do_not_matter(same_segment: Function, case: RowsCase) -> None:
    """Giving the segments other numbers changes nothing.

    Kills: ≥ in place of =; segment 0 taken for padding; products of numbers in place of comparisons.
    Hint: Call the segments 0 and 1, then 5 and 2. Does your rule ask how large a number is, or which one it is?
    """
    others = torch.tensor([5, 0, 2])
    actual = same_segment(others[case.segment_ids])
    assert_same(actual, same_segment(case.segment_ids), what="the rule of segments with other numbers")


@law("packed-visibility", given=rows_cases())
def a_second_layer_shows_nothing_of_other_segments(same_segment: Function, case: RowsCase) -> None:
    """Whoever is read by those whom a position reads, it may read itself: a second layer shows nothing new.

    Kills: neighbours visible whatever their segment; near numbers taken for equal; positions hidden from themselves.
    Hint: A position reads all it may, and then reads what those have read. Does it now see a segment not its own?
    """
    rule = same_segment(case.segment_ids)
    assert_same(seen_in_two_steps(rule), rule, what="what is seen in two layers")


@law("packed-visibility", given=rows_cases())
def the_packed_rule_is_true_or_false(same_segment: Function, case: RowsCase) -> None:
    """The rule of packed sequences is boolean, True where a position may be read.

    Kills: ones and zeros; zeros and −∞, to be added to the scores.
    Hint: What does `~` make of your rule, and what does it make of True?
    """
    assert_boolean(same_segment(case.segment_ids))


@law("packed-visibility", given=rows_cases())
def the_packed_rule_agrees_with_the_reference(same_segment: Function, case: RowsCase) -> None:
    """The rule of packed sequences agrees with the reference, with an axis of size 1 for all heads.

    Kills: an axis forgotten, which takes examples for heads; all else that the other laws overlook.
    Hint: Scores have the axes (batch, heads, queries, keys). For which of them does your rule say something of its own?
    """
    expected = reference.visibility.same_segment(as_array(case.segment_ids))
    assert_same(same_segment(case.segment_ids), expected, what="the rule of packed sequences")
