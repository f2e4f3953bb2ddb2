"""Losses: how surprised the model is by the truth, in nats."""

import numpy as np
from jaxtyping import Float, Int, Num

from minitransformer.reference.attention import log_softmax, softmax

IGNORED = -100


def token_cross_entropy(
    logits: Float[np.ndarray, "... V"], target: Int[np.ndarray, "..."], label_smoothing: float = 0.0
) -> Float[np.ndarray, "..."]:
    """The surprise at each target, without a reduction.

    Equation eq:token-cross-entropy:
        ℓ = −(1 − ε) log softmax(z)_t − (ε / V) Σ_v log softmax(z)_v

    Source: Szegedy et al. 2016, §7, with the uniform distribution over all V classes, the true one among them.

    >>> token_cross_entropy(np.zeros((1, 2)), np.array([0])).round(3).tolist()
    [0.693]
    """
    n_classes = logits.shape[-1]
    wanted = (1 - label_smoothing) * np.eye(n_classes)[target] + label_smoothing / n_classes
    return -np.sum(wanted * log_softmax(logits), axis=-1)


def token_cross_entropy_gradient(
    upstream: Float[np.ndarray, "..."],
    logits: Float[np.ndarray, "... V"],
    target: Int[np.ndarray, "..."],
    label_smoothing: float = 0.0,
) -> Float[np.ndarray, "... V"]:
    """What the loss gains per unit of each logit, through the surprise of its own token.

    Gradient grad:token-cross-entropy:
        ∂z = g · (softmax(z) − q), q = (1 − ε) onehot(t) + ε / V
        with g = ∂L/∂ℓ, ℓ = −Σ_v q_v log softmax(z)_v = −Σ_v q_v z_v + ln Σ_v exp(z_v), because Σ_v q_v = 1.
        The first term has the slope −q_v; the second has exp(z_v) / Σ exp(z), the softmax itself.

    >>> token_cross_entropy_gradient(np.array([2.0]), np.zeros((1, 2)), np.array([0])).tolist()
    [[-1.0, 1.0]]
    """
    n_classes = logits.shape[-1]
    wanted = (1 - label_smoothing) * np.eye(n_classes)[target] + label_smoothing / n_classes
    return upstream[..., None] * (softmax(logits) - wanted)


