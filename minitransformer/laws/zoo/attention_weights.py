"""Mutants of the weights of attention."""

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import one_by_one, widened


def shares(score: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """What is right in most mutants: a softmax over the keys that may be read, 0 where a query may read nothing."""
    if may_attend is None:
        return score.softmax(-1)
    blind = ~may_attend.any(-1, keepdim=True)
    score = score.masked_fill(~may_attend, -math.inf).masked_fill(blind, 0.0)
    return score.softmax(-1).masked_fill(blind, 0.0)


def scaled_scores(query: Tensor, key: Tensor, scale: float | None = None) -> Tensor:
    """What is right in most mutants: the dot products of queries and keys, over √d_k unless another scale is given."""
    return query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)


# Attention weights


@mutant(
    "attention-weights",
    symptom="Wide heads look at a single key from the start, and learn slowly.",
    source="aladdinpersson/Machine-Learning-Collection#30",
    difficulty="easy",
)
def scores_not_scaled(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The dot products are not divided by √d_k."""
    return shares(query @ key.mT * (1.0 if scale is None else scale), may_attend)


@mutant(
    "attention-weights",
    symptom="Attention stays nearly uniform for a long time.",
    source="aladdinpersson/Machine-Learning-Collection#30",
    difficulty="medium",
)
def scaled_by_the_width(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The dot products are divided by d_k: the root is missing."""
    return shares(query @ key.mT * (1 / query.shape[-1] if scale is None else scale), may_attend)


@mutant("attention-weights", symptom="Attention is sharper in short texts and flatter in long ones.", difficulty="hard")
def scaled_by_the_length(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The root is of the number of keys, another axis than that of their width."""
    return shares(query @ key.mT * (1 / math.sqrt(key.shape[-2]) if scale is None else scale), may_attend)


@mutant("attention-weights", symptom="A model that asks for its own scale, as T5 does, is far too flat.")
def own_scale_on_top(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A scale of one's own comes on top of 1/√d_k and doesn't take its place."""
    return shares(scaled_scores(query, key) * (1.0 if scale is None else scale), may_attend)


@mutant("attention-weights", symptom="Right by default; with a scale of one's own attention is far too sharp.")
def own_scale_divides(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A scale of one's own divides the scores and doesn't multiply them."""
    divisor = math.sqrt(query.shape[-1]) if scale is None else scale
    return shares(query @ key.mT / divisor, may_attend)


@mutant("attention-weights", symptom="Trains to a worse loss; popular keys are shared out among the queries.")
def softmax_over_the_queries(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The softmax runs over the queries: columns sum to 1 in place of rows."""
    score = scaled_scores(query, key, scale)
    return score.softmax(-2) if may_attend is None else shares(score.mT, may_attend.mT).mT


@mutant(
    "attention-weights", symptom="Rows sum to less than 1 wherever something is hidden; a subtle leak of the future."
)
def hidden_after_the_softmax(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden weights are set to 0 after the softmax, which has counted their scores already."""
    weights = scaled_scores(query, key, scale).softmax(-1)
    return weights if may_attend is None else weights * may_attend


@mutant(
    "attention-weights",
    symptom="Nothing, unless visible scores fall far; then the model reads what is hidden.",
    source="karpathy/minGPT#75",
    difficulty="hard",
)
def ten_thousand_for_infinity(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden scores are −10,000 and not −∞, so that a visible score can fall below them."""
    score = scaled_scores(query, key, scale)
    if may_attend is None:
        return score.softmax(-1)
    blind = ~may_attend.any(-1, keepdim=True)
    return score.masked_fill(~may_attend, -1e4).softmax(-1).masked_fill(blind, 0.0)


@mutant(
    "attention-weights",
    symptom="A low training loss and useless samples: each position reads only what it must not.",
    source="rasbt/LLMs-from-scratch#1061",
    difficulty="easy",
)
def visible_for_hidden(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The rule is read the other way round: what may be read is hidden."""
    return shares(scaled_scores(query, key, scale), None if may_attend is None else ~may_attend)


@mutant(
    "attention-weights",
    symptom="NaN in the first batch with an empty row; or later, from a row that is all padding.",
    source="pytorch/pytorch#103963",
    difficulty="medium",
)
def nan_where_nothing_is_seen(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A row that may read nothing is a softmax of −∞ alone, which is 0 / 0."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score = score.masked_fill(~may_attend, -math.inf)
    return score.softmax(-1)


@mutant(
    "attention-weights",
    symptom="The forward pass has no NaN, and after one step all weights of the model do.",
    source="pytorch/pytorch#103963",
    difficulty="hard",
)
def nan_on_the_way_back(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """NaN is replaced by 0 after the softmax, but is still passed back through the row that made it."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score = score + torch.zeros_like(score).masked_fill(~may_attend, -math.inf)
    return torch.where(score.isneginf().all(-1, keepdim=True), 0.0, score.softmax(-1))


@mutant(
    "attention-weights",
    symptom="A training loss near 0 and useless samples: nothing is hidden at all.",
    difficulty="medium",
)
def masked_fill_discarded(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """`masked_fill` returns a new tensor, and nobody takes it: an underscore or an assignment is missing."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score.masked_fill(~may_attend, -math.inf)
    return score.softmax(-1)


@mutant(
    "attention-weights",
    symptom="Plausible attention, a little stronger on what may be read; the loss is too good.",
    source="harvard-edge/cs249r_book#1785",
    difficulty="medium",
)
def booleans_added(query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None) -> Tensor:
    """The boolean rule is added to the scores, so that what may be read gains 1 and nothing is hidden."""
    score = scaled_scores(query, key, scale)
    return score.softmax(-1) if may_attend is None else (score + may_attend).softmax(-1)


@mutant("attention-weights", symptom="What is hidden counts as average; the loss is too good, samples are poor.")
def rule_multiplied_before_the_softmax(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Scores are multiplied by the rule, which sets hidden ones to 0 and not to −∞."""
    score = scaled_scores(query, key, scale)
    return score.softmax(-1) if may_attend is None else (score * may_attend).softmax(-1)


@mutant("attention-weights", symptom="Attention stays nearly uniform: no key can ever win.", difficulty="medium")
def cosines_for_dot_products(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Queries and keys are brought to length 1 first, so that scores are cosines."""
    normal_query = torch.nn.functional.normalize(query, dim=-1)
    normal_key = torch.nn.functional.normalize(key, dim=-1)
    return shares(normal_query @ normal_key.mT * (1.0 if scale is None else scale), may_attend)


@mutant("attention-weights", symptom="Right in batches of one; otherwise padding of another example is hidden.")
def rule_of_the_first_example(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The rule of the first example is used for the whole batch."""
    rule = None if may_attend is None else may_attend[:1].expand_as(may_attend)
    return shares(scaled_scores(query, key, scale), rule)


@mutant(
    "attention-weights",
    symptom="Nothing in float16; in bfloat16 padding is read as soon as scores fall below it.",
    difficulty="hard",
)
def least_half_for_infinity(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden scores are −65,504, the least number of float16, below which bfloat16 and float32 can fall."""
    score = scaled_scores(query, key, scale)
    if may_attend is None:
        return score.softmax(-1)
    blind = ~may_attend.any(-1, keepdim=True)
    return score.masked_fill(~may_attend, torch.finfo(torch.float16).min).softmax(-1).masked_fill(blind, 0.0)


@mutant(
    "attention-weights",
    symptom="Right in float32 and for short texts; in bfloat16 the weights of a long row sum to more than 1.",
    difficulty="hard",
)
def weights_by_a_running_sum(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The exponentials are added one by one in the type of the queries; in bfloat16 their sum stops at 256."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score = score.masked_fill(~may_attend, -math.inf).masked_fill(~may_attend.any(-1, keepdim=True), 0.0)
    exponential = (score - score.amax(-1, keepdim=True)).exp()
    weights = exponential / one_by_one(exponential)
    return weights if may_attend is None else weights.masked_fill(~may_attend, 0.0)


@mutant(
    "attention-weights",
    symptom="In bfloat16 the product with the values raises, for the two are of different types.",
    difficulty="easy",
)
def weights_left_in_float32(
    query: Tensor, key: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The softmax is taken in float32, which is wise, and the weights are not brought back."""
    return shares(widened(scaled_scores(query, key, scale)), may_attend)
