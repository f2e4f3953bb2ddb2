"""Models kept in Hugging Face's folder layout: `config.json` and `model.safetensors`, and one name map per family."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minitransformer import files, hub
from minitransformer.blocks import Stack
from minitransformer.errors import InputError

CONFIG_FILE = hub.CONFIG_FILE
WEIGHTS_FILE = hub.WEIGHTS_FILE

RECOMPUTATION = {"use_reentrant": False, "preserve_rng_state": True}
"""The settings of `torch.utils.checkpoint` under which the way back sees what the way there saw."""

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound="PretrainedConfig")
Model = TypeVar("Model", bound="PretrainedModel")

BERT_NAMES = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "encoder.blocks.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
    "encoder.blocks.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
    "encoder.blocks.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
    "encoder.blocks.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
    "encoder.blocks.{i}.attention_residual.norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "encoder.blocks.{i}.feed_forward.inner": "encoder.layer.{i}.intermediate.dense",
    "encoder.blocks.{i}.feed_forward.outer": "encoder.layer.{i}.output.dense",
    "encoder.blocks.{i}.feed_forward_residual.norm": "encoder.layer.{i}.output.LayerNorm",
    "pooler.dense": "pooler.dense",
    "masked_word.dense": "cls.predictions.transform.dense",
    "masked_word.norm": "cls.predictions.transform.LayerNorm",
    "masked_word.decoder": "cls.predictions.decoder",
    "masked_word.decoder.bias": "cls.predictions.bias",
    "next_sentence.dense": "cls.seq_relationship",
    "classifier.dense": "classifier",
    "answer_span.dense": "qa_outputs",
}
"""Our modules, or single parameters, and BERT's of the same meaning; `{i}` is the number of the block."""

BERT_SYNONYMS = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
"""A second name of a tensor, and its first; where a file's two differ, the second is the one computed with."""


