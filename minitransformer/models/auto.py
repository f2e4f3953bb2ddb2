"""The right class for a folder: its `config.json` names the family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from minitransformer import files, hub
from minitransformer.errors import InputError
from minitransformer.models.bert import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from minitransformer.models.bert_config import BertConfig
from minitransformer.pretrained import PretrainedConfig, PretrainedModel

CONFIGS: dict[str, type[PretrainedConfig]] = {"bert": BertConfig}
"""The families that there are, by `model_type`."""

Classes = Mapping[str, type[PretrainedModel]]


class AutoConfig:
    """The configuration of any family, from its folder."""

    def __init__(self) -> None:
        raise made_by_itself(type(self))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        cache_dir: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> PretrainedConfig:
        """Read the `config.json` of a folder or a hub name; `overrides` replace single entries.

        Raises: InputError if there is none, or if it is of a family that is not here.
        """
        folder = hub.folder_of(folder, hub.holds_config, cache_dir, revision, local_files_only)
        return CONFIGS[family_of(folder)].from_pretrained(folder, **overrides)


class AutoModel:
    """The bare model of any family."""

    classes: ClassVar[Classes] = {"bert": BertModel}

    def __init__(self) -> None:
        raise made_by_itself(type(self))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        cache_dir: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> PretrainedModel:
        """Build the model of a folder or a hub name; `options` are those of its class, and entries of its config.

        Raises: InputError if there is none, or if it is of a family that is not here.
        """
        folder = hub.folder_of(folder, hub.holds_model, cache_dir, revision, local_files_only)
        return cls.classes[family_of(folder)].from_pretrained(folder, **options)

    @classmethod
    def from_config(cls, config: PretrainedConfig) -> PretrainedModel:
        """Build a model with parameters that start from random numbers."""
        return cls.classes[config.model_type](config)


class AutoModelForPreTraining(AutoModel):
    """The model with the heads that its family is pretrained with."""

    classes: ClassVar[Classes] = {"bert": BertForPreTraining}


class AutoModelForMaskedLM(AutoModel):
    """The model that fills in masked words."""

    classes: ClassVar[Classes] = {"bert": BertForMaskedLM}


class AutoModelForNextSentencePrediction(AutoModel):
    """The model that tells whether one text follows another."""

    classes: ClassVar[Classes] = {"bert": BertForNextSentencePrediction}


class AutoModelForSequenceClassification(AutoModel):
    """The model that gives a text a class, several, or a number."""

    classes: ClassVar[Classes] = {"bert": BertForSequenceClassification}


class AutoModelForTokenClassification(AutoModel):
    """The model that gives each token a class."""

    classes: ClassVar[Classes] = {"bert": BertForTokenClassification}


class AutoModelForQuestionAnswering(AutoModel):
    """The model that points at the answer in a text."""

    classes: ClassVar[Classes] = {"bert": BertForQuestionAnswering}


class AutoModelForMultipleChoice(AutoModel):
    """The model that chooses among continuations."""

    classes: ClassVar[Classes] = {"bert": BertForMultipleChoice}


def family_of(folder: Path) -> str:
    """The family that a folder's `config.json` names.

    Raises: InputError if it names none, or one that is not here.
    """
    file = folder / hub.CONFIG_FILE
    family = files.read_json(file).get("model_type")
    if not isinstance(family, str) or family not in CONFIGS:
        found = f"says model_type={family!r}" if family else "says no model_type"
        raise InputError(
            f"{file} {found}, but the families here are {', '.join(CONFIGS)}; give a model of one of them, "
            "or open it with the class of its own family"
        )
    return family


def made_by_itself(auto: type) -> InputError:
    """Say how a class that only chooses another one is used."""
    return InputError(f"{auto.__name__} chooses a class by a folder; call {auto.__name__}.from_pretrained(folder)")
