"""Mutants of attention: of what a query reads."""

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.attention_weights import scaled_scores, shares
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import widened

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


@mutant(
    "attention",
    symptom="Right in float32 and for short texts; in bfloat16 long texts are read in part only.",
    difficulty="hard",
)
def one_key_after_another_in_the_type_of_the_values(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """What is read is collected one key at a time, in the type of the values and not in float32."""
    weights = shares(scaled_scores(query, key, scale), may_attend)
    read = torch.zeros_like(weights @ value)
    for index in range(key.shape[-2]):
        read = read + weights[..., index, None] * value[..., index, None, :]
    return read


@mutant(
    "attention",
    symptom="Nothing in float16; in bfloat16 padding is read as soon as scores fall below it.",
    difficulty="hard",
)
def hidden_by_the_least_half(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Hidden scores are −65,504, the least number of float16, below which bfloat16 and float32 can fall."""
    score = scaled_scores(query, key, scale)
    if may_attend is None:
        return score.softmax(-1) @ value
    blind = ~may_attend.any(-1, keepdim=True)
    hidden = score.masked_fill(~may_attend, torch.finfo(torch.float16).min)
    return hidden.softmax(-1).masked_fill(blind, 0.0) @ value


@mutant(
    "attention",
    symptom="Under bfloat16 everything from the first attention on is float32, at its price.",
    difficulty="medium",
)
def read_in_float32(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Weights and values are raised to float32, and what is read is not brought back."""
    return shares(widened(scaled_scores(query, key, scale)), may_attend) @ widened(value)
