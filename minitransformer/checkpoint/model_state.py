"""A model's tensors, under the names that they have in its file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.pretrained import PretrainedModel, write_tensors


def tensors_in_file(model: nn.Module) -> dict[str, Tensor]:
    """All that a model's file holds: a pretrained model's under its family's names, any other's under its own."""
    return model.tensors_on_disk() if isinstance(model, PretrainedModel) else unique_tensors(model)


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by name, a tied one only under its first name.

    Raises: InputError for a part of its state that is no tensor.
    """
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"{name} of {type(model).__name__} is of the type {type(tensor).__name__}; only tensors can be kept"
            )
        if id(tensor) not in seen:
            unique[name] = tensor.detach()
        seen.add(id(tensor))
    return unique


def require_same_tensors(found: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse the tensors of another model.

    Raises: InputError naming the tensor that is in only one of the two, or has another shape or type.
    """
    expected = tensors_in_file(model)
    if differing := found.keys() ^ expected.keys():
        raise InputError(f"{sorted(differing)[0]!r} is in only one of the two")
    for name, here in expected.items():
        there = found[name]
        if there.shape != here.shape:
            raise InputError(f"{name!r} has shape {tuple(there.shape)} there, and {tuple(here.shape)} here")
        if there.dtype != here.dtype:
            raise InputError(f"{name!r} has type {there.dtype} there, and {here.dtype} here")


def put_back_tensors(found: Mapping[str, Tensor], model: nn.Module) -> None:
    """Give a model the tensors of its file, exactly."""
    tensors = dict(found)
    if isinstance(model, PretrainedModel):
        own_names = unique_tensors(model)
        tensors = {name: found[model.name_on_disk(name)] for name in own_names}
    model.load_state_dict(tensors, strict=False)


def keep_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file, each with memory of its own.

    Raises: InputError for a kind of tensor that such a file cannot hold.
    """
    try:
        write_tensors(path, with_memory_of_their_own(tensors))
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name} cannot hold a tensor ({reason}); keep it dense and real") from error


def with_memory_of_their_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with copies of those that are views of what another one is a view of."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.detach().contiguous()
        if memory in seen and own[name].untyped_storage().data_ptr() == memory:
            own[name] = own[name].clone()
        seen.add(memory)
    return own


def parse_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read the tensors that are the content of a safetensors file.

    Raises: InputError naming the file if it holds none.
    """
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); write it again") from error
