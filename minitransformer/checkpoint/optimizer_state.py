"""What any optimizer remembers, by the names of the parameters that it remembers it of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.checkpoint.values import TensorNames, from_json, to_json
from minitransformer.errors import InputError

Group = dict[str, Any]
OptimizerContent = dict[str, Any]


def kind_of(thing: object) -> str:
    """The name by which a checkpoint knows a class: that of its package, and its own.

    >>> kind_of(torch.optim.SGD([torch.zeros(1)]))
    'torch.SGD'
    """
    return f"{type(thing).__module__.partition('.')[0]}.{type(thing).__qualname__}"


def keep_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[OptimizerContent, TensorNames]:
    """The optimizer's settings and numbers for a JSON file, and its tensors by parameter and kind.

    Raises: InputError for a parameter that is not the model's, and for a value that cannot be kept.
    """
    names = names_of(model)
    tensors: TensorNames = {}
    groups = [
        keep_group(group, names, f"param_groups.{number}", tensors)
        for number, group in enumerate(optimizer.param_groups)
    ]
    state = {
        name_of(parameter, names): {
            kind: to_json(value, f"{name_of(parameter, names)}.{kind}", tensors) for kind, value in values.items()
        }
        for parameter, values in optimizer.state.items()
    }
    return {"optimizer": kind_of(optimizer), "param_groups": groups, "state": state}, tensors


def keep_group(group: Group, names: dict[Tensor, str], place: str, tensors: TensorNames) -> Group:
    """A group's settings, with its parameters by name."""
    settings = {kind: to_json(value, f"{place}.{kind}", tensors) for kind, value in group.items() if kind != "params"}
    return {"params": [name_of(parameter, names) for parameter in group["params"]], **settings}


def names_of(model: nn.Module) -> dict[Tensor, str]:
    """The name of each parameter of a model; a tied one has only its first."""
    return {parameter: name for name, parameter in model.named_parameters()}


def name_of(parameter: Any, names: dict[Tensor, str]) -> str:
    """The model's name of something that an optimizer remembers things of.

    Raises: InputError if it is no parameter of the model.
    """
    if not isinstance(parameter, Tensor) or parameter not in names:
        shape = f" of shape {tuple(parameter.shape)}" if isinstance(parameter, Tensor) else f" {parameter!r}"
        raise InputError(
            f"the optimizer remembers things of a key{shape} that is no parameter of the model; "
            "give it parameters of the model that is kept with it"
        )
    return names[parameter]


def require_same_groups(content: OptimizerContent, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Refuse the state of another optimizer, or of one that has other parameters in its groups.

    Raises: InputError naming both kinds, or the parameter that is in only one of the two.
    """
    if content["optimizer"] != kind_of(optimizer):
        raise InputError(
            f"it holds the state of {content['optimizer']}, and the optimizer here is {kind_of(optimizer)}"
        )
    names = names_of(model)
    there = [group["params"] for group in content["param_groups"]]
    here = [[name_of(parameter, names) for parameter in group["params"]] for group in optimizer.param_groups]
    if len(there) != len(here):
        raise InputError(f"the optimizer has {len(there)} groups of parameters there, and {len(here)} here")
    for number, (kept, present) in enumerate(zip(there, here, strict=True)):
        if differing := set(kept) ^ set(present):
            raise InputError(
                f"{sorted(differing)[0]!r} is in group {number} of the optimizer's parameters in only one of the two"
            )


def read_groups(content: OptimizerContent, tensors: TensorNames) -> list[Group]:
    """The settings of each group of parameters, as they were."""
    return [
        {kind: from_json(value, tensors.__getitem__) for kind, value in group.items() if kind != "params"}
        for group in content["param_groups"]
    ]


def read_state(content: OptimizerContent, tensors: TensorNames, model: nn.Module) -> dict[Tensor, dict[str, Any]]:
    """What was remembered of each parameter, on the parameter's device, with the types that it had.

    As in PyTorch, a tensor that counts steps stays with the processor, unless the steps are counted on the device.
    """
    counted_on_device = {
        name
        for group in content["param_groups"]
        if group.get("capturable") or group.get("fused")
        for name in group["params"]
    }
    parameters = dict(model.named_parameters())
    return {
        parameters[name]: {
            kind: from_json(
                value,
                tensors.__getitem__
                if kind == "step" and name not in counted_on_device
                else beside(parameters[name], tensors),
            )
            for kind, value in values.items()
        }
        for name, values in content["state"].items()
    }


def beside(parameter: Tensor, tensors: TensorNames) -> Callable[[str], Tensor]:
    """Take tensors by name to where a parameter is, and lay those of its shape out in memory as it is."""

    def take(name: str) -> Tensor:
        tensor = tensors[name]
        if tensor.shape != parameter.shape:
            return tensor.to(parameter.device)
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)

    return take
