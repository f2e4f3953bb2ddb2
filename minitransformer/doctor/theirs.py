"""Anyone's model: what a Python file has under the names `model`, `batch` and `adapter`.

The file is run in this process, without any limit: examine only what you would run yourself.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.batches import Batch
from minitransformer.doctor.diagnosis import Diagnosis
from minitransformer.doctor.examining import examine, require_ids
from minitransformer.doctor.patient import Adapter, UnfitError, kind_of, loss_and_logits, read_output
from minitransformer.doctor.raised import in_one_line, place_of, with_place
from minitransformer.errors import InputError
from minitransformer.laws.checking import imported

A_MODEL = "an nn.Module, or a function without arguments that gives one"
A_BATCH = "a dict of tensors with input_ids and labels, or a function without arguments that gives one"


def examine_file(
    path: str | Path,
    *,
    model: str = "model",
    batch: str = "batch",
    adapter: str | None = None,
    vocab_size: int | None = None,
    causal: bool = False,
    seed: int = 0,
    steps: int = 60,
) -> Diagnosis:
    """Examine the model of a Python file on the batch that stands there too.

    `model`, `batch` and `adapter` are names in the file. An adapter is needed only where the results of the model have
    no names; it is taken from `adapter` if the file has that. `vocab_size` and `causal` are read from the file unless
    they are given. What the file prints goes to the standard error.

    Raises: InputError for a file that cannot be imported, lacks a name, or has something else under it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a Python file, or the folder of a kept model")
    with (
        beside(path),
        redirect_stdout(sys.stderr),
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
    ):
        torch.manual_seed(seed)
        module = module_of(path)
        examined, asked = model_of(module, model), batch_of(module, batch)
        how = adapter_of(module, adapter)
        n_classes = vocab_size_of(module) if vocab_size is None else vocab_size
        sees_no_later = causal or causal_of(module)
        require_fit(examined, asked, how)
        return examine(examined, asked, n_classes, sees_no_later, seed, adapter=how, steps=steps)


@contextmanager
def beside(path: Path) -> Iterator[None]:
    """Let a file import its neighbours, and forget them afterwards: after a change they are read anew."""
    folder, before = path.resolve().parent, set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if Path(getattr(sys.modules[name], "__file__", None) or "").parent == folder:
                del sys.modules[name]


def module_of(path: Path) -> ModuleType:
    """The file as a module.

    Raises: InputError that says in which line the import fails.
    """
    try:
        module: ModuleType = imported(path)
    except (Exception, SystemExit) as error:
        place = place_of(error)
        told = (f"{place}: " if place else "") + in_one_line(error)
        raise InputError(f"{path} cannot be imported ({told})") from error
    return module


def model_of(module: ModuleType, name: str) -> nn.Module:
    """The model of a file.

    Raises: InputError if it is missing, or no nn.Module.
    """
    model = value_of(module, name, "model", A_MODEL)
    if not isinstance(model, nn.Module):
        model = result_of(module, name, model)
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} of {module.__file__} is {kind_of(model)}, and must be {A_MODEL}")
    return model


def batch_of(module: ModuleType, name: str) -> Batch:
    """The batch of a file.

    Raises: InputError if it is missing, or no dict of tensors.
    """
    batch = value_of(module, name, "batch", A_BATCH)
    if not isinstance(batch, Mapping):
        batch = result_of(module, name, batch)
    if not isinstance(batch, Mapping):
        raise InputError(f"{name} of {module.__file__} is {kind_of(batch)}, and must be {A_BATCH}")
    for entry, value in batch.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{name}[{entry!r}] of {module.__file__} is {kind_of(value)}, and must be a tensor")
    require_ids(dict(batch))
    return dict(batch)


def adapter_of(module: ModuleType, name: str | None) -> Adapter:
    """The adapter of a file, or the one for models that name their results.

    Raises: InputError if the one that was named is missing, or no function.
    """
    if name is None and not hasattr(module, "adapter"):
        return read_output
    adapter = value_of(module, name or "adapter", "adapter", "a function of (model, batch)")
    if not callable(adapter):
        raise InputError(
            f"{name or 'adapter'} of {module.__file__} is {kind_of(adapter)}, and must be a function of (model, batch) "
            "that returns (loss, logits)"
        )
    return adapter  # type: ignore[no-any-return]


def vocab_size_of(module: ModuleType) -> int | None:
    """The number of classes that a file names."""
    size = getattr(module, "vocab_size", None)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
        raise InputError(f"vocab_size of {module.__file__} is {kind_of(size)}, and must be a whole number")
    return size


def causal_of(module: ModuleType) -> bool:
    """Whether a file says that its model is causal."""
    causal = getattr(module, "causal", False)
    if not isinstance(causal, bool):
        raise InputError(f"causal of {module.__file__} is {kind_of(causal)}, and must be True or False")
    return causal


def value_of(module: ModuleType, name: str, option: str, wanted: str) -> Any:
    """What stands in a file under a name.

    Raises: InputError that says what was looked for, and what was found.
    """
    if not hasattr(module, name):
        found = ", ".join(names_in(module)) or "nothing"
        raise InputError(f"{module.__file__} has no {name!r}: looked for {wanted}, found: {found}; say --{option} NAME")
    return getattr(module, name)


def names_in(module: ModuleType) -> list[str]:
    """The public names that a file gives to things of its own."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
        if not isinstance(value, type | FunctionType) or value.__module__ == module.__name__
    ]


def result_of(module: ModuleType, name: str, function: Any) -> Any:
    """What a function of a file gives; anything else as it is.

    Raises: InputError if it raises.
    """
    if not callable(function):
        return function
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise InputError(f"{name}() of {module.__file__} raised {with_place(error)}") from error


def require_fit(model: nn.Module, batch: Batch, adapter: Adapter) -> None:
    """Refuse a model and a batch that need an adapter; whatever else goes wrong is for the checks to tell.

    Raises: UnfitError, which is an InputError.
    """
    try:
        with torch.no_grad():
            loss_and_logits(adapter(deepcopy(model).eval(), batch))
    except UnfitError:
        raise
    except (Exception, SystemExit):
        return
