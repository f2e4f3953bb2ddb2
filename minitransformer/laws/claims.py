"""What a function can claim to be, and the function of ours that is it."""

import difflib
import re
from collections.abc import Callable
from inspect import signature
from typing import Any

from minitransformer import (
    attention,
    dropout,
    feed_forward,
    losses,
    norm,
    optimizer,
    positions,
    schedules,
    visibility,
    word_vectors,
)
from minitransformer.errors import InputError
from minitransformer.kernels import tiled
from minitransformer.laws import fast_functions, modules, training_functions
from minitransformer.objectives import masked_lm, next_sentence

CLAIMS: dict[str, Callable[..., Any]] = {
    "softmax": attention.softmax,
    "log-softmax": attention.log_softmax,
    "attention-weights": attention.attention_weights,
    "attention": attention.scaled_dot_product_attention,
    "online-softmax": tiled.online_softmax,
    "tiled-attention": tiled.tiled_attention,
    "tiled-attention-gradient": tiled.tiled_attention_gradient,
    "multi-head-attention": modules.multi_head_attention,
    "linear-together": fast_functions.linear_together,
    "packing": fast_functions.packing,
    "unpacking": fast_functions.unpacking,
    "packed-attention": fast_functions.packed_attention,
    "layer-norm": norm.layer_norm,
    "rms-norm": norm.rms_norm,
    "gelu": feed_forward.gelu,
    "gelu-tanh": feed_forward.gelu_tanh,
    "relu": feed_forward.relu,
    "feed-forward": modules.feed_forward,
    "dropout": dropout.dropout,
    "dropout-layer": modules.dropout_layer,
    "post-norm": modules.post_norm,
    "pre-norm": modules.pre_norm,
    "encoder-block": modules.encoder_block,
    "pre-norm-encoder-block": modules.pre_norm_encoder_block,
    "decoder-block": modules.decoder_block,
    "pre-norm-decoder-block": modules.pre_norm_decoder_block,
    "encoder": modules.encoder,
    "pre-norm-encoder": modules.pre_norm_encoder,
    "decoder": modules.decoder,
    "pre-norm-decoder": modules.pre_norm_decoder,
    "embeddings": modules.embeddings,
    "pooler": modules.pooler,
    "masked-word-head": modules.masked_word_head,
    "next-sentence-head": modules.next_sentence_head,
    "classification-head": modules.classification_head,
    "sinusoids": positions.sinusoids,
    "causal-visibility": visibility.causal,
    "padding-visibility": visibility.padding,
    "packed-visibility": visibility.same_segment,
    "token-cross-entropy": losses.token_cross_entropy,
    "cross-entropy": losses.cross_entropy,
    "projected-cross-entropy": fast_functions.projected_cross_entropy,
    "binary-cross-entropy": losses.binary_cross_entropy,
    "mean-squared-error": losses.mean_squared_error,
    "masked-lm-loss": losses.masked_lm_loss,
    "next-sentence-loss": losses.next_sentence_loss,
    "linear-warmup": schedules.linear_warmup,
    "cosine-warmup": schedules.cosine_warmup,
    "cosine-restarts-warmup": schedules.cosine_restarts_warmup,
    "polynomial-warmup": schedules.polynomial_warmup,
    "constant-rate": schedules.constant_rate,
    "constant-warmup": schedules.constant_warmup,
    "inverse-square-root-warmup": schedules.inverse_square_root_warmup,
    "global-norm": optimizer.global_norm,
    "clip-global-norm": optimizer.clip_global_norm,
    "adamw": training_functions.adamw,
    "accumulation": training_functions.accumulation,
    "training-run": training_functions.training_run,
    "saving": training_functions.saving,
    "neighbour-score": training_functions.neighbour_score,
    "segment-score": training_functions.segment_score,
    "positive-pmi": word_vectors.positive_pmi,
    "word-vectors": word_vectors.word_vectors,
    "masking": masked_lm.mask_tokens,
    "next-sentence-pairs": next_sentence.make_pairs,
}

MAY_DRAW = frozenset({"dropout", "dropout-layer", "masking", "next-sentence-pairs", "training-run", "saving"})
"""What may draw random numbers on the way, or answer with a model: no second answer need be the same object."""

HEAVY = frozenset(claim for claim, ours in CLAIMS.items() if "parameters" in signature(ours).parameters) | {
    "accumulation",
    "saving",
}
"""What is built of parts, trains or writes files: a case takes many times as long, so fewer are tried."""

SYNONYMS = {
    "scaled-dot-product-attention": "attention",
    "multihead-attention": "multi-head-attention",
    "multi-headed-attention": "multi-head-attention",
}
"""Other names that a function or class may have."""


def claim_of(name: str) -> str | None:
    """The claim that the name of a function or a class makes.

    >>> claim_of("scaled_dot_product_attention"), claim_of("MultiHeadAttention"), claim_of("my_helper")
    ('attention', 'multi-head-attention', None)
    """
    tag = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().replace("_", "-")
    tag = SYNONYMS.get(tag, tag)
    return tag if tag in CLAIMS else None


def known_claim(claim: str) -> str:
    """A claim by its name, with hyphens or underscores.

    Raises: InputError that names the nearest one.

    >>> known_claim("layer_norm")
    'layer-norm'
    """
    found = claim_of(claim)
    if found is None:
        nearest = difflib.get_close_matches(claim.replace("_", "-"), CLAIMS, n=1, cutoff=0.5)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no function can claim to be {claim!r}; {suggestion}there are: {', '.join(CLAIMS)}")
    return found
