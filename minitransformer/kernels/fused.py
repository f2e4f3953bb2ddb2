"""The fast twins: each computes what the equation of its name says, with PyTorch's fused kernels or fewer passes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.adamw import adamw as torch_adamw

from minitransformer.visibility import require_boolean


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Fused twin of `attention.softmax`."""
    return torch.softmax(x, dim=axis)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Fused twin of `attention.log_softmax`."""
    return torch.log_softmax(x, dim=axis)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
) -> Tensor:
    """Fused twin of `attention.scaled_dot_product_attention`.

    PyTorch leaves open what a query that sees nothing reads: such a query is shown everything, and its result is then
    replaced by zeros, so that neither NaN nor a gradient can leave it.
    """
    require_boolean(may_attend)
    if dropout_rate and draws_cheaply(query, dropout_rate):
        return attention_with_dropout(query, key, value, may_attend, scale, dropout_rate)
    if may_attend is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_rate, scale=scale)
    sees_nothing = ~may_attend.any(dim=-1, keepdim=True)
    read = F.scaled_dot_product_attention(
        query, key, value, attn_mask=may_attend | sees_nothing, dropout_p=dropout_rate, scale=scale
    )
    return read.masked_fill(sees_nothing, 0.0) if may_be_true(sees_nothing) else read


def may_be_true(condition: Tensor) -> bool:
    """Whether a condition holds somewhere; on an accelerator, which would have to be waited for, it may.

    >>> may_be_true(torch.tensor([False, False])), may_be_true(torch.tensor([False, True]))
    (False, True)
    """
    return condition.device.type != "cpu" or torch.compiler.is_compiling() or bool(condition.any())


def attention_with_dropout(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None, scale: float | None, dropout_rate: float
) -> Tensor:
    """Attention whose weights stand in memory, as PyTorch's does on a CPU with dropout, but with cheap draws."""
    score = query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale) @ key.transpose(-2, -1)
    if may_attend is None:
        return dropout(torch.softmax(score, dim=-1), dropout_rate) @ value
    sees_nothing = ~may_attend.any(dim=-1, keepdim=True)
    weights = torch.softmax(score.masked_fill(~(may_attend | sees_nothing), -math.inf), dim=-1)
    read = dropout(weights, dropout_rate) @ value
    return read.masked_fill(sees_nothing, 0.0) if may_be_true(sees_nothing) else read


