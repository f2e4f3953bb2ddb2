"""Small runs in which much is left to chance, to stop at any moment, resume, and compare with undisturbed ones.

A scenario is a way to train: what is drawn, in which order, with which helpers. `build` makes a new trainer of it,
which knows nothing but the folder.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs, PaddingCollator, TextClassification
from minitransformer.corpora import SyntheticLanguage
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import EarlyStoppingCallback, Trainer, TrainerCallback
from minitransformer.training_arguments import TrainingArguments

LANGUAGE = SyntheticLanguage(topics=3, words=2)
MAX_LENGTH = 30
N_STEPS = 12


@dataclass(frozen=True)
class Material:
    """A tokenised text, and sentences with their topics."""

    tokenizer: Tokenizer
    shards: Shards

    @classmethod
    def prepare(cls, folder: Path) -> "Material":
        """Four short documents of the synthetic language."""
        documents = list(LANGUAGE.documents(4, seed=1, sentences=10))
        tokenizer = Tokenizer.train(documents, vocab_size=60)
        return cls(tokenizer, Shards.build(folder / "shards", documents, tokenizer))

    def pairs(self, seed: int) -> NextSentencePairs:
        """Pairs that are drawn anew at each pass."""
        return NextSentencePairs(self.shards, MAX_LENGTH, seed)

    def sentences(self, seed: int) -> TextClassification:
        """Sentences of one to three, so of unequal lengths, with the topic of the first."""
        texts = LANGUAGE.labelled(44, seed=seed)
        joined = [" ".join(texts.texts[n : n + 1 + n % 3]) for n in range(22)]
        return TextClassification(joined, texts.labels[:22], self.tokenizer, MAX_LENGTH)


class Noisy:
    """Examples some of whose tokens are lost whenever they are read."""

    def __init__(self, examples: Any) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        example = dict(self.examples[index])
        lost = torch.rand(example["input_ids"].shape) < 0.2
        return {**example, "input_ids": example["input_ids"].masked_fill(lost, 1)}


class Stream(IterableDataset[dict[str, Tensor]]):
    """Examples that come one after the other, and have no numbers."""

    def __init__(self, examples: Any) -> None:
        self.examples = examples

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.examples[index] for index in range(len(self.examples)))


def small_bert(material: Material, kind: type[Any], seed: int) -> Any:
    """A BERT of two blocks with dropout."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=material.tokenizer.vocab_size,
        hidden_size=10,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=14,
        max_position_embeddings=MAX_LENGTH,
        num_labels=LANGUAGE.topics,
    )
    return kind(config)


@dataclass(frozen=True)
class Scenario:
    """A way to train, and what in it could get lost between a stop and a resume."""

    arguments: dict[str, Any] = field(default_factory=dict)
    classifies: bool = False
    wrap: Callable[[Any], Any] = lambda dataset: dataset
    callbacks: Callable[[], list[TrainerCallback]] = list
    own_optimizer: bool = False

    def build(self, material: Material, folder: Path, seed: int = 0, **changes: Any) -> Trainer:
        """A new trainer; another seed gives it another start, which a resume has to overwrite."""
        settings: dict[str, Any] = {"max_steps": N_STEPS, "learning_rate": 1e-2, "warmup_steps": 3, "weight_decay": 0.1}
        settings |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 3, "logging_steps": 4, "seed": 5}
        settings |= {"save_strategy": "no", "disable_tqdm": True}
        arguments = TrainingArguments(str(folder), **{**settings, **self.arguments, **changes})
        kind = BertForSequenceClassification if self.classifies else BertForPreTraining
        model = small_bert(material, kind, seed)
        data = material.sentences if self.classifies else material.pairs
        collator = PaddingCollator if self.classifies else MaskedLanguageCollator
        return Trainer(
            model,
            arguments,
            train_dataset=self.wrap(data(3)),
            eval_dataset=data(4),
            data_collator=collator(material.tokenizer),
            callbacks=self.callbacks(),
            optimizers=torch_optimizer(model) if self.own_optimizer else (None, None),
        )


