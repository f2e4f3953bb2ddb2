"""What a trainer is given: what stands in for what is not, and what does not go together."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from minitransformer.batches import DataCollatorWithPadding, default_data_collator
from minitransformer.errors import InputError
from minitransformer.trainer.reading import Batch


def new_model(model: nn.Module | None, model_init: Callable[..., nn.Module] | None) -> nn.Module:
    """The model that was given, or that the function makes; one that asks for a trial is told that there is none.

    Raises: InputError if there is neither, or both.
    """
    if (model is None) == (model_init is None):
        raise InputError("give either a model or a model_init that makes one, and not both")
    if model is not None or model_init is None:
        return model  # type: ignore[return-value] # one of them is there
    return model_init(None) if inspect.signature(model_init).parameters else model_init()


def require_optimizer_of_model(
    optimizers: tuple[torch.optim.Optimizer | None, Any], model: nn.Module, model_init: Callable[..., nn.Module] | None
) -> None:
    """Refuse an optimizer that would move another model's parameters, and a schedule of nobody's.

    Raises: InputError that says what to give instead.
    """
    optimizer, schedule = optimizers
    if optimizer is None and schedule is None:
        return
    if optimizer is None:
        raise InputError("optimizers=(None, schedule) has a schedule of another optimizer; give that one too")
    if model_init is not None:
        raise InputError("optimizers are of one model, but model_init makes a new one for each run; give the model")
    ours = {id(parameter) for parameter in model.parameters()}
    theirs = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    if ours.isdisjoint(theirs):
        raise InputError("optimizers moves no parameter of the model; make it of model.parameters()")


def default_collator(processing_class: Any) -> Callable[..., Batch]:
    """With a tokenizer examples are padded, and without one they have to be equally long."""
    return default_data_collator if processing_class is None else DataCollatorWithPadding(processing_class)
