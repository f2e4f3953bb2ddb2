"""Python's values as JSON, without losing what they were: tensors go to a file of their own, under a name."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from minitransformer.errors import InputError

TensorNames = dict[str, Tensor]


def to_json(value: Any, place: str, tensors: TensorNames | None = None) -> Any:
    """A value as JSON can hold it; a tensor is put under the name of its place, where tensors can be kept.

    What JSON has no word for is an object with one entry: its kind, and what it is made of.

    Raises: InputError for a value that is no number, text, tensor or collection of them.

    >>> to_json((0.9, None), "betas")
    {'tuple': [0.9, None]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor) and tensors is not None:
        if place in tensors:
            raise InputError(f"two tensors would be kept as {place!r}; give one of them another name")
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, list | tuple):
        items = [to_json(item, f"{place}.{number}", tensors) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        pairs = [[to_json(key, place), to_json(item, f"{place}.{key}", tensors)] for key, item in value.items()]
        return {"counter" if isinstance(value, Counter) else "dict": pairs}
    raise InputError(
        f"{place} is of the type {type(value).__name__}, which a checkpoint cannot hold; "
        "numbers, text, tensors, and lists, tuples and dictionaries of them can be kept"
    )


def no_tensors(name: str) -> Tensor:
    """Stand for the tensors where none are kept."""
    raise KeyError(name)


def from_json(value: Any, take: Callable[[str], Tensor] = no_tensors) -> Any:
    """The value that `to_json` was given; `take` fetches a tensor by its name.

    Raises: KeyError, TypeError or ValueError for what `to_json` never gives.

    >>> from_json({"tuple": [0.9, None]})
    (0.9, None)
    """
    if isinstance(value, list):
        return [from_json(item, take) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return take(content)
    if kind == "tuple":
        return tuple(from_json(content, take))
    pairs = {from_json(key, take): from_json(item, take) for key, item in content}
    return {"dict": dict, "counter": Counter}[kind](pairs)


def json_text(content: Mapping[str, Any], name: str) -> str:
    """The text of a JSON file; numbers of NumPy and PyTorch are written as numbers, paths as text.

    Raises: InputError naming the file and what it cannot hold.

    >>> json_text({"loss": np.float32(0.5)}, "state.json")
    '{"loss": 0.5}'
    """

    def in_plain_words(value: Any) -> Any:
        if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
            return value.item()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise TypeError(f"a value of the type {type(value).__name__}")

    try:
        return json.dumps(content, default=in_plain_words)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot hold {error}; numbers, text, lists and dictionaries can be kept") from error