def torch_optimizer(model: torch.nn.Module) -> tuple[torch.optim.Optimizer, Any]:
    """Somebody else's optimizer, with a schedule that remembers where it is."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5)


JUDGED = {"eval_strategy": "steps", "eval_steps": 2}
# The loss falls, so that the worst is the first: the best, so judged, is not the last.
KEEPS_BEST = {
    **JUDGED,
    "greater_is_better": True,
    "save_strategy": "steps",
    "save_steps": 2,
    "load_best_model_at_end": True,
}

BY_TOKENS = {"max_tokens": 80, "per_device_train_batch_size": 80, "per_device_eval_batch_size": 80}

SCENARIOS = {
    "masks drawn anew, dropout, shuffled": Scenario(),
    "accumulation": Scenario({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}),
    "two reading processes": Scenario({"dataloader_num_workers": 2}),
    "accumulation, two reading processes": Scenario(
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "dataloader_num_workers": 2}
    ),
    "grouped by length": Scenario({"group_by_length": True}, classifies=True),
    "grouped by length, two reading processes": Scenario(
        {"group_by_length": True, "dataloader_num_workers": 2}, classifies=True
    ),
    "a budget of tokens, other lengths in each pass": Scenario({**BY_TOKENS, "gradient_accumulation_steps": 2}),
    "data that draws when it is read": Scenario(wrap=Noisy, classifies=True),
    "a stream without numbers": Scenario(wrap=Stream, classifies=True),
    "a stream, read in another process": Scenario({"dataloader_num_workers": 1}, wrap=Stream, classifies=True),
    "bfloat16": Scenario({"bf16": True}),
    "evaluations on the way": Scenario(JUDGED),
    "early stopping": Scenario(
        {**JUDGED, "metric_for_best_model": "loss"},
        callbacks=lambda: [EarlyStoppingCallback(early_stopping_patience=3, early_stopping_threshold=100.0)],
    ),
    "the best model at the end": Scenario(KEEPS_BEST),
    "the best kept, two checkpoints": Scenario({**KEEPS_BEST, "save_total_limit": 2}),
    "another optimizer and its own schedule": Scenario(own_optimizer=True),
}


def outcome(trainer: Trainer) -> dict[str, Any]:
    """All that a run ends with and that a resumed one has to end with too: bit for bit, but for how fast it went."""
    moments = {
        f"{name} {kind}": value
        for name, parameter in trainer.model.named_parameters()
        for kind, value in trainer.optimizer.state.get(parameter, {}).items()
    }
    state = trainer.state
    logs = [
        {name: value for name, value in entry.items() if name != "tokens_per_second"} for entry in state.log_history
    ]
    return {
        "model": {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()},
        "optimizer": moments,
        "log_history": logs,
        "global_step": state.global_step,
        "epoch": state.epoch,
        "num_input_tokens_seen": state.num_input_tokens_seen,
        "best": (state.best_metric, state.best_global_step),
        "callbacks": {type(one).__name__: one.state_dict() for one in trainer.stateful_callbacks()},
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What of two outcomes is not the same, bit for bit."""
    differing = [name for name in ("model", "optimizer") if not same_tensors(found[name], wanted[name])]
    return differing + [name for name in wanted if name not in ("model", "optimizer") and found[name] != wanted[name]]


def same_tensors(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether both hold the same numbers under the same names."""
    return found.keys() == wanted.keys() and all(
        torch.equal(torch.as_tensor(found[name]), torch.as_tensor(value)) for name, value in wanted.items()
    )


class PowerFailureError(Exception):
    """The machine went off."""


@dataclass
class FailAt(TrainerCallback):
    """Keep a checkpoint at a step, and go down as soon as it stands."""

    step: int

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Ask for the checkpoint."""
        control.should_save |= state.global_step == self.step

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The checkpoint stands."""
        if state.global_step == self.step:
            raise PowerFailureError


def resumed_after(scenario: Scenario, material: Material, folder: Path, step: int) -> Trainer:
    """A trainer after a run that failed at a step and was resumed by another, which had begun from another start."""
    first = scenario.build(material, folder)
    first.add_callback(FailAt(step))
    with suppress(PowerFailureError):
        first.train()
    torch.manual_seed(99)
    second = scenario.build(material, folder, seed=8)
    second.train(resume_from_checkpoint=True)
    return second