def linear_together(x: Tensor, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """Fused twin of `attention.linear_together`: one multiplication by all matrices side by side."""
    if not all(map(is_plain, layers)):
        return [layer(x) for layer in layers]
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return list(torch.split(F.linear(x, weight, bias), [layer.out_features for layer in layers], dim=-1))


def is_plain(layer: nn.Linear) -> bool:
    """Whether a layer is its weight and its bias and nothing else: not somebody's own class, and without hooks.

    >>> is_plain(nn.Linear(2, 3)), is_plain(nn.Linear(2, 3, bias=False))
    (True, False)
    """
    has_hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return type(layer) is nn.Linear and layer.bias is not None and not has_hooks


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Fused twin of `norm.layer_norm`."""
    return F.layer_norm(x, gain.shape, gain, bias, eps)


def rms_norm(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Fused twin of `norm.rms_norm`."""
    return F.rms_norm(x, gain.shape, gain, eps)


def gelu(x: Tensor) -> Tensor:
    """Fused twin of `feed_forward.gelu`."""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """Fused twin of `feed_forward.gelu_tanh`."""
    return F.gelu(x, approximate="tanh")


def relu(x: Tensor) -> Tensor:
    """Fused twin of `feed_forward.relu`."""
    return F.relu(x)


STEPS_OF_A_RATE = 2**16
"""A draw of 16 bits tells so many rates apart."""


def dropout(x: Tensor, rate: float) -> Tensor:
    """Fused twin of `dropout.dropout`: on a CPU, where PyTorch draws one number after the other, with cheap draws."""
    return CheapDropout.apply(x, rate) if draws_cheaply(x, rate) else F.dropout(x, rate)  # type: ignore[no-untyped-call]


def draws_cheaply(x: Tensor, rate: float) -> bool:
    """Whether a rate can be had from 16 random bits: not where a share of it would be lost in rounding it.

    >>> draws_cheaply(torch.ones(2), 0.1), draws_cheaply(torch.ones(2), 1e-6)
    (True, False)
    """
    is_fine = 2**-7 <= rate <= 1 - 2**-7
    return is_fine and x.device.type == "cpu" and not torch.compiler.is_compiling()


class CheapDropout(torch.autograd.Function):
    """Dropout with 16 random bits for each entry, four entries to a draw.

    The draw rounds the rate to a multiple of 1/65,536, which moves the mean by less than what 10⁸ entries could show of
    it; what is kept is rescaled by the rate itself. The bits come from a generator that is seeded by PyTorch's:
    `torch.manual_seed` repeats it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        """Draw, drop and rescale."""
        dropped = round(rate * STEPS_OF_A_RATE)
        ctx.scale = 1 / (1 - rate)
        keep = draw_kept(x.numel(), dropped).view(x.shape)
        ctx.save_for_backward(keep)
        return keep.to(x.dtype).mul_(ctx.scale).mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """What was dropped learns nothing."""
        (keep,) = ctx.saved_tensors
        return keep.to(gradient.dtype).mul_(ctx.scale).mul_(gradient), None


def draw_kept(n_entries: int, dropped: int) -> Tensor:
    """Draw for each entry whether it is kept: 1, or 0 in `dropped` of 65,536 cases."""
    seed = int(torch.randint(2**63 - 1, ()))
    bits = np.random.SFC64(seed).random_raw(-(-n_entries // 4)).view(np.uint16)[:n_entries]
    return torch.from_numpy(bits >= dropped).view(torch.uint8)  # which PyTorch turns into numbers faster than booleans


def token_cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Fused twin of `losses.token_cross_entropy`."""
    rows, targets = logits.reshape(-1, logits.shape[-1]), target.reshape(-1).long()
    return F.cross_entropy(rows, targets, reduction="none", label_smoothing=label_smoothing).reshape(target.shape)


def projected_cross_entropy(x: Tensor, layer: nn.Linear, target: Tensor) -> Tensor:
    """Fused twin of `losses.projected_cross_entropy`: the logits become their own gradient, in the same memory."""
    if not is_plain(layer):
        return token_cross_entropy(layer(x), target)
    return ProjectedCrossEntropy.apply(x, layer.weight, layer.bias, target)  # type: ignore[no-any-return, no-untyped-call]


class ProjectedCrossEntropy(torch.autograd.Function):
    """The surprise ℓ = ln Σ exp z − z_t of logits z = x Wᵀ + b, whose gradient by z is softmax(z) − [v = t].

    Logits over a vocabulary are the largest tensor of a training step. They are written once, and overwritten by their
    softmax; no logarithm of it, and no gradient of it, ever stands beside them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        """The surprise at each target; ln Σ exp z is had from the largest logit and its share."""
        logits = F.linear(x, weight, bias)
        ctx.computed_in = logits.dtype
        score = logits if logits.dtype == torch.float64 else logits.float()
        largest, where = score.max(dim=-1, keepdim=True)
        at_target = score.gather(-1, target[:, None])
        torch.softmax(score, dim=-1, out=score)
        log_of_sum = largest - score.gather(-1, where).log()
        score.scatter_add_(-1, target[:, None], score.new_full((len(target), 1), -1.0))
        ctx.save_for_backward(x, weight, score)
        return (log_of_sum - at_target)[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Back through the layer, each row by its share of the loss."""
        x, weight, by_score = ctx.saved_tensors
        by_logits = by_score.to(ctx.computed_in)
        share = gradient[:, None].to(ctx.computed_in)
        by_x = (by_logits @ weight.to(ctx.computed_in)) * share
        by_weight = by_logits.T @ (x.to(ctx.computed_in) * share)
        by_bias = share[:, 0] @ by_logits
        return by_x.to(x.dtype), by_weight.to(weight.dtype), by_bias.to(weight.dtype), None


def binary_cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Fused twin of `losses.binary_cross_entropy`."""
    return F.binary_cross_entropy_with_logits(logit, target.to(logit.dtype))


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Fused twin of `optimizer.global_norm`."""
    return torch.nn.utils.get_total_norm(gradients)


def adamw_update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first_moments: Sequence[Tensor],
    second_moments: Sequence[Tensor],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Fused twin of `optimizer.adamw_update`: one kernel for all parameters of a group."""
    # Filled where a parameter is: for a number that is brought there, the processor would wait.
    steps_before = [torch.full((), step - 1.0, device=parameter.device) for parameter in parameters]
    torch_adamw(
        list(parameters),
        list(gradients),
        list(first_moments),
        list(second_moments),
        [],
        steps_before,
        fused=True,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=weight_decay,
        eps=eps,
        maximize=False,
    )