def cross_entropy(
    logits: Float[np.ndarray, "... V"],
    target: Int[np.ndarray, "..."],
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[np.ndarray, "..."] | float:
    """The surprise at the targets that count.

    Equation eq:cross-entropy:
        L = Σ_{i counts} ℓᵢ / |{i counts}|, where i counts if targetᵢ ≠ ignore_index

    "sum" leaves the division out, and "none" gives each ℓᵢ (eq:token-cross-entropy), 0 where ignored.

    Source: Goodfellow et al. 2016, §5.5 and §6.2.1.1; label smoothing: Szegedy et al. 2016, §7.

    >>> round(cross_entropy(np.zeros((3, 2)), np.array([0, 1, -100])), 3)
    0.693
    """
    counts = target != ignore_index
    loss = np.zeros(target.shape)
    loss[counts] = token_cross_entropy(logits[counts], target[counts], label_smoothing)
    if reduction == "none":
        return loss
    total = float(np.sum(loss))
    return total if reduction == "sum" else total / int(np.count_nonzero(counts))


def softmax_cross_entropy_gradient(
    logits: Float[np.ndarray, "... V"],
    target: Int[np.ndarray, "..."],
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
) -> Float[np.ndarray, "... V"]:
    """What the mean cross-entropy gains per unit of each logit.

    Gradient grad:softmax-cross-entropy:
        ∂z = (softmax(z) − q) / |{i counts}|, and 0 where ignored, q = (1 − ε) onehot(t) + ε / V
        with L = Σ ℓᵢ / |{i counts}|: every position that counts passes 1 / |{i counts}| on to its own surprise,
        whose gradient is that of the token cross-entropy.

    >>> softmax_cross_entropy_gradient(np.zeros((2, 2)), np.array([0, -100])).tolist()
    [[-0.5, 0.5], [0.0, 0.0]]
    """
    counts = target != ignore_index
    gradient = np.zeros_like(logits)
    n_counts = np.count_nonzero(counts)
    share = np.full(n_counts, 1 / n_counts)
    gradient[counts] = token_cross_entropy_gradient(share, logits[counts], target[counts], label_smoothing)
    return gradient


def binary_cross_entropy(logit: Float[np.ndarray, "..."], target: Num[np.ndarray, "..."]) -> float:
    """The mean surprise at yes-or-no answers, each from one logit.

    Equation eq:binary-cross-entropy:
        L = mean(max(z, 0) − z t + ln(1 + exp(−|z|)))

    Source: Goodfellow et al. 2016, §6.2.2.2.

    >>> round(binary_cross_entropy(np.zeros(2), np.array([0.0, 1.0])), 3)
    0.693
    """
    return float(np.mean(np.maximum(logit, 0) - logit * target + np.log1p(np.exp(-np.abs(logit)))))


def binary_cross_entropy_gradient(
    logit: Float[np.ndarray, "..."], target: Num[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """What the mean binary cross-entropy gains per unit of each logit.

    Gradient grad:binary-cross-entropy:
        ∂z = (σ(z) − t) / n, σ(z) = ½ (1 + tanh(z / 2))
        with ℓ = −t ln σ(z) − (1 − t) ln(1 − σ(z)), and σ' = σ (1 − σ).
        The slope is −t (1 − σ) + (1 − t) σ = σ − t; the mean over n entries divides it by n.

    >>> binary_cross_entropy_gradient(np.zeros(2), np.array([0.0, 1.0])).tolist()
    [0.25, -0.25]
    """
    return (0.5 * (1 + np.tanh(logit / 2)) - target) / logit.size


def mean_squared_error(prediction: Float[np.ndarray, "..."], target: Num[np.ndarray, "..."]) -> float:
    """The mean squared distance of predictions from their targets.

    Equation eq:mean-squared-error:
        L = mean((y − t)²)

    Source: Goodfellow et al. 2016, §5.5.1.

    >>> mean_squared_error(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    2.0
    """
    return float(np.mean((prediction - target) ** 2))


def mean_squared_error_gradient(
    prediction: Float[np.ndarray, "..."], target: Num[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """What the mean squared error gains per unit of each prediction.

    Gradient grad:mean-squared-error:
        ∂y = 2 (y − t) / n
        with L = Σ (y − t)² / n: each of the n squares depends on its own prediction alone, with slope 2 (y − t).

    >>> mean_squared_error_gradient(np.array([1.0, 3.0]), np.array([1.0, 1.0])).tolist()
    [0.0, 2.0]
    """
    return 2 * (prediction - target) / prediction.size


def masked_lm_loss(logits: Float[np.ndarray, "... V"], labels: Int[np.ndarray, "..."]) -> float:
    """The mean surprise at the words that were selected for prediction, and at no other.

    Equation eq:masked-lm-loss:
        L_MLM = −(1 / |S|) Σ_{i ∈ S} log softmax(logitsᵢ)_{labelᵢ}, S = {i : labelᵢ ≠ −100}

    Source: Devlin et al. 2019, §3.1, Task 1.

    >>> round(masked_lm_loss(np.zeros((3, 2)), np.array([-100, 1, -100])), 3)
    0.693
    """
    selected = [position for position in np.ndindex(labels.shape) if labels[position] != IGNORED]
    surprises = [-log_softmax(logits[position])[labels[position]] for position in selected]
    return float(sum(surprises)) / len(selected)


def masked_lm_loss_gradient(
    logits: Float[np.ndarray, "... V"], labels: Int[np.ndarray, "..."]
) -> Float[np.ndarray, "... V"]:
    """What the masked-word loss gains per unit of each logit.

    Gradient grad:masked-lm-loss:
        ∂zᵢ = (softmax(zᵢ) − onehot(labelᵢ)) / |S| for i ∈ S, and 0 for every other position
        with L = −(1 / |S|) Σ_{i ∈ S} log softmax(zᵢ)_{labelᵢ}.
        The gradient of −log softmax(z)_t is softmax(z) − onehot(t); words that were not selected don't stand in L.

    >>> masked_lm_loss_gradient(np.zeros((2, 2)), np.array([-100, 1])).tolist()
    [[0.0, 0.0], [0.5, -0.5]]
    """
    selected = [position for position in np.ndindex(labels.shape) if labels[position] != IGNORED]
    gradient = np.zeros_like(logits)
    for position in selected:
        gradient[position] = softmax(logits[position]) / len(selected)
        gradient[position][labels[position]] -= 1 / len(selected)
    return gradient


def next_sentence_loss(logits: Float[np.ndarray, "B 2"], labels: Int[np.ndarray, " B"]) -> float:
    """The mean surprise at whether the second segment followed the first.

    Equation eq:next-sentence-loss:
        L_NSP = −(1 / B) Σ_b log softmax(logits_b)_{label_b}, label 0 = is next, 1 = is not

    Source: Devlin et al. 2019, §3.1, Task 2.

    >>> round(next_sentence_loss(np.zeros((2, 2)), np.array([0, 1])), 3)
    0.693
    """
    surprises = [-log_softmax(pair)[label] for pair, label in zip(logits, labels, strict=True)]
    return float(sum(surprises)) / len(labels)


def next_sentence_loss_gradient(
    logits: Float[np.ndarray, "B 2"], labels: Int[np.ndarray, " B"]
) -> Float[np.ndarray, "B 2"]:
    """What the next-sentence loss gains per unit of each logit.

    Gradient grad:next-sentence-loss:
        ∂z_label = −(1 − p) / B, ∂z_other = (1 − p) / B, p = softmax(z)_label
        with ℓ = −ln p, ∂ℓ/∂z = softmax(z) − onehot(label), and the other share is 1 − p.
        What one logit is to gain the other is to lose: only their difference counts.

    >>> next_sentence_loss_gradient(np.zeros((2, 2)), np.array([0, 1])).tolist()
    [[-0.25, 0.25], [0.25, -0.25]]
    """
    gradient = np.zeros_like(logits)
    for pair, label, slopes in zip(logits, labels, gradient, strict=True):
        surprising = softmax(pair)[1 - label]
        slopes[label], slopes[1 - label] = -surprising / len(labels), surprising / len(labels)
    return gradient
