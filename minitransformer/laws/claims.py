"""What a function can claim to be, and the function of ours that is it."""

from collections.abc import Callable
from typing import Any

from minitransformer import attention, feed_forward, losses, norm, optimizer, positions, visibility, word_vectors
from minitransformer.objectives import masked_lm, next_sentence

CLAIMS: dict[str, Callable[..., Any]] = {
    "softmax": attention.softmax,
    "log-softmax": attention.log_softmax,
    "attention-weights": attention.attention_weights,
    "attention": attention.scaled_dot_product_attention,
    "layer-norm": norm.layer_norm,
    "rms-norm": norm.rms_norm,
    "gelu": feed_forward.gelu,
    "gelu-tanh": feed_forward.gelu_tanh,
    "relu": feed_forward.relu,
    "sinusoids": positions.sinusoids,
    "causal-visibility": visibility.causal,
    "padding-visibility": visibility.padding,
    "packed-visibility": visibility.same_segment,
    "token-cross-entropy": losses.token_cross_entropy,
    "cross-entropy": losses.cross_entropy,
    "binary-cross-entropy": losses.binary_cross_entropy,
    "mean-squared-error": losses.mean_squared_error,
    "masked-lm-loss": losses.masked_lm_loss,
    "next-sentence-loss": losses.next_sentence_loss,
    "linear-warmup": optimizer.linear_warmup,
    "cosine-warmup": optimizer.cosine_warmup,
    "inverse-square-root-warmup": optimizer.inverse_square_root_warmup,
    "global-norm": optimizer.global_norm,
    "clip-global-norm": optimizer.clip_global_norm,
    "positive-pmi": word_vectors.positive_pmi,
    "word-vectors": word_vectors.word_vectors,
    "masking": masked_lm.mask_tokens,
    "next-sentence-pairs": next_sentence.make_pairs,
}

MAY_DRAW = frozenset({"masking", "next-sentence-pairs"})
"""What may draw random numbers on the way, and so answer the same question in other words."""