@dataclass
class PretrainedConfig(ABC):
    """What a folder's `config.json` tells: enough to build the model again."""

    model_type: ClassVar[str]

    output_attentions: bool = field(default=False, kw_only=True)
    output_hidden_states: bool = field(default=False, kw_only=True)

    @classmethod
    @abstractmethod
    def from_dict(cls: type[Config], content: Mapping[str, Any]) -> Config:
        """Read the entries that the family knows."""

    def to_dict(self) -> dict[str, Any]:
        """The entries of `config.json`."""
        return {"model_type": self.model_type, **asdict(self)}

    @classmethod
    def from_pretrained(
        cls: type[Config],
        folder: str | Path,
        *,
        cache_dir: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Config:
        """Read `config.json` from a folder, or by a name of the hub; `overrides` replace single entries.

        Raises: InputError if the folder or the file is missing, or describes another family, and for an override of
        an entry that does not exist.
        """
        folder = hub.folder_of(folder, hub.holds_config, cache_dir, revision, local_files_only)
        content = files.read_json(folder / CONFIG_FILE)
        known = [entry.name for entry in fields(cls)]
        overrides = with_numbered_labels(overrides)
        for name, value in overrides.items():
            if name not in known:
                raise InputError(f"{name}={value!r} is no entry of {cls.__name__}; it has {', '.join(known)}")
        found = content.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise InputError(
                f"{folder / CONFIG_FILE} says model_type={found!r}, but {cls.__name__} reads {cls.model_type!r}"
            )
        return cls.from_dict({**content, **overrides})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` into a folder."""
        files.write_json(Path(folder) / CONFIG_FILE, self.to_dict())


def with_numbered_labels(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides in which labels are named by number alone; their names say how many there are.

    Raises: InputError if `label2id` is not the reverse of `id2label`.

    >>> with_numbered_labels({"label2id": {"ham": 0, "spam": 1}})
    {'id2label': {0: 'ham', 1: 'spam'}, 'num_labels': 2}
    """
    found = dict(overrides)
    numbers = found.pop("label2id", None)
    if numbers is not None:
        names = {int(number): name for name, number in numbers.items()}
        given = found.setdefault("id2label", names)
        if {int(number): name for number, name in dict(given).items()} != names:
            raise InputError(
                f"label2id={numbers!r} must be the reverse of id2label={given!r}; id2label alone is enough"
            )
    if found.get("id2label") is not None:
        found.setdefault("num_labels", len(found["id2label"]))
    return found


class PretrainedModel(nn.Module):
    """A model that can be kept in a folder and taken from one, by us or by `transformers`."""

    config_class: ClassVar[type[PretrainedConfig]]
    base_prefix: ClassVar[str]
    names: ClassVar[Mapping[str, str]]
    synonyms: ClassVar[Mapping[str, str]] = {}
    new_if_missing: ClassVar[tuple[str, ...]]
    """The beginnings of the names of parts that a task adds: they start anew where a file does not have them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def __call__(self, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        """Run the model; `return_dict=False` gives a plain tuple of what is there."""
        output = super().__call__(*args, **kwargs)
        return output if return_dict else output.to_tuple()

    @property
    def base_model(self) -> nn.Module:
        """The model without the heads of a task; of one without such heads, itself."""
        return getattr(self, self.base_prefix, self)

    def get_input_embeddings(self) -> nn.Module:
        """The table of word vectors that the model reads with."""
        return self.base_model.embeddings.word  # type: ignore[union-attr, return-value]

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Train with less memory: each block is computed once more on the way back, and keeps only its input till then.

        Loss and gradients stay the same, bit for bit, dropout included.

        Raises: InputError for a setting of `torch.utils.checkpoint` other than these.
        """
        for name, value in (gradient_checkpointing_kwargs or {}).items():
            if name not in RECOMPUTATION or value != RECOMPUTATION[name]:
                raise InputError(
                    f"gradient_checkpointing_kwargs asks for {name}={value!r}, but blocks are computed once more with "
                    f"{RECOMPUTATION}; leave it out"
                )
        self.recompute(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep on the way what the way back needs, as is usual."""
        self.recompute(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether blocks are computed once more on the way back."""
        return any(stack.recomputes for stack in self.modules() if isinstance(stack, Stack))

    def recompute(self, whether: bool) -> None:
        """Tell all stacks of blocks whether to compute once more on the way back."""
        for stack in self.modules():
            if isinstance(stack, Stack):
                stack.recomputes = whether

    def compile_blocks(self, whether: bool = True) -> None:
        """Compute blocks, while training, by what `torch.compile` makes of them: once for all blocks and all lengths.

        What depends on the words of a batch stays outside: packing rows, and finding the positions that are asked.
        """
        for stack in self.modules():
            if isinstance(stack, Stack):
                stack.compiles = whether

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def num_parameters(self) -> int:
        """How many numbers are learned; a tied table counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initialise(self, deviation: float) -> None:
        """Draw all matrices from N(0, deviation²), set biases to 0 and gains to 1.

        Source: Devlin et al. 2018, published code (`initializer_range`), which truncates the normal at two deviations;
        Hugging Face's and this one do not.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                with torch.no_grad():
                    module.weight[module.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls: type[Model],
        folder: str | Path,
        *,
        config: PretrainedConfig | None = None,
        cache_dir: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        ignore_mismatched_sizes: bool = False,
        **config_overrides: Any,
    ) -> Model:
        """Build the model of a folder, or of a name of the hub, with the parameters kept there, ready to evaluate.

        The parts that a task adds, and that the file does not have, start anew, and a warning names them; with
        `ignore_mismatched_sizes` so do those that the file has in another size. A decoder in the file that differs
        from the word table stays apart from it. A `config` of yours takes the place of the folder's.

        Raises: InputError naming the folder, file or tensor if one is missing, has a wrong shape, or is damaged.
        """
        folder = hub.folder_of(folder, hub.holds_model, cache_dir, revision, local_files_only)
        if config is None:
            config = cls.config_class.from_pretrained(folder, **config_overrides)
        elif config_overrides:
            raise InputError(f"give either config or single entries such as {next(iter(config_overrides))}, not both")
        model = cls(config)
        weights_file = require_weights(folder)
        model.take_parameters(read_tensors(weights_file), weights_file, ignore_mismatched_sizes)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder, whole or not at all.

        Raises: InputError if the folder cannot be written to.
        """
        folder = Path(folder)
        dtype = str(next(self.parameters()).dtype).removeprefix("torch.")
        config = {**self.config.to_dict(), "architectures": [type(self).__name__], "dtype": dtype}
        with files.replacing(folder / WEIGHTS_FILE) as unfinished:
            write_tensors(unfinished, self.tensors_on_disk())
            files.write_json(folder / CONFIG_FILE, config)

    def tensors_on_disk(self) -> dict[str, Tensor]:
        """The parameters under their names in a file; a tied one is written once, an untied one under all its names."""
        tied = self.tied_names()
        tensors = {
            self.name_on_disk(name): tensor.detach().contiguous()
            for name, tensor in self.state_dict().items()
            if name not in tied
        }
        if not tied:
            tensors |= {second: tensors[first].clone() for second, first in self.synonyms.items() if first in tensors}
        return tensors

    def tied_names(self) -> Mapping[str, str]:
        """Each parameter that is another one under a second name, and that other one."""
        first_names: dict[int, str] = {}
        tied = {}
        for name, parameter in self.named_parameters(remove_duplicate=False):
            first = first_names.setdefault(id(parameter), name)
            if first != name:
                tied[name] = first
        return tied

    def untie(self, name: str) -> None:
        """Give a tied parameter values of its own, because the file has two different tables."""
        module_name, leaf = name.rsplit(".", 1)
        module = self.get_submodule(module_name)
        setattr(module, leaf, nn.Parameter(getattr(module, leaf).detach().clone()))
        self.config.tie_word_embeddings = False

    def name_on_disk(self, name: str) -> str:
        """The name by which a file knows one of our parameters; a part that the family does not have keeps its own."""
        if name in self.names:
            return self.names[name]
        prefix = f"{self.base_prefix}." if name.startswith(f"{self.base_prefix}.") else ""
        module, _, leaf = name.removeprefix(prefix).rpartition(".")
        number = next((part for part in module.split(".") if part.isdigit()), "")
        template = module.replace(f".{number}.", ".{i}.") if number else module
        if template not in self.names:
            return name
        return f"{prefix}{self.names[template].replace('{i}', number)}.{'weight' if leaf == 'gain' else leaf}"

    def take_parameters(
        self, tensors: Mapping[str, Tensor], source: Path, ignore_mismatched_sizes: bool = False
    ) -> None:
        """Copy a file's tensors into the model.

        Raises: InputError for an encoder tensor that is missing, a wrong shape, and a block the model has no place for.
        """
        found = self.by_first_name(tensors)
        wanted = {name: self.without_prefix(self.name_on_disk(name)) for name in self.state_dict()}
        if ignore_mismatched_sizes:
            self.leave_out_misfits(found, wanted)
        self.refuse_blocks_without_place(set(found) - set(wanted.values()), source)
        for name, first in self.tied_names().items():
            both = [found[wanted[one]] for one in (name, first) if wanted[one] in found]
            if len(both) == 2 and not torch.equal(*both):
                self.untie(name)
        new = []
        tied = self.tied_names()
        for name, tensor in ((name, tensor) for name, tensor in self.state_dict().items() if name not in tied):
            if wanted[name] in found:
                copy_tensor(found[wanted[name]], tensor, wanted[name], source)
            elif wanted[name].startswith(self.new_if_missing):
                new.append(self.name_on_disk(name))
            else:
                raise InputError(
                    f"{source} has no tensor {self.name_on_disk(name)!r}; is it whole, and of this family?"
                )
        if new:
            logger.warning(
                "%s does not hold %s: train these parts first, for they start from random numbers",
                source,
                ", ".join(sorted(new)),
            )

    def leave_out_misfits(self, found: dict[str, Tensor], wanted: Mapping[str, str]) -> None:
        """Take out of a file's tensors those of a task's part that have another size than is asked for."""
        for name, tensor in self.state_dict().items():
            misfit = found.get(wanted[name])
            if misfit is not None and misfit.shape != tensor.shape and wanted[name].startswith(self.new_if_missing):
                logger.warning(
                    "%s is of shape %s where %s is asked for, and left out",
                    self.name_on_disk(name),
                    tuple(misfit.shape),
                    tuple(tensor.shape),
                )
                del found[wanted[name]]

    def by_first_name(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors in today's spelling, without prefix, each under the first of its names."""
        found = {self.without_prefix(modern_name(name)): tensor for name, tensor in tensors.items()}
        for second, first in self.synonyms.items():
            if second in found:
                found[first] = found.pop(second)
        return found

    def without_prefix(self, name: str) -> str:
        """The name without the family's prefix, which files of the bare encoder lack."""
        return name.removeprefix(f"{self.base_prefix}.")

    def refuse_blocks_without_place(self, surplus: set[str], source: Path) -> None:
        """Refuse a file with more blocks than the configuration: the model would not be the file's."""
        roots = {theirs.split(".{i}.")[0] + "." for theirs in self.names.values() if "{i}" in theirs}
        for name in sorted(surplus):
            if name.startswith(tuple(roots)):
                raise InputError(
                    f"{source} holds {name!r}, for which {CONFIG_FILE} has no place; does num_hidden_layers fit?"
                )


def modern_name(name: str) -> str:
    """A tensor's name in today's spelling: files born in TensorFlow say gamma and beta.

    >>> modern_name("bert.embeddings.LayerNorm.gamma")
    'bert.embeddings.LayerNorm.weight'
    """
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def copy_tensor(found: Tensor, parameter: Tensor, name: str, source: Path) -> None:
    """Copy one tensor into its parameter.

    Raises: InputError naming both shapes where they differ.
    """
    if found.shape != parameter.shape:
        raise InputError(
            f"{source} holds {name!r} of shape {tuple(found.shape)}, but {CONFIG_FILE} asks for "
            f"{tuple(parameter.shape)}; use the config.json that was saved with it"
        )
    with torch.no_grad():
        parameter.copy_(found)


def require_folder(folder: str | Path) -> Path:
    """Refuse a model folder that is not there.

    Raises: InputError saying what a model folder holds.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"there is no folder {path}; give a local folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    return path


def require_weights(folder: Path) -> Path:
    """Find the parameters in a folder.

    Raises: InputError if they are not there, or only as a pickle.
    """
    path = folder / WEIGHTS_FILE
    if path.is_file():
        return path
    if (folder / "pytorch_model.bin").exists():
        raise InputError(
            f"{folder} holds pytorch_model.bin, a pickle, which can run code when opened; "
            f"save it again with transformers' save_pretrained to get {WEIGHTS_FILE}"
        )
    raise InputError(f"{folder} holds no {WEIGHTS_FILE}; is this the folder that save_pretrained wrote?")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises: InputError if the file is truncated or damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}); copy or save it again") from error


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file, with the permissions that a new file has here; the library's are its owner's alone.

    Raises: OSError like any other writing, where the library has an error of its own.
    """
    path.touch()
    permissions = path.stat().st_mode
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(permissions)
