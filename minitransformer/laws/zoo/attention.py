"""Mutants of attention: of the softmax and its logarithm, of the weights, and of what a query reads."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant


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


# Softmax


@mutant("softmax", symptom="Fine for days, then NaN: one score grew beyond 88.", difficulty="easy")
def maximum_not_subtracted(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is not subtracted, so that exponentials overflow."""
    return x.exp() / x.exp().sum(axis, keepdim=True)


@mutant("softmax", symptom="Fine alone; in a batch with a row of large scores, other rows turn NaN.", difficulty="hard")
def one_maximum_for_everything(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is that of the whole batch, under which the exponentials of a distant row are all 0."""
    exponential = (x - x.max()).exp()
    return exponential / exponential.sum(axis, keepdim=True)


@mutant("softmax", symptom="Everything trains; scores along another axis than the last one come out wrong.")
def axis_ignored(x: Tensor, axis: int = -1) -> Tensor:
    """The axis is taken as an argument and ignored: shares sum to 1 along the last one."""
    exponential = (x - x.amax(-1, keepdim=True)).exp()
    return exponential / exponential.sum(-1, keepdim=True)


@mutant(
    "softmax",
    symptom="Results change with the batch: examples share what positions should share.",
    difficulty="easy",
)
def softmax_over_the_batch(x: Tensor, axis: int = -1) -> Tensor:
    """Shares sum to 1 along the first axis, which is the batch."""
    exponential = (x - x.amax(0, keepdim=True)).exp()
    return exponential / exponential.sum(0, keepdim=True)


@mutant("softmax", symptom="Trains, a little softer than it should; loaded weights answer worse.", difficulty="medium")
def powers_of_two(x: Tensor, axis: int = -1) -> Tensor:
    """Shares are in proportion to powers of 2 and not of e."""
    power = 2 ** (x - x.amax(axis, keepdim=True))
    return power / power.sum(axis, keepdim=True)


@mutant(
    "softmax",
    symptom="Shares hardly differ, however sure the model is; low scores are never ruled out.",
    difficulty="easy",
)
def proportions_for_exponentials(x: Tensor, axis: int = -1) -> Tensor:
    """Scores are divided by their sum without an exponential, after a shift that makes them positive."""
    positive = x - x.amin(axis, keepdim=True) + 1
    return positive / positive.sum(axis, keepdim=True)


@mutant("softmax", symptom="Nothing, until someone adds up the shares: they sum to 0.9999.", difficulty="medium")
def small_number_in_the_sum(x: Tensor, axis: int = -1) -> Tensor:
    """A small number is added to the sum against a division by zero that can't happen."""
    exponential = (x - x.amax(axis, keepdim=True)).exp()
    return exponential / (exponential.sum(axis, keepdim=True) + 1e-4)


@mutant(
    "softmax",
    symptom="The forward pass is right; attention sharpens far too fast, since no key loses what another gains.",
    difficulty="hard",
)
def sum_without_a_gradient(x: Tensor, axis: int = -1) -> Tensor:
    """The sum of the exponentials is detached, as if each share depended on its own score alone."""
    exponential = (x - x.amax(axis, keepdim=True)).exp()
    return exponential / exponential.sum(axis, keepdim=True).detach()


# Log-softmax


@mutant(
    "log-softmax", symptom="A loss of inf at the first word that the model is sure about and wrong.", difficulty="easy"
)
def logarithm_of_the_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """It is the logarithm of a softmax whose small shares have been rounded to 0."""
    return x.softmax(axis).log()


@mutant("log-softmax", symptom="The loss never exceeds 20.7, and confident mistakes are not corrected.")
def small_number_in_the_logarithm(x: Tensor, axis: int = -1) -> Tensor:
    """A small number is added before the logarithm, which bounds it and cuts its gradient off."""
    return (x.softmax(axis) + 1e-9).log()


@mutant("log-softmax", symptom="Losses are 44 % too high, and nothing else is wrong.", difficulty="medium")
def logarithm_to_base_two(x: Tensor, axis: int = -1) -> Tensor:
    """Logarithms are to base 2: bits and not nats."""
    return x.log_softmax(axis) / math.log(2)


@mutant("log-softmax", symptom="Fine for days, then −inf or NaN: one logit grew beyond 88.", difficulty="easy")
def exponentials_that_overflow(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is not subtracted before the exponentials."""
    return x - x.exp().sum(axis, keepdim=True).log()


@mutant("log-softmax", symptom="A loss below zero.", difficulty="medium")
def maximum_taken_off_once(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is subtracted within the sum, but not from the score itself."""
    return x - (x - x.amax(axis, keepdim=True)).exp().sum(axis, keepdim=True).log()


@mutant("log-softmax", symptom="The losses of a batch with its classes on axis 1 come out wrong.", difficulty="medium")
def sum_along_the_last_axis(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is along the axis asked for, but the sum always along the last one."""
    shifted = x - x.amax(axis, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


@mutant(
    "log-softmax",
    symptom="All logits grow without end: nothing pushes those of the other classes down.",
    difficulty="hard",
)
def normaliser_without_a_gradient(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of the sum is detached."""
    return x - x.logsumexp(axis, keepdim=True).detach()


@mutant(
    "log-softmax",
    symptom="The loss is ln V too low, so that it can fall below zero; gradients are right.",
    difficulty="medium",
)
def mean_of_the_exponentials(x: Tensor, axis: int = -1) -> Tensor:
    """The mean of the exponentials stands where their sum is meant."""
    shifted = x - x.amax(axis, keepdim=True)
    return shifted - shifted.exp().mean(axis, keepdim=True).log()


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


# What a query reads


@mutant("attention", symptom="The model trains, slowly, and always seems one word late.", difficulty="medium")
def values_of_the_key_before(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Each weight meets the value of the key before its own."""
    return shares(scaled_scores(query, key, scale), may_attend) @ value.roll(1, dims=-2)


@mutant(
    "attention",
    symptom="The shapes fit and the loss falls; attention maps are noise.",
    difficulty="hard",
)
def reshaped_for_transposed(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Keys are brought into the shape of their transpose by a reshape, which cuts them up."""
    keys_in_columns = key.reshape(*key.shape[:-2], key.shape[-1], key.shape[-2])
    score = query @ keys_in_columns * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    return shares(score, may_attend) @ value


@mutant("attention", symptom="Wide heads look at a single key from the start, and learn slowly.", difficulty="easy")
def reading_without_a_scale(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The scores are not divided by √d_k."""
    return shares(query @ key.mT * (1.0 if scale is None else scale), may_attend) @ value


@mutant(
    "attention",
    symptom="Fine as long as keys and values have one width; too sharp or too flat otherwise.",
    difficulty="hard",
)
def scaled_by_the_width_of_values(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The scale is 1/√d_v, of the values, and not of the keys."""
    return (
        shares(scaled_scores(query, key, 1 / math.sqrt(value.shape[-1]) if scale is None else scale), may_attend)
        @ value
    )


@mutant("attention", symptom="A model that asks for its own scale, as T5 does, is far too flat.")
def reading_with_two_scales(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A scale of one's own comes on top of 1/√d_k."""
    return shares(scaled_scores(query, key) * (1.0 if scale is None else scale), may_attend) @ value


@mutant("attention", symptom="Trains to a worse loss, and results change with who else asks.")
def reading_over_the_queries(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The softmax runs over the queries and not over the keys."""
    score = scaled_scores(query, key, scale)
    if may_attend is None:
        return score.softmax(-2) @ value
    return shares(score.mT, may_attend.mT).mT @ value


@mutant(
    "attention",
    symptom="The loss is a little too good: the strength of what is hidden leaks into the sum.",
    difficulty="hard",
)
def weights_hidden_too_late(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden weights are set to 0 after the softmax and the others are not brought back to a sum of 1."""
    weights = scaled_scores(query, key, scale).softmax(-1)
    return (weights if may_attend is None else weights * may_attend) @ value


@mutant(
    "attention",
    symptom="Right for ordinary scores; reads nothing at all where a hidden score towers.",
    difficulty="hard",
)
def shared_out_again(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden weights are set to 0 after the softmax and the rest divided by their sum, which may have rounded to 0."""
    weights = scaled_scores(query, key, scale).softmax(-1)
    if may_attend is not None:
        weights = weights * may_attend
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)
    return weights @ value


@mutant(
    "attention",
    symptom="Nothing, unless scores are large; then results change with what stands in the padding.",
    source="karpathy/minGPT#75",
    difficulty="hard",
)
def ten_thousand_subtracted(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """10,000 is subtracted from hidden scores, as in BERT's published code, and a large score outweighs it."""
    score = scaled_scores(query, key, scale)
    return (score if may_attend is None else score - 1e4 * ~may_attend).softmax(-1) @ value


@mutant(
    "attention",
    symptom="Empty rows read the mean of the padding, which finds its way into pooled vectors.",
    difficulty="medium",
)
def mean_where_nothing_is_seen(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden scores are the least number there is, so that a query that sees nothing reads the mean of everything."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score = score.masked_fill(~may_attend, torch.finfo(score.dtype).min)
    return score.softmax(-1) @ value


@mutant(
    "attention", symptom="The same as without a rule, for the few queries that should read nothing.", difficulty="hard"
)
def everything_where_nothing_is_seen(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A query that may read nothing is shown everything, to avoid NaN."""
    if may_attend is not None:
        may_attend = may_attend | ~may_attend.any(-1, keepdim=True)
    return shares(scaled_scores(query, key, scale), may_attend) @ value


@mutant(
    "attention",
    symptom="No NaN in any result, and after one step all weights of the model are NaN.",
    source="pytorch/pytorch#103963",
    difficulty="hard",
)
def reading_passes_nan_back(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """NaN is replaced by 0 after the softmax, but is still passed back through the row that made it."""
    score = scaled_scores(query, key, scale)
    if may_attend is not None:
        score = score + torch.zeros_like(score).masked_fill(~may_attend, -math.inf)
    return score.softmax(-1).nan_to_num(0.0) @ value


@mutant("attention", symptom="Works in training, and raises or answers wrongly for one sentence or with heads.")
def axes_counted_from_the_front(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The softmax is along axis 2, which are the keys in a batch, but not without one nor with heads."""
    score = scaled_scores(query, key, scale)
    if may_attend is None:
        return score.softmax(2) @ value
    blind = ~may_attend.any(-1, keepdim=True)
    score = score.masked_fill(~may_attend, -math.inf).masked_fill(blind, 0.0)
    return score.softmax(2).masked_fill(blind, 0.0) @ value


@mutant("attention", symptom="Exploding activations: what is read grows with the number of keys.", difficulty="easy")
def exponentials_not_divided(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The exponentials of the scores are weights as they are, without a division by their sum."""
    score = scaled_scores(query, key, scale)
    weights = (score - score.amax(-1, keepdim=True)).exp()
    return (weights if may_attend is None else weights * may_attend) @ value


@mutant(
    "attention", symptom="Trains; the order of the words counts, though nobody added positions.", difficulty="medium"
)
def early_keys_preferred(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The place of a key is subtracted from its score, as ALiBi does, where nobody asked for it."""
    score = scaled_scores(query, key, scale) - torch.arange(key.shape[-2])
    return shares(score, may_attend) @ value


@mutant(
    "attention",
    symptom="An encoder that knows nothing of what comes after a word, and a worse loss.",
    difficulty="easy",
)
def causal_in_any_case(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The future is hidden whatever the rule says."""
    past = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    return shares(scaled_scores(query, key, scale), past if may_attend is None else past & may_attend) @ value


@mutant(
    "attention",
    symptom="Results are all positive and sum to 1; the next layer has nothing to work with.",
    difficulty="easy",
)
def softmax_of_what_was_read(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A second softmax is taken of what was read."""
    return (shares(scaled_scores(query, key, scale), may_attend) @ value).softmax(-1)


@mutant(
    "attention",
    symptom="Queries know of each other: a decoder leaks the future though its rule is right.",
    difficulty="hard",
)
def queries_centred(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The mean of all queries is subtracted from each of them."""
    centred = query - query.mean(-2, keepdim=True)
    return shares(scaled_scores(centred, key, scale), may_attend) @ value


@mutant(
    "attention",
    symptom="The forward pass is right; the value projection never moves from where it began.",
    difficulty="hard",
)
def values_without_a_gradient(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The values are detached."""
    return shares(scaled_scores(query, key, scale), may_attend) @ value.detach()


@mutant("attention", symptom="The forward pass is right; the model never learns where to look.", difficulty="hard")
def weights_without_a_gradient(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The weights are computed without gradients, so that queries and keys get none."""
    with torch.no_grad():
        weights = shares(scaled_scores(query, key, scale), may_attend)
    return weights @ value


@mutant("attention", symptom="Evaluation gives another result each time.", difficulty="easy")
def dropout_left_on(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """A tenth of the weights is dropped in evaluation too."""
    weights = shares(scaled_scores(query, key, scale), may_attend)
    return torch.nn.functional.dropout(weights, 0.1) @ value
