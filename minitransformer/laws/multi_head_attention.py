"""Laws of several attentions side by side: what each head has of its own, and what they have in common."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.attention import MultiHeadAttention
from minitransformer.laws.cases import SEEING, SequenceCase, numbers, randomise, sequence_cases, shuffled
from minitransformer.laws.gradients import gradients_by_name
from minitransformer.laws.law import law
from minitransformer.laws.modules import Parameters
from minitransformer.laws.tolerances import LAYER, SUM, as_array, as_arrays, assert_close, assert_same

Function = Callable[..., Tensor]

EVERYTHING = ("all",)
HIDING = tuple(kind for kind in SEEING if kind != "all")
"""What becomes of a position that may read nothing is said by laws of its own, so that one mistake breaks few laws."""

LARGE_FACTOR = 1e4
"""It makes scores so large that the exponential of none of them is a number."""

sees_nothing = sequence_cases(visibilities=("random", "one row sees nothing", "nothing"))
as_long_a_memory = sequence_cases(visibilities=EVERYTHING).map(lambda case: replace(case, memory_length=case.length))
as_many_examples_as_heads = sequence_cases(visibilities=HIDING).map(lambda case: replace(case, batch=case.n_heads))


def parameters_for(case: SequenceCase) -> Parameters:
    """Four matrices and four biases with numbers of their own."""
    return dict(randomise(MultiHeadAttention(case.d_model, case.n_heads), case.seed, case.dtype).state_dict())


def with_heads_side_by_side(parameters: Parameters, case: SequenceCase) -> Parameters:
    """The parameters with an output projection that changes nothing, so that the columns of each head can be seen."""
    unit = torch.eye(case.d_model, dtype=case.dtype)
    return {**parameters, "output.weight": unit, "output.bias": torch.zeros_like(parameters["output.bias"])}


def one_head_of(case: SequenceCase) -> tuple[int, slice]:
    """A head, and the columns that are its own."""
    head = case.seed % case.n_heads
    return head, slice(head * case.d_k, (head + 1) * case.d_k)


def projected(parameters: Parameters, name: str, x: np.ndarray) -> np.ndarray:
    """What one of the four linear maps makes of an input."""
    return reference.feed_forward.linear(x, *(as_array(parameters[f"{name}.{part}"]) for part in ("weight", "bias")))


def expected_of(
    parameters: Parameters, case: SequenceCase, memory: Tensor | None = None, may_attend: Tensor | None = None
) -> np.ndarray:
    """What the reference says."""
    return reference.attention.multi_head_attention(
        as_arrays(parameters),
        case.n_heads,
        as_array(case.x),
        None if memory is None else as_array(memory),
        None if may_attend is None else as_array(may_attend),
    )


# What each head has of its own


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def a_single_position_reads_its_own_value(multi_head_attention: Function, case: SequenceCase) -> None:
    """A sequence of one position reads its own value, whatever queries and keys are: y = W_O (W_V x + b_V) + b_O.

    Kills: keys and values swapped; the output projection or a bias forgotten; heads added up; matrices untransposed.
    Hint: With one position every softmax is over one score. Which matrices are left, and does x pass through both?
    """
    parameters, x = parameters_for(case), case.x[:, :1]
    value = projected(parameters, "value", as_array(x))
    found = multi_head_attention(parameters, case.n_heads, x)
    assert_close(found, projected(parameters, "output", value), LAYER, what="what a single position reads")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def each_head_has_its_own_columns(multi_head_attention: Function, case: SequenceCase) -> None:
    """Adding 1 to the values of one head adds 1 to the columns of this head, and to no other.

    Kills: heads split or merged by a reshape without a transposition; columns dealt out in turn; heads added up.
    Hint: Which axes stand beside each other when you cut the width into heads? Follow the number in position 1, column
    0, and see in which head, position and column it lands.
    """
    parameters = with_heads_side_by_side(parameters_for(case), case)
    _, columns = one_head_of(case)
    raised = parameters["value.bias"].clone()
    raised[columns] += 1
    before = multi_head_attention(parameters, case.n_heads, case.x)
    after = multi_head_attention({**parameters, "value.bias": raised}, case.n_heads, case.x)
    expected = before.clone()
    expected[..., columns] += 1
    assert_close(after, expected, LAYER, what="what is read after the values of one head grew by 1")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def with_projections_that_change_nothing_each_head_is_attention_on_its_columns(
    multi_head_attention: Function, case: SequenceCase
) -> None:
    """With unit matrices and no biases, each head is attention on its own columns of the input, scaled by its width.

    Kills: the scale of d_model in place of d_k; softmax over heads or queries; heads split without a transposition.
    Hint: How many numbers does one head multiply and add up for a score? Is that the number under your root?
    """
    parameters = parameters_for(case)
    unit = {name: torch.eye(case.d_model, dtype=case.dtype) for name in parameters if name.endswith("weight")}
    zero = {name: torch.zeros_like(tensor) for name, tensor in parameters.items() if name.endswith("bias")}
    x = as_array(case.x)
    heads = [
        reference.attention.scaled_dot_product_attention(columns, columns, columns)
        for columns in np.split(x, case.n_heads, axis=-1)
    ]
    size = 1 + float((case.x**2).sum(-1).max()) / math.sqrt(case.d_k)
    found = multi_head_attention(unit | zero, case.n_heads, case.x)
    assert_close(found, np.concatenate(heads, axis=-1), SUM, size * float(case.x.abs().max()), what="the heads")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def a_head_that_the_output_ignores_cannot_matter(multi_head_attention: Function, case: SequenceCase) -> None:
    """Where W_O has zeros in the columns of a head, its rows of W_Q, W_K and W_V change nothing, bit for bit.

    Kills: one small projection for all heads; softmax over the heads; heads split or merged without a transposition.
    Hint: Which rows of W_Q, W_K and W_V does the second head use? Does any other head use them too?
    """
    head, columns = one_head_of(case)
    before = parameters_for(case)
    before["output.weight"][:, columns] = 0
    after = {name: tensor.clone() for name, tensor in before.items()}
    for name in ("query", "key", "value"):
        for part in (f"{name}.weight", f"{name}.bias"):
            after[part][columns] = numbers(case.seed, f"other {part}", *before[part][columns].shape, dtype=case.dtype)
    found = multi_head_attention(after, case.n_heads, case.x)
    expected = multi_head_attention(before, case.n_heads, case.x)
    assert_same(found, expected, what=f"the output that ignores head {head}, whose projections changed,")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def heads_may_change_places(multi_head_attention: Function, case: SequenceCase) -> None:
    """Heads that change places, with their rows of W_Q, W_K and W_V and their columns of W_O, change nothing.

    Kills: columns dealt out to the heads in turn; heads added up; one small projection for all heads.
    Hint: Nobody can tell the heads apart but by their matrices. What in your code knows that a head is the first one?
    """
    parameters = parameters_for(case)
    order = torch.arange(case.d_model).reshape(case.n_heads, -1)[shuffled(case.seed, "order", case.n_heads)].flatten()
    moved = {name: tensor[order] for name, tensor in parameters.items() if not name.startswith("output")}
    moved |= {"output.weight": parameters["output.weight"][:, order], "output.bias": parameters["output.bias"]}
    found = multi_head_attention(moved, case.n_heads, case.x)
    expected = multi_head_attention(parameters, case.n_heads, case.x)
    assert_close(found, expected, LAYER, what="the output with the heads in another order")


# Queries, keys and values


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def queries_twice_as_long_meet_keys_half_as_long(multi_head_attention: Function, case: SequenceCase) -> None:
    """Doubling W_Q and b_Q and halving W_K and b_K changes nothing, bit for bit.

    Kills: one matrix for queries and keys; keys and values swapped; matrices used for each other.
    Hint: Only products of a query and a key count. Which matrix and which bias does each of the two come from in yours?
    """
    parameters = parameters_for(case)
    factors = {"query": 2.0, "key": 0.5}
    stretched = {name: factors.get(name.split(".")[0], 1.0) * tensor for name, tensor in parameters.items()}
    found = multi_head_attention(stretched, case.n_heads, case.x)
    expected = multi_head_attention(parameters, case.n_heads, case.x)
    assert_same(found, expected, what="the output of doubled queries and halved keys")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def a_vector_added_to_every_key_changes_nothing(multi_head_attention: Function, case: SequenceCase) -> None:
    """Adding a vector to b_K, and so to every key, changes nothing: it adds the same to all scores of a query.

    Kills: keys and values swapped; softmax over the queries or over the heads; scores that are not shared out.
    Hint: A query meets the same vector in every key, so all of its scores move together. Which scores does your softmax
    compare?
    """
    parameters = parameters_for(case)
    added = numbers(case.seed, "added", case.d_model, dtype=case.dtype)
    moved = {**parameters, "key.bias": parameters["key.bias"] + added}
    found = multi_head_attention(moved, case.n_heads, case.x)
    expected = multi_head_attention(parameters, case.n_heads, case.x)
    assert_close(found, expected, LAYER, score_size(case), what="the output with another bias of the keys")


def score_size(case: SequenceCase) -> float:
    """The largest number on the way to a score, of inputs and matrices such as cases have."""
    return (1 + float(case.x.abs().max())) ** 2


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def what_is_read_lies_among_the_values_however_large_the_scores(
    multi_head_attention: Function, case: SequenceCase
) -> None:
    """However large the scores, what a head reads lies between the least and the greatest value, in each column.

    Kills: exponentials that overflow; weights that are not divided by their sum; the input added inside.
    Hint: What is exp(10000) in a computer? Which number could you take from all scores of a query before, at no cost?
    """
    parameters = with_heads_side_by_side(parameters_for(case), case)
    parameters["query.weight"] = LARGE_FACTOR * parameters["query.weight"]
    read = as_array(multi_head_attention(parameters, case.n_heads, case.x))
    value = projected(parameters, "value", as_array(case.x))
    lowest, highest = value.min(axis=1, keepdims=True), value.max(axis=1, keepdims=True)
    beyond = torch.from_numpy(np.maximum(lowest - read, read - highest).clip(min=0)).to(case.dtype)
    scale = 1 + float(np.abs(value).max())
    assert_close(beyond, torch.zeros_like(beyond), LAYER, scale, what="the distance to the values")


# Who reads whom


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def permuting_the_input_permutes_the_output(multi_head_attention: Function, case: SequenceCase) -> None:
    """Permuting the positions of the input permutes the output, and changes nothing else.

    Kills: heads split without a transposition; softmax over the heads or queries; anything that knows the position.
    Hint: Swap two words of the input. Which step of yours sees more of the swap than two rows changing places?
    """
    parameters = parameters_for(case)
    order = shuffled(case.seed, "order", case.length)
    found = multi_head_attention(parameters, case.n_heads, case.x[:, order])
    expected = multi_head_attention(parameters, case.n_heads, case.x)[:, order]
    assert_close(found, expected, LAYER, what="the output of the shuffled input")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def permuting_the_memory_changes_nothing(multi_head_attention: Function, case: SequenceCase) -> None:
    """Permuting the positions of a memory changes nothing that is read from it.

    Kills: heads split without a transposition; keys and values of different sequences; softmax over the queries.
    Hint: A memory is read as a set. Do keys and values of one position still belong together when the heads are apart?
    """
    parameters = parameters_for(case)
    order = shuffled(case.seed, "order", case.memory_length)
    found = multi_head_attention(parameters, case.n_heads, case.x, case.memory[:, order])
    expected = multi_head_attention(parameters, case.n_heads, case.x, case.memory)
    assert_close(found, expected, LAYER, what="what is read from the shuffled memory")


@law("multi-head-attention", given=sequence_cases(visibilities=HIDING))
def a_hidden_position_cannot_matter(multi_head_attention: Function, case: SequenceCase) -> None:
    """Whatever stands in hidden positions of the memory, what is read stays the same, bit for bit.

    Kills: the rule ignored, inverted, transposed, applied after the softmax, or taken from another example.
    Hint: Put 100 in place of every hidden position. Which number of yours changes first: a score, a sum, a weight?
    """
    assert case.may_attend_memory is not None
    parameters, query = parameters_for(case), case.seed % case.length
    hidden = ~case.may_attend_memory[:, 0, query, :, None]
    other = 100 * numbers(case.seed, "other memory", *case.memory.shape, dtype=case.dtype)
    changed = torch.where(hidden, other, case.memory)
    after, before = (
        multi_head_attention(parameters, case.n_heads, case.x, memory, case.may_attend_memory)
        for memory in (changed, case.memory)
    )
    assert_same(after[:, query], before[:, query], what=f"what position {query} reads when what it can't see changes")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def later_positions_cannot_change_earlier_outputs(multi_head_attention: Function, case: SequenceCase) -> None:
    """Where each position sees itself and what came before, later inputs change no earlier output, bit for bit.

    Kills: visibility inverted, transposed or ignored, which lets a decoder read what it should predict.
    Hint: Hide the future from position 0, and print its weights. Which of them are not 0, and should they be?
    """
    parameters, first_changed = parameters_for(case), case.seed % case.length
    causal = torch.ones(case.length, case.length, dtype=torch.bool).tril().expand(case.batch, 1, -1, -1).clone()
    later = (torch.arange(case.length) >= first_changed)[:, None]
    changed = torch.where(later, numbers(case.seed, "later x", *case.x.shape, dtype=case.dtype), case.x)
    after, before = (multi_head_attention(parameters, case.n_heads, x, None, causal) for x in (changed, case.x))
    assert_same(after[:, :first_changed], before[:, :first_changed], what="the output before the change")


@law(
    "multi-head-attention",
    given=sequence_cases(visibilities=("padding",)),
    equations=("multi-head-attention", "padding-visibility"),
)
def padding_is_invisible(multi_head_attention: Function, case: SequenceCase) -> None:
    """A sequence alone gives what it gives in any padded batch, under one row of visible keys for each example.

    Kills: padding hidden on the query axis; no rule at all; the rule of another example.
    Hint: Your rule has the axes (batch, 1, 1, keys). Against which axis of the scores does its last one stand?
    """
    assert case.may_attend is not None
    parameters, keys = parameters_for(case), case.may_attend[:, :, :1]
    together = multi_head_attention(parameters, case.n_heads, case.x, None, keys)
    for example, length in enumerate(keys.sum(-1).flatten().tolist()):
        alone = multi_head_attention(parameters, case.n_heads, case.x[example : example + 1, :length])
        assert_close(alone[0], together[example, :length], LAYER, what=f"example {example} alone, without padding,")


@law("multi-head-attention", given=as_many_examples_as_heads)
def with_as_many_heads_as_examples_each_example_keeps_its_rule(
    multi_head_attention: Function, case: SequenceCase
) -> None:
    """With as many examples as heads, each example still reads by its own rule, and by it in all of its heads.

    Kills: a rule of (batch, queries, keys) that is broadcast over the heads; the rule of the first example for all.
    Hint: Your scores have the axes (batch, heads, queries, keys). If the rule has only three, which three are meant?
    """
    parameters, together = parameters_for(case), (case.x, case.memory, case.may_attend_memory)
    found = multi_head_attention(parameters, case.n_heads, *together)
    for example in range(case.batch):
        alone = [None if part is None else part[example : example + 1] for part in together]
        expected = multi_head_attention(parameters, case.n_heads, *alone)
        assert_close(found[example], expected[0], LAYER, what=f"example {example} of the batch")


@law("multi-head-attention", given=sees_nothing)
def a_position_that_sees_nothing_gives_the_output_bias(multi_head_attention: Function, case: SequenceCase) -> None:
    """A position that may read nothing reads zeros in every head, and so gives b_O, bit for bit.

    Kills: NaN from a row of −∞; the mean of what is hidden; the output itself set to 0.
    Hint: Hide everything from one position. What does the softmax give there, what is read, and what does the last
    projection make of it?
    """
    assert case.may_attend_memory is not None
    parameters = parameters_for(case)
    found = multi_head_attention(parameters, case.n_heads, case.x, case.memory, case.may_attend_memory)
    blind = found[~case.may_attend_memory[:, 0].any(-1)]
    assert_same(blind, parameters["output.bias"].expand_as(blind), what="the output where nothing is seen")


@law("multi-head-attention", given=sees_nothing, needs_gradient=True)
def a_position_that_sees_nothing_passes_a_gradient_to_the_output_bias_only(
    multi_head_attention: Function, case: SequenceCase
) -> None:
    """A position that may read nothing passes a gradient to b_O and to nothing else; all others pass finite ones.

    Kills: NaN from a row of −∞, even where its result was replaced by 0; the mean of what is hidden.
    Hint: A NaN that is replaced after the softmax can still stand on the way back. Could that row be kept from ever
    being NaN?
    """
    assert case.may_attend_memory is not None
    parameters = parameters_for(case)
    seeing = case.may_attend_memory[:, 0].any(-1, keepdim=True)
    everyone = torch.ones_like(case.x)

    def read(parameters: Parameters, x: Tensor, memory: Tensor) -> Tensor:
        return multi_head_attention(parameters, case.n_heads, x, memory, case.may_attend_memory)

    inputs = {"x": case.x, "memory": case.memory}
    blind_only = gradients_by_name(read, parameters, everyone.where(~seeing, 0.0), **inputs)
    for name, gradient in blind_only.items():
        assert name == "output.bias" or not gradient.any(), f"{name} should get no gradient where nothing is seen"
    for name, gradient in gradients_by_name(read, parameters, everyone, **inputs).items():
        assert torch.isfinite(gradient).all(), f"the gradient of {name} should be finite"


# Agreement with the reference


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def reading_itself_agrees_with_the_reference(multi_head_attention: Function, case: SequenceCase) -> None:
    """A sequence that reads itself agrees with the reference.

    Kills: queries and keys of one matrix; all else that the other laws overlook.
    Hint: Take one head, two positions and unit matrices, and bring in matrices, biases and heads one at a time. At
    which do you part?
    """
    parameters = parameters_for(case)
    assert_close(multi_head_attention(parameters, case.n_heads, case.x), expected_of(parameters, case), LAYER)


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING))
def reading_a_memory_agrees_with_the_reference(multi_head_attention: Function, case: SequenceCase) -> None:
    """A sequence that reads a memory of another length agrees with the reference: X asks, and Y answers.

    Kills: a memory that is ignored, or that gives the keys only; code that works only where both lengths are equal.
    Hint: Three linear maps take an input each. Which of the three should take the memory?
    """
    parameters = parameters_for(case)
    found = multi_head_attention(parameters, case.n_heads, case.x, case.memory)
    assert_close(found, expected_of(parameters, case, case.memory), LAYER)


@law("multi-head-attention", given=as_long_a_memory)
def a_memory_as_long_as_the_sequence_is_read_too(multi_head_attention: Function, case: SequenceCase) -> None:
    """A memory that is as long as the sequence is read like any other.

    Kills: a memory that is told from the input by its shape.
    Hint: How does yours find out whether there is a memory to read?
    """
    parameters = parameters_for(case)
    found = multi_head_attention(parameters, case.n_heads, case.x, case.memory)
    assert_close(found, expected_of(parameters, case, case.memory), LAYER)


@law("multi-head-attention", given=sequence_cases(visibilities=HIDING))
def reading_what_may_be_seen_agrees_with_the_reference(multi_head_attention: Function, case: SequenceCase) -> None:
    """A sequence that reads what it may see of a memory agrees with the reference.

    Kills: the rule ignored, inverted or applied after the softmax, or taken from another example.
    Hint: Of three positions two may be seen. What do the three weights add up to in yours, and is the hidden one 0?
    """
    parameters = parameters_for(case)
    found = multi_head_attention(parameters, case.n_heads, case.x, case.memory, case.may_attend_memory)
    assert_close(found, expected_of(parameters, case, case.memory, case.may_attend_memory), LAYER)


@law(
    "multi-head-attention",
    given=sequence_cases(visibilities=EVERYTHING, types=(torch.float64,)),
    needs_gradient=True,
)
def every_gradient_agrees_with_the_one_derived_by_hand(multi_head_attention: Function, case: SequenceCase) -> None:
    """The gradient of each matrix, each bias and the input, derived by hand, agrees with autograd.

    Kills: weights without a gradient; a bias or a matrix that is never used, or used for another.
    Hint: Which parameter is the first to differ? Follow it to the output: is a step on the way detached, or another
    parameter in its place?
    """
    parameters = parameters_for(case)
    upstream = numbers(case.seed, "upstream", *case.x.shape)

    def read(parameters: Parameters, x: Tensor) -> Tensor:
        return multi_head_attention(parameters, case.n_heads, x)

    x = as_array(case.x)
    expected = reference.attention.multi_head_attention_gradient(
        as_array(upstream), as_arrays(parameters), case.n_heads, x, x
    )
    # The input is its own memory, and is asked for both.
    expected["x"] = expected["x"] + expected["memory"]
    scale = score_size(case) ** 2 * (1 + float(upstream.abs().sum()))
    for name, gradient in gradients_by_name(read, parameters, upstream, x=case.x).items():
        assert_close(gradient, expected[name], LAYER, scale, what=f"the gradient of {name}")


@law("multi-head-attention", given=sequence_cases(visibilities=EVERYTHING, types=(torch.bfloat16,)))
def in_bfloat16_all_stays_in_bfloat16(multi_head_attention: Function, case: SequenceCase) -> None:
    """In bfloat16 the output is in bfloat16 too, and is what it is in float64, as well as so few digits can say it.

    Kills: a part that is computed in float32 and never brought back.
    Hint: Print the dtype after every step. Where does it change, and what do the matrices say to that?
    """
    parameters = parameters_for(case)
    found = multi_head_attention(parameters, case.n_heads, case.x)
    assert found.dtype == torch.bfloat16, f"the result should be in torch.bfloat16, but is in {found.dtype}"
    in_float64 = {name: tensor.double() for name, tensor in parameters.items()}
    expected = multi_head_attention(in_float64, case.n_heads, case.x.double())
    assert_close(found, expected, SUM, what="the result in bfloat16")
