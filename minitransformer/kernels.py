"""The same equations through PyTorch's fused kernels, and the one switch between the two.

The equations stand in `attention.py`, `norm.py`, `feed_forward.py`, `dropout.py`, `losses.py` and `optimizer.py`, and
are what people read. Each function here is the fast twin of the equation of the same name. `fused` is the default;
`use("equations")` runs what is written, so that a debugger or a trace steps through the formula itself.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adamw import adamw as torch_adamw

from minitransformer.errors import InputError
from minitransformer.visibility import require_boolean

KINDS = ("equations", "fused")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_active = "fused"


class use:  # noqa: N801 - reads as a verb: kernels.use("equations")
    """Choose the kernels from here on, or inside a `with` block only.

    Raises: InputError for a kind that does not exist.

    >>> with use("equations"):
    ...     active()
    'equations'
    >>> active()
    'fused'
    """

    def __init__(self, kind: str) -> None:
        global _active  # noqa: PLW0603 - this is the one switch
        if kind not in KINDS:
            raise InputError(f"kind={kind!r} is not one of {KINDS}; use kernels.use('fused') for speed")
        self._before = _active
        _active = kind

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _active  # noqa: PLW0603 - this is the one switch
        _active = self._before


def active() -> str:
    """The kind of kernels in use.

    >>> active()
    'fused'
    """
    return _active


def with_fused_twin(equation: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let the function of the same name in this module stand in for an equation while `fused` is active.

    >>> @with_fused_twin
    ... def relu(x):
    ...     return "the equation"
    >>> with use("equations"):
    ...     relu(torch.tensor([-1.0, 2.0]))
    'the equation'
    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    twin = globals()[equation.__name__]

    @wraps(equation)
    def equation_or_twin(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        chosen = twin if _active == "fused" else equation
        return chosen(*args, **kwargs)

    return equation_or_twin


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
