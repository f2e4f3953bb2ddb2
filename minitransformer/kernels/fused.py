"""The fast twins: PyTorch's fused kernels, each under the name of the equation that it computes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
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
    if may_attend is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_rate, scale=scale)
    sees_nothing = ~may_attend.any(dim=-1, keepdim=True)
    read = F.scaled_dot_product_attention(
        query, key, value, attn_mask=may_attend | sees_nothing, dropout_p=dropout_rate, scale=scale
    )
    return read.masked_fill(sees_nothing, 0.0)


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


def dropout(x: Tensor, rate: float) -> Tensor:
    """Fused twin of `dropout.dropout`."""
    return F.dropout(x, rate)


def token_cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Fused twin of `losses.token_cross_entropy`."""
    rows, targets = logits.reshape(-1, logits.shape[-1]), target.reshape(-1).long()
    return F.cross_entropy(rows, targets, reduction="none", label_smoothing=label_smoothing).reshape(target.shape)


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
    steps_before = [torch.tensor(float(step - 1), device=parameter.device) for parameter in parameters]
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
