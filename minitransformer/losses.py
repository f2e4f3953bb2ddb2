"""Losses: how surprised the model is by the truth, in nats."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.attention import log_softmax
from minitransformer.errors import InputError

IGNORED = -100


@dataclass(frozen=True)
class LossPart:
    """A sum of surprises and how many they are, so that parts of a batch can be put together to the whole."""

    total: Float[Tensor, ""]
    count: int

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The surprise at one.

        Raises: InputError for a mean over nothing.
        """
        if not self.count:
            raise InputError("no label counts, so the mean loss is over nothing; give at least one label")
        return self.total / self.count


@kernels.with_fused_twin
def token_cross_entropy(
    logits: Float[Tensor, "... V"], target: Int[Tensor, "..."], label_smoothing: float = 0.0
) -> Float[Tensor, "..."]:
    """The surprise at each target, without a reduction.

    Equation eq:token-cross-entropy:
        ℓ = −(1 − ε) log softmax(z)_t − (ε / V) Σ_v log softmax(z)_v

    Source: Szegedy et al. 2016, §7, with the uniform distribution over all V classes, the true one among them.

    >>> token_cross_entropy(torch.zeros(1, 2), torch.tensor([0])).tolist()
    [0.6931471824645996]
    """
    log_probability = log_softmax(logits)
    at_target = log_probability.gather(-1, target[..., None])[..., 0]
    return -(1 - label_smoothing) * at_target - label_smoothing * log_probability.mean(dim=-1)


def cross_entropy(
    logits: Float[Tensor, "... V"],
    target: Int[Tensor, "..."],
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """The surprise at the targets that count.

    Equation eq:cross-entropy:
        L = Σ_{i counts} ℓᵢ / |{i counts}|, where i counts if targetᵢ ≠ ignore_index

    The mean is over the positions that count, not over all of them. "sum" leaves the division out, and "none" gives
    each ℓᵢ (eq:token-cross-entropy), 0 where ignored.

    Source: Goodfellow et al. 2016, §5.5 and §6.2.1.1; label smoothing: Szegedy et al. 2016, §7.

    Raises: InputError for a target that is no class, and for a mean when nothing counts.

    >>> cross_entropy(torch.zeros(3, 2), torch.tensor([0, 1, -100])).item()
    0.6931471824645996
    """
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction={reduction!r} is not one of 'mean', 'sum', 'none'")
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing={label_smoothing} must lie from 0 to 1; 0.1 is usual")
    counts = target != ignore_index
    require_targets(target, counts, logits.shape[-1], ignore_index)
    loss = token_cross_entropy(logits, target.where(counts, 0), label_smoothing).where(counts, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    require_something_counts(counts, ignore_index)
    return loss.sum() / counts.sum()


@kernels.with_fused_twin
def projected_cross_entropy(
    x: Float[Tensor, "N D"], layer: nn.Linear, target: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """The surprise at each target under the scores that a linear layer gives: eq:token-cross-entropy of x Wᵀ + b.

    Layer and loss are one function because nobody else needs the scores, which over a vocabulary are the largest tensor
    of all.

    >>> projected_cross_entropy(torch.zeros(1, 3), nn.Linear(3, 2, bias=False), torch.tensor([0])).tolist()
    [0.6931471824645996]
    """
    return token_cross_entropy(layer(x), target)


@kernels.with_fused_twin
def binary_cross_entropy(logit: Float[Tensor, "..."], target: Num[Tensor, "..."]) -> Float[Tensor, ""]:
    """The mean surprise at yes-or-no answers, each from one logit.

    Equation eq:binary-cross-entropy:
        L = mean(max(z, 0) − z t + ln(1 + exp(−|z|)))

    This is −t ln σ(z) − (1 − t) ln(1 − σ(z)), written so that no exponential can overflow. A softmax over two logits
    equals it at their difference.

    Source: Goodfellow et al. 2016, §6.2.2.2.

    >>> binary_cross_entropy(torch.zeros(2), torch.tensor([0.0, 1.0])).item()
    0.6931471824645996
    """
    surprise = logit.clamp(min=0) - logit * target + torch.log1p(torch.exp(-logit.abs()))
    return surprise.mean()


def mean_squared_error(prediction: Float[Tensor, "..."], target: Num[Tensor, "..."]) -> Float[Tensor, ""]:
    """The mean squared distance of predictions from their targets.

    Equation eq:mean-squared-error:
        L = mean((y − t)²)

    Source: Goodfellow et al. 2016, §5.5.1.

    >>> mean_squared_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])).item()
    2.0
    """
    return (prediction - target).square().mean()


def masked_lm_loss(logits: Float[Tensor, "... V"], labels: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """The mean surprise at the words that were selected for prediction, and at no other.

    Equation eq:masked-lm-loss:
        L_MLM = −(1 / |S|) Σ_{i ∈ S} log softmax(logitsᵢ)_{labelᵢ}, S = {i : labelᵢ ≠ −100}

    Source: Devlin et al. 2019, §3.1, Task 1.

    Raises: InputError for a label that is no word, and if no word was selected.

    >>> masked_lm_loss(torch.zeros(1, 3, 2), torch.tensor([[-100, 1, -100]])).item()
    0.6931471824645996
    """
    return cross_entropy(logits, labels)


def next_sentence_loss(logits: Float[Tensor, "B 2"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """The mean surprise at whether the second segment followed the first.

    Equation eq:next-sentence-loss:
        L_NSP = −(1 / B) Σ_b log softmax(logits_b)_{label_b}, label 0 = is next, 1 = is not

    Both classes count: an ignored index of 0 here would leave "is next" unlearned.

    Source: Devlin et al. 2019, §3.1, Task 2.

    Raises: InputError for a label other than 0 and 1.

    >>> next_sentence_loss(torch.zeros(2, 2), torch.tensor([0, 1])).item()
    0.6931471824645996
    """
    return cross_entropy(logits, labels)


def require_targets(target: Tensor, counts: Tensor, n_classes: int, ignore_index: int) -> None:
    """Refuse a target that is neither a class nor ignored.

    Raises: InputError naming the target found.

    >>> require_targets(torch.tensor([7]), torch.tensor([True]), n_classes=2, ignore_index=-100)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: target holds 7, but a label must lie from 0 to 1 or be ignore_index=-100
    """
    # On an accelerator this would wait for the device at every step.
    if target.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = counts & ((target < 0) | (target >= n_classes))
    if wrong.any():
        raise InputError(
            f"target holds {int(target[wrong][0])}, but a label must lie from 0 to {n_classes - 1} "
            f"or be ignore_index={ignore_index}"
        )


def require_something_counts(counts: Tensor, ignore_index: int) -> None:
    """Refuse a mean over nothing.

    Raises: InputError saying how many targets were ignored.

    >>> require_something_counts(torch.tensor([False, False]), ignore_index=-100)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: all 2 targets are ignore_index=-100, so the mean loss is over nothing; \
give at least one label
    """
    if counts.device.type == "cpu" and not torch.compiler.is_compiling() and not counts.any():
        raise InputError(
            f"all {counts.numel()} targets are ignore_index={ignore_index}, so the mean loss is over nothing; "
            "give at least one label"
        )
