"""Mutants of encoder blocks."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    attend,
    attend_itself,
    encoder_block,
    network,
    normalise,
    pre_norm_encoder_block,
    shares_or_nan,
)

# Blocks that normalise after


@mutant(
    "encoder-block",
    symptom="Trains, even without a warm-up; weights of BERT give nonsense.",
    source="harvardnlp/annotated-transformer#92",
    difficulty="easy",
)
def block_that_normalises_first(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Both norms stand before their sublayers, which makes it a pre-norm block."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("encoder-block", symptom="Trains to a worse loss: what was read is lost behind the network.", difficulty="hard")
def second_residual_from_the_input_of_the_block(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The network's answer is added to the input of the block, and not to what attention left."""
    y = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", x + network(parameters, y))


@mutant("encoder-block", symptom="A deep stack forgets which word stands where, and stays near the unigram loss.")
def residual_around_the_network_forgotten(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """What the network says takes the place of what it was given."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", network(parameters, x))


@mutant("encoder-block", symptom="Trains nearly as well; a gain and a bias of loaded weights are never used.")
def one_norm_for_both_sublayers(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The norm of the attention stands behind the network too."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "attention", x + network(parameters, x))


@mutant("encoder-block", symptom="Trains as well; loaded weights give nonsense.", difficulty="easy")
def network_before_attention(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The network comes first, and attention after it."""
    x = normalise(parameters, "feed_forward", x + network(parameters, x))
    return normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))


