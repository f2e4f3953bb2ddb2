"""The same equations through fast kernels, and the one switch between them.

The equations stand in `attention.py`, `norm.py`, `feed_forward.py`, `dropout.py`, `losses.py` and `optimizer.py`, and
are what people read. Each function in `kernels/fused.py` is the fast twin of the equation of the same name. `fused` is
the default; `use("equations")` runs what is written, so that a debugger or a trace steps through the formula itself.
`use("tiled")` runs what is written too, but attention tile by tile, in memory that grows with the length and not with
its square; `use("triton")` runs the fast twins, but attention through a kernel for GPUs that is written here.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType, TracebackType
from typing import ParamSpec, TypeVar

from minitransformer.errors import InputError
from minitransformer.kernels import fused, tiled

KINDS = ("equations", "fused", "tiled", "triton")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_active = "fused"


class use:  # noqa: N801 - reads as a verb: kernels.use("equations")
    """Choose the kernels from here on, or inside a `with` block only.

    Raises: InputError for a kind that does not exist, and for one that needs what is not installed.

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
        if kind == "triton":
            load_triton()
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
    """Let the function of the same name in `kernels/fused.py` stand in for an equation while `fused` is active.

    >>> import torch
    >>> @with_fused_twin
    ... def relu(x):
    ...     return "the equation"
    >>> with use("equations"):
    ...     relu(torch.tensor([-1.0, 2.0]))
    'the equation'
    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    name = equation.__name__
    twins: dict[str, Callable[Arguments, Result]]
    twins = {"equations": equation, "fused": getattr(fused, name), "tiled": getattr(tiled, name, equation)}

    @wraps(equation)
    def equation_or_twin(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if _active == "triton":
            return getattr(load_triton(), name, twins["fused"])(*args, **kwargs)
        return twins[_active](*args, **kwargs)

    return equation_or_twin


def load_triton() -> ModuleType:
    """The kernel for GPUs, which is imported only where it is asked for.

    Raises: InputError where Triton is not installed.
    """
    try:
        return import_module("minitransformer.kernels.triton_attention")
    except ImportError as error:
        raise InputError(
            "kind='triton' needs Triton, which is not installed; on Linux, pip install triton; "
            "elsewhere kernels.use('tiled') takes as little memory"
        ) from error
