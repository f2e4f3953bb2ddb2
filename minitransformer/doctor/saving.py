"""The rung of saving: what is kept comes back as it was."""

from copy import deepcopy
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from minitransformer.doctor.diagnosis import listed
from minitransformer.doctor.patient import Patient
from minitransformer.doctor.rung import rung
from minitransformer.pretrained import PretrainedModel


@rung(
    "saving",
    "parameters are tied by sharing .data or by a copy, where one nn.Parameter should have two names, or are tied in "
    "the constructor alone and loaded by replacing them.",
)
def saving(patient: Patient) -> tuple[bool, str]:
    """What is saved comes back as it was, and tied parameters stay tied."""
    model = patient.model
    loaded = saved_and_loaded(model)
    before, after = tensors_of(model), tensors_of(loaded)
    changed = [name for name, value in before.items() if name not in after or not torch.equal(value, after[name])]
    if changed:
        return False, f"{listed(changed)} did not come back"
    tied = groups_of_tied(model)
    untied = [group for group in tied if group not in groups_of_tied(loaded)]
    if untied:
        return False, f"{' and '.join(untied[0])} are tied before, and no longer after"
    told = f"{', '.join(' = '.join(group) for group in tied)} stay tied" if tied else look_alikes(patient)
    return True, f"all parameters come back; {told}"


def saved_and_loaded(model: nn.Module) -> nn.Module:
    """The model after a round trip: through a folder if it knows how, else through a copy of its state."""
    if isinstance(model, PretrainedModel):
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            return type(model).from_pretrained(folder)
    loaded = deepcopy(model)
    loaded.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    return loaded


def look_alikes(patient: Patient) -> str:
    """That nothing is tied, and whether a table of words and an output have the shape for it."""
    largest = int(patient.batch["input_ids"].max())
    named = dict(patient.model.named_modules())
    pairs = [
        f"{table}.weight and {output}.weight"
        for table, words in named.items()
        for output, decoder in named.items()
        if isinstance(words, nn.Embedding) and isinstance(decoder, nn.Linear)
        if words.weight.shape == decoder.weight.shape and len(words.weight) > largest
    ]
    return "no parameter is tied" + (f", though {pairs[0]} have one shape" if pairs else "")


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state, on the CPU."""
    return {name: value.cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def groups_of_tied(model: nn.Module) -> list[tuple[str, ...]]:
    """The names of parameters that lie at the same place in memory."""
    names_at: dict[tuple[int, torch.Size], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.numel():
            names_at.setdefault((parameter.data_ptr(), parameter.shape), []).append(name)
    return [tuple(names) for names in names_at.values() if len(names) > 1]