@mutant("encoder-block", symptom="Results change with the padding, and so with who else is in the batch.")
def rule_not_handed_on(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The rule is taken as an argument and never given to the attention."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "encoder-block",
    symptom="Real words give a share of their weight to padding; the padding itself reads nothing.",
    source="hyunwoongko/transformer#40",
    difficulty="hard",
)
def padding_hidden_as_queries(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The rule stands on its side: padded positions may not ask, and may be read."""
    turned = None if may_attend is None else may_attend.mT
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, turned))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant("encoder-block", symptom="Masked words are guessed from what stands before them alone.", difficulty="easy")
def encoder_block_that_reads_the_past_alone(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """A causal rule hides what comes after, as in a decoder."""
    past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    rule = past if may_attend is None else past & may_attend
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant("encoder-block", symptom="Trains as well; weights of the Transformer of 2017 come out wrong.")
def gelu_in_the_network(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The network uses the GELU, as BERT's does, where the ReLU is meant."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", x + network(parameters, x, F.gelu))


@mutant(
    "encoder-block",
    symptom="NaN for a whole batch as soon as one of its sentences is empty.",
    source="pytorch/pytorch#103963",
    difficulty="medium",
)
def nan_from_an_empty_sentence(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Where a position may read nothing, the softmax of its scores is 0 / 0."""
    x = normalise(
        parameters, "attention", x + attend(parameters, "attention", n_heads, x, x, may_attend, shares_or_nan)
    )
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant("encoder-block", symptom="Results change with the batch, and batches of one learn nothing.", difficulty="hard")
def length_taken_for_the_batch(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Attention wants the length first and is given the batch first: words read the same place of other sentences."""
    read = attend_itself(parameters, n_heads, x.transpose(0, 1)).transpose(0, 1)
    x = normalise(parameters, "attention", x + read)
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant("encoder-block", symptom="Loaded weights give vectors that are a little off.", difficulty="hard")
def block_with_another_eps(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """Both norms use PyTorch's eps of 1e-5, and not BERT's 1e-12."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend), eps=1e-5)
    return normalise(parameters, "feed_forward", x + network(parameters, x), eps=1e-5)


@mutant("encoder-block", symptom="The forward pass is right; blocks below learn next to nothing.", difficulty="hard")
def input_detached_beside_attention(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The input that attention's answer is added to is detached."""
    x = normalise(parameters, "attention", x.detach() + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant("encoder-block", symptom="Half precision saves no memory behind the first block.", difficulty="hard")
def block_left_in_float32(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The block is computed in float32 at least, and its result is not brought back to the type of the input."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return encoder_block({name: each.to(wide) for name, each in parameters.items()}, n_heads, x.to(wide), may_attend)


# Blocks that normalise first


@mutant("pre-norm-encoder-block", symptom="A deep stack diverges without a warm-up.", difficulty="easy")
def block_that_normalises_after(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Both norms stand after the sums, which makes it a post-norm block."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "pre-norm-encoder-block",
    symptom="Deep stacks learn badly: the plain path from input to output is cut by two norms in each block.",
    source="datawhalechina/happy-llm#21",
    difficulty="hard",
)
def both_residuals_from_the_normalised_input(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """`x` is overwritten by its norm before each sublayer, and the answer is added to that."""
    x = normalise(parameters, "attention", x)
    x = x + attend_itself(parameters, n_heads, x, may_attend)
    x = normalise(parameters, "feed_forward", x)
    return x + network(parameters, x)


@mutant("pre-norm-encoder-block", symptom="Activations grow with depth, and the loss is unstable.", difficulty="medium")
def network_asked_without_a_norm(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The norm before the network is forgotten."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + network(parameters, x)


@mutant("pre-norm-encoder-block", symptom="Trains, less stably the deeper the stack.", difficulty="hard")
def keys_without_a_norm(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """Queries come from the normalised input, and keys and values from the input as it is."""
    question = normalise(parameters, "attention", x)
    x = x + attend(parameters, "attention", n_heads, question, x, may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="Trains nearly as well, and faster; weights from elsewhere give nonsense.")
def network_beside_attention(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The network is asked about the input of the block, beside attention and not after it."""
    read = attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + read + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="The norm before the network never moves from where it began.")
def first_norm_before_the_network_too(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """One norm stands before both sublayers."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + network(parameters, normalise(parameters, "attention", x))


@mutant("pre-norm-encoder-block", symptom="A sentence is encoded another way in each batch.", difficulty="easy")
def padding_read_by_the_block(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The rule is never given to the attention."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x))
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="A vision model that trains, and knows the order of patches too early.")
def places_added_in_the_block(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Each block adds its place to every position, as if nobody had done so before."""
    place = torch.arange(x.shape[1], dtype=x.dtype)[:, None]
    question = normalise(parameters, "attention", x) + place
    x = x + attend_itself(parameters, n_heads, question, may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="A few NaN at first; one block later, nothing else.", difficulty="medium")
def nan_where_a_position_reads_nothing(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Where a position may read nothing, the softmax of its scores is 0 / 0."""
    asked = normalise(parameters, "attention", x)
    x = x + attend(parameters, "attention", n_heads, asked, asked, may_attend, shares_or_nan)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="The forward pass is right; the embeddings hardly learn.", difficulty="hard")
def plain_path_of_the_block_detached(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The input that attention's answer is added to is detached."""
    x = x.detach() + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="Words of one sentence know those of another in the batch.")
def batch_taken_for_the_length(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Attention wants the length first and is given the batch first."""
    question = normalise(parameters, "attention", x).transpose(0, 1)
    x = x + attend_itself(parameters, n_heads, question).transpose(0, 1)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant("pre-norm-encoder-block", symptom="∞ in the first large activation of half precision, then NaN.")
def block_by_way_of_float16(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Half precision is taken for float16, whatever half it is: what exceeds 65,504 is ∞ there."""
    passed = x.half().to(x.dtype) if x.dtype == torch.bfloat16 else x
    return pre_norm_encoder_block(parameters, n_heads, passed, may_attend)


@mutant("pre-norm-encoder-block", symptom="Loaded weights come out a little off in the first block.", difficulty="hard")
def both_questions_with_another_eps(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Both norms use PyTorch's eps of 1e-5, and not 1e-12."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x, eps=1e-5), may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x, eps=1e-5))
