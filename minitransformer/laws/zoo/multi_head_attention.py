"""Mutants of multi-head attention."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.attention_weights import scaled_scores, shares
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import linear, merge, split


def heads_of(
    parameters: Parameters, n_heads: int, x: Tensor, memory: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What is right in most mutants: queries from the input, keys and values from the memory, split into heads."""
    answers = x if memory is None else memory
    query, key, value = (
        split(linear(parameters, name, asked), n_heads)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    return query, key, value


# Heads


@mutant(
    "multi-head-attention",
    symptom="Trains to a worse loss: each head sees a few positions whole, and not its columns of all of them.",
    difficulty="medium",
)
def heads_cut_without_a_transposition(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The width is cut into heads by one view into (batch, heads, positions, columns), and merged by another."""
    answers = x if memory is None else memory
    query, key, value = (
        linear(parameters, name, asked).view(len(x), n_heads, asked.shape[1], -1)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    read = shares(scaled_scores(query, key), may_attend) @ value
    return linear(parameters, "output", read.reshape(x.shape))


@mutant(
    "multi-head-attention",
    symptom="Trains to a worse loss: heads see a few positions whole, and what they read lands at other positions.",
    difficulty="medium",
)
def heads_cut_by_a_view_and_swapped_back(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The width is cut into heads by a view into (batch, heads, positions, columns), yet merged by a transposition."""
    answers = x if memory is None else memory
    query, key, value = (
        linear(parameters, name, asked).view(len(x), n_heads, asked.shape[1], -1)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    read = shares(scaled_scores(query, key), may_attend) @ value
    return linear(parameters, "output", read.transpose(1, 2).reshape(x.shape))


@mutant(
    "multi-head-attention",
    symptom="The shapes fit and the loss falls a little; what a position read is handed to its neighbours.",
    difficulty="hard",
)
def heads_merged_without_a_transposition(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Heads are split as they should be, and merged by a reshape without swapping heads and positions back."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    read = shares(scaled_scores(query, key), may_attend) @ value
    return linear(parameters, "output", read.reshape(x.shape))


@mutant(
    "multi-head-attention",
    symptom="Trains as well as ever; loaded weights give nonsense, for each head gets the columns of all others.",
    difficulty="hard",
)
def columns_dealt_out_in_turn(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The width is read as (columns, heads) and not as (heads, columns), so that neighbours go to different heads."""
    answers = x if memory is None else memory
    query, key, value = (
        linear(parameters, name, asked).reshape(*asked.shape[:-1], -1, n_heads).permute(0, 3, 1, 2)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    read = shares(scaled_scores(query, key), may_attend) @ value
    return linear(parameters, "output", read.permute(0, 2, 3, 1).flatten(2))


@mutant(
    "multi-head-attention",
    symptom="More heads cost fewer parameters and bring little: all of them ask the same question.",
    source="aladdinpersson/Machine-Learning-Collection#3",
    difficulty="medium",
)
def one_small_projection_for_all_heads(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The input is split into heads first, and one small linear map is then applied to each of them."""
    answers = x if memory is None else memory
    d_k = x.shape[-1] // n_heads
    query, key, value = (
        F.linear(split(asked, n_heads), parameters[f"{name}.weight"][:d_k, :d_k], parameters[f"{name}.bias"][:d_k])
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Trains, no better than with one head: what the heads say is blurred into one voice.",
    difficulty="easy",
)
def heads_added_up(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """What the heads read is added up, and the sum given to each of them, in place of standing side by side."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    read = shares(scaled_scores(query, key), may_attend) @ value
    return linear(parameters, "output", merge(read.sum(1, keepdim=True).expand_as(read)))


# Queries, keys and values


@mutant(
    "multi-head-attention",
    symptom="Nothing at all in training, for both matrices are learnt; loaded weights give nonsense.",
    difficulty="medium",
)
def keys_and_values_swapped(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Keys come from the matrix of the values, and values from that of the keys."""
    query, value, key = heads_of(parameters, n_heads, x, memory)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Each word looks at itself most of all, and W_K never moves.",
    difficulty="medium",
)
def keys_from_the_matrix_of_the_queries(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """W_Q makes the keys too, after a copied line in which one name was not changed."""
    answers = x if memory is None else memory
    query, _, value = heads_of(parameters, n_heads, x, memory)
    key = split(linear(parameters, "query", answers), n_heads)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Heads stay nearly uniform, and learn slowly; the more heads, the worse.",
    source="aladdinpersson/Machine-Learning-Collection#30",
    difficulty="medium",
)
def scaled_by_the_width_of_the_model(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Scores are divided by √d_model, and not by √d_k, the width of a head."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    weights = shares(scaled_scores(query, key, 1 / math.sqrt(x.shape[-1])), may_attend)
    return linear(parameters, "output", merge(weights @ value))


@mutant(
    "multi-head-attention",
    symptom="A translation that is fluent and has nothing to do with its source.",
    difficulty="easy",
)
def memory_that_is_ignored(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The memory is taken as an argument and never read: the input answers itself."""
    query, key, value = heads_of(parameters, n_heads, x)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Translates well, but for sentences that are as long as their translation: there it reads itself.",
    difficulty="hard",
)
def memory_told_by_its_shape(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The memory is told from the input by its shape, so that one of the same shape is never read."""
    answers = x if memory is None or memory.shape == x.shape else memory
    query, key, value = heads_of(parameters, n_heads, x, answers)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Fine wherever both sequences are of one length, as in a first test; elsewhere a crash.",
    difficulty="medium",
)
def values_of_the_input(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Keys come from the memory, but values from the input."""
    query, key, _ = heads_of(parameters, n_heads, x, memory)
    value = split(linear(parameters, "value", x), n_heads)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Trains a little worse; loaded weights lose what they keep in their biases.",
    difficulty="medium",
)
def projections_without_biases(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The biases of queries, keys and values are dropped."""
    answers = x if memory is None else memory
    query, key, value = (
        split(F.linear(asked, parameters[f"{name}.weight"]), n_heads)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


@mutant(
    "multi-head-attention",
    symptom="Nothing in training; loaded weights give nonsense, though every shape fits.",
    difficulty="hard",
)
def matrices_not_transposed(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Matrices are multiplied as x W, though they keep a row for each output; they are square, so nothing complains."""
    answers = x if memory is None else memory
    query, key, value = (
        split(asked @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"], n_heads)
        for name, asked in (("query", x), ("key", answers), ("value", answers))
    )
    read = merge(shares(scaled_scores(query, key), may_attend) @ value)
    return read @ parameters["output.weight"] + parameters["output.bias"]


# Shares


@mutant(
    "multi-head-attention",
    symptom="Heads fall silent one after another: they share what positions should share.",
    difficulty="medium",
)
def softmax_over_the_heads(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The softmax runs over axis 1, which is that of the heads once there are four axes."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    weights = scaled_scores(query, key).softmax(1)
    if may_attend is not None:
        weights = weights * may_attend
    return linear(parameters, "output", merge(weights @ value))


@mutant(
    "multi-head-attention",
    symptom="Trains to a worse loss, and what a word reads changes with who else asks.",
    difficulty="medium",
)
def queries_that_share_each_key(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The softmax of each head runs over its queries and not over its keys."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    score = scaled_scores(query, key)
    weights = shares(score.mT, None if may_attend is None else may_attend.mT).mT
    return linear(parameters, "output", merge(weights @ value))


@mutant("multi-head-attention", symptom="Fine for days, then NaN: a score grew beyond 88.", difficulty="easy")
def exponentials_of_the_heads_overflow(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Exponentials are taken of the scores as they are, without taking off the largest before."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    exponential = scaled_scores(query, key).exp()
    if may_attend is not None:
        exponential = exponential * may_attend
    weights = exponential / exponential.sum(-1, keepdim=True).clamp(min=1e-30)
    return linear(parameters, "output", merge(weights @ value))


@mutant(
    "multi-head-attention",
    symptom="The loss stays where it is for long: the heads look where they looked on the first day.",
    difficulty="medium",
)
def heads_that_never_learn_where_to_look(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The weights were detached, to be kept for a plot, so that W_Q and W_K get no gradient."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    weights = shares(scaled_scores(query, key), may_attend).detach()
    return linear(parameters, "output", merge(weights @ value))


@mutant("multi-head-attention", symptom="Evaluation gives another result each time.", difficulty="easy")
def dropout_of_the_weights_left_on(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """A tenth of the weights is dropped in evaluation too, since the function does not know whether it trains."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    weights = F.dropout(shares(scaled_scores(query, key), may_attend), 0.1)
    return linear(parameters, "output", merge(weights @ value))


@mutant(
    "multi-head-attention",
    symptom="In bfloat16 the next layer complains of a float32, or memory use doubles in silence.",
    difficulty="hard",
)
def heads_left_in_float32(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """All is computed in float32, for safety, and what comes out is never brought back to the type of the input."""
    in_float32 = {name: tensor.float() for name, tensor in parameters.items()}
    query, key, value = heads_of(in_float32, n_heads, x.float(), None if memory is None else memory.float())
    return linear(in_float32, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


# What comes after


@mutant(
    "multi-head-attention",
    symptom="Trains almost as well with one head; with more of them, heads can't be weighed against each other.",
    difficulty="easy",
)
def output_projection_forgotten(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """What the heads read is returned side by side, without W_O and b_O."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    return merge(shares(scaled_scores(query, key), may_attend) @ value)


@mutant(
    "multi-head-attention",
    symptom="Trains as well as ever; loaded weights give answers that are a little off everywhere.",
    difficulty="medium",
)
def output_bias_forgotten(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The last projection has no bias."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    return F.linear(merge(shares(scaled_scores(query, key), may_attend) @ value), parameters["output.weight"])


@mutant(
    "multi-head-attention",
    symptom="Deep stacks diverge: the input is added twice, here and in the residual connection around it.",
    difficulty="medium",
)
def input_added_to_what_is_read(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The residual connection is inside, though the block around it has one already."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    return x + linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))


# Who reads whom


@mutant(
    "multi-head-attention",
    symptom="A training loss near zero, for the answer is in sight, and nonsense when it has to go on alone.",
    difficulty="easy",
)
def heads_that_see_everything(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The rule is taken as an argument and not handed on to the heads."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key)) @ value))


@mutant(
    "multi-head-attention",
    symptom="Each word attends only to what comes after it; the loss is as low as it should not be.",
    source="rasbt/LLMs-from-scratch#1061",
    difficulty="medium",
)
def rule_of_the_other_convention(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """True is taken to mean "hide", as `nn.MultiheadAttention` has it."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    rule = None if may_attend is None else ~may_attend
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), rule) @ value))


@mutant(
    "multi-head-attention",
    symptom="Nothing to see; real words give much of their attention to padding, and results change with its length.",
    source="hyunwoongko/transformer#40",
    difficulty="hard",
)
def padding_on_the_axis_of_the_queries(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The rule lies across the scores the wrong way, so that padded queries see nothing and padded keys are read."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    rule = None if may_attend is None else may_attend.mT
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), rule) @ value))


@mutant(
    "multi-head-attention",
    symptom="A crash for most batches; with as many examples as heads no crash, and worse results.",
    source="ml-explore/mlx-lm#1903",
    difficulty="hard",
)
def rules_of_examples_taken_for_heads(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The rule loses its axis of the heads, so that its examples stand where the scores have their heads."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    rule = None if may_attend is None else may_attend.squeeze(1)
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), rule) @ value))


@mutant(
    "multi-head-attention",
    symptom="Right in batches of one, and where all sequences are of one length.",
    difficulty="medium",
)
def first_rule_for_the_whole_batch(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """The rule of the first example is used for all of them."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    rule = None if may_attend is None else may_attend[:1]
    return linear(parameters, "output", merge(shares(scaled_scores(query, key), rule) @ value))


@mutant(
    "multi-head-attention",
    symptom="Fully padded rows read the mean of what is hidden, which finds its way into pooled vectors.",
    source="pytorch/pytorch#103963",
    difficulty="medium",
)
def mean_of_what_is_hidden(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Hidden scores are the least float, so that a position that sees nothing reads the mean of everything."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    score = scaled_scores(query, key)
    if may_attend is not None:
        score = score.masked_fill(~may_attend, torch.finfo(score.dtype).min)
    return linear(parameters, "output", merge(score.softmax(-1) @ value))


@mutant(
    "multi-head-attention",
    symptom="Nothing to see; weights from elsewhere, whose padding gives b_O, give other vectors there.",
    difficulty="hard",
)
def output_hidden_where_nothing_is_seen(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """Where a position may read nothing, the output is set to 0, after b_O was added, and not what is read."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    output = linear(parameters, "output", merge(shares(scaled_scores(query, key), may_attend) @ value))
    return output if may_attend is None else output * may_attend[:, 0].any(-1, keepdim=True)


@mutant(
    "multi-head-attention",
    symptom="The output is right; then the first gradient step turns all parameters NaN.",
    source="pytorch/pytorch#103963",
    difficulty="hard",
)
def nan_hidden_behind_a_zero(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
) -> Tensor:
    """A row of −∞ gives NaN, which is replaced by 0 after the softmax, but stays in the way of the gradient."""
    query, key, value = heads_of(parameters, n_heads, x, memory)
    score = scaled_scores(query, key)
    if may_attend is not None:
        score = score + torch.zeros_like(score).masked_fill(~may_attend, -math.inf)
    return linear(parameters, "output", merge(score.softmax(-1).nan_to_num(0.0) @ value))
