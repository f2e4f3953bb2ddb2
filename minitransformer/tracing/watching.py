"""Watching equations at work from outside: Python tells of each call, so that no code has to be changed for it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from minitransformer.equations import PACKAGE, in_torch

FOLDER = f"{PACKAGE}{os.sep}"


@contextmanager
def watching(called: Callable[[FrameType], None], returned: Callable[[FrameType, Any], None]) -> Iterator[None]:
    """Tell of each call of a Python function in this thread, and of each return with its result."""
    before = sys.getprofile()

    def tell(frame: FrameType, event: str, result: Any) -> None:
        if event == "call":
            called(frame)
        elif event == "return":
            returned(frame, result)

    sys.setprofile(tell)
    try:
        yield
    finally:
        sys.setprofile(before)


def equation_of(code: CodeType) -> str:
    """The tag of the equation that a function computes, or its class; empty if there is none.

    A kernel computes the equation of the same name.

    >>> from inspect import unwrap
    >>> from minitransformer.feed_forward import FeedForward
    >>> equation_of(unwrap(FeedForward.forward).__code__), equation_of(unwrap(equation_of).__code__)
    ('feed-forward', '')
    """
    return tag_at(code.co_filename, code.co_qualname) if code.co_filename.startswith(FOLDER) else ""


def is_equation(code: CodeType) -> bool:
    """Whether this is the function itself that computes an equation, and no function within it.

    >>> from inspect import unwrap
    >>> from minitransformer.visibility import causal
    >>> is_equation(unwrap(causal).__code__)
    True
    """
    return bool(equation_of(code)) and code.co_qualname == code.co_name


@cache
def tag_at(file: str, qualified_name: str) -> str:
    """The tag of what stands in a file under a name, or around it."""
    path, name = Path(file).relative_to(PACKAGE).as_posix(), qualified_name.split(".", 1)[0]
    tag = tags().get((path, name), "")
    return tag or (tags_by_name().get(name, "") if path.startswith("kernels/") else "")


@cache
def tags() -> dict[tuple[str, str], str]:
    """The tag of each equation by its file in the package and the name of its function or class."""
    return {(each.path.split("/", 1)[1], each.name): tag for tag, each in in_torch().items()}


@cache
def tags_by_name() -> dict[str, str]:
    """The tag of each equation by the name alone, which kernels share."""
    return {each.name: tag for tag, each in in_torch().items()}
