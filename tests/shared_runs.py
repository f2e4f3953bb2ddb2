"""Runs that one process does alone and several do together: each function is called in every process of a run.

Numbers are in double precision, so that what differs by the order of a sum alone differs in the sixteenth digit.
"""

import io
import math
import os
import signal
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import process_memory
import tiny_runs
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from minitransformer import finetuning as finetuning_module
from minitransformer import pretraining as pretraining_module
from minitransformer.batches import Example, NextSentencePairs, PaddingCollator
from minitransformer.corpora import SyntheticLanguage
from minitransformer.errors import InputError
from minitransformer.losses import IGNORED
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig
from minitransformer.optimizer import held_here
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import (
    EarlyStoppingCallback,
    LostProcessError,
    Processes,
    Trainer,
    TrainerCallback,
    TrainingInterruptedError,
    is_told_here,
)
from minitransformer.training_arguments import TrainingArguments

Answers = dict[str, Any]


def n_processes() -> int:
    """How many do this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is."""
    return int(os.environ.get("RANK", "0"))


def arguments(folder: Path, examples_at_once: int = 8, batches: int = 1, **changes: Any) -> TrainingArguments:
    """Updates of so many examples in all, however many processes and batches share them."""
    settings = {"max_steps": 5, "learning_rate": 1e-2, "logging_steps": 1, "save_strategy": "no", "weight_decay": 0.1}
    settings |= {"per_device_train_batch_size": examples_at_once // n_processes() // batches, "max_grad_norm": 0.5}
    settings |= {"gradient_accumulation_steps": batches, "per_device_eval_batch_size": 2, "seed": 5}
    folder = changes.pop("output_dir", folder)
    return TrainingArguments(str(folder), disable_tqdm=True, use_cpu=True, **{**settings, **changes})


# A text with hidden words


class HidingCollator:
    """Hide words of each example by a seed of its own: some of them none."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pad = PaddingCollator(tokenizer)
        self.mask_id = tokenizer.mask_token_id

    def __call__(self, examples: Sequence[Example], seeds: Sequence[int]) -> dict[str, Tensor]:
        batch = self.pad(examples)
        batch["labels"] = torch.full_like(batch["input_ids"], IGNORED)
        for row, (example, seed) in enumerate(zip(examples, seeds, strict=True)):
            drawn = torch.rand(len(example["input_ids"]), generator=torch.Generator().manual_seed(seed))
            hidden = (drawn < 0.1).nonzero().flatten()
            batch["labels"][row, hidden] = batch["input_ids"][row, hidden]
            batch["input_ids"][row, hidden] = self.mask_id
        return batch


@cache
def text(kept_in: str) -> tuple[Tokenizer, Shards]:
    """Four short documents of the synthetic language, built by whoever comes first."""
    Path(kept_in).mkdir(parents=True, exist_ok=True)
    documents = list(SyntheticLanguage().documents(4, seed=1, sentences=10))
    tokenizer = Tokenizer.train(documents, vocab_size=60)
    return tokenizer, Shards.build(Path(mkdtemp(dir=kept_in)) / "shards", documents, tokenizer)


def bert(kind: type[Any] = BertForPreTraining, dropout: float = 0.0, **changes: Any) -> Any:
    """A BERT of two blocks, in double precision."""
    torch.manual_seed(0)
    entries = {"vocab_size": 60, "hidden_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2}
    entries |= {"intermediate_size": 14, "max_position_embeddings": 30, "num_labels": 3}
    entries |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return kind(BertConfig(**{**entries, **changes})).double()


def pretraining(folder: Path, dropout: float = 0.0, callbacks: Sequence[Any] = (), **changes: Any) -> Trainer:
    """Pretraining on everything that chance decides."""
    tokenizer, shards = text(str(folder))
    pairs = NextSentencePairs(shards, max_length=30, seed=3)
    return Trainer(
        bert(dropout=dropout),
        arguments(folder / "run", **changes),
        train_dataset=pairs,
        eval_dataset=NextSentencePairs(shards, max_length=30, seed=4),
        data_collator=HidingCollator(tokenizer),
        callbacks=callbacks,
    )


def whole_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The parameters of a model."""
    return {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}


def figures_of(trainer: Trainer) -> list[dict[str, float]]:
    """What a run logged, but for how fast it was."""
    return [
        {name: value for name, value in entry.items() if not name.endswith("per_second")}
        for entry in trainer.state.log_history
    ]


def outcome_of(trainer: Trainer) -> Answers:
    """What became of a run."""
    return {"logs": figures_of(trainer), "tensors": whole_tensors(trainer)}


def pretrain(folder: Path, **changes: Any) -> Answers:
    """A whole pretraining with an evaluation in the middle."""
    trainer = pretraining(folder, eval_strategy="steps", eval_steps=2, **changes)
    trainer.train()
    return outcome_of(trainer)


# Numbers with labels


class Numbers:
    """Examples that remember who was read, some of them without a label that counts."""

    def __init__(self, count: int, width: int = 3, n_labels: int = 2, ignored: Sequence[int] = ()) -> None:
        generator = torch.Generator().manual_seed(11)
        self.x = torch.randn(count, n_labels, width, generator=generator, dtype=torch.float64)
        self.labels = torch.randint(2, (count, n_labels), generator=generator)
        self.labels[list(ignored)] = IGNORED
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read.append(index)
        return {"x": self.x[index], "labels": self.labels[index]}


class Ragged(Numbers):
    """Examples of which each is longer than the one before."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        example = super().__getitem__(index)
        return {name: torch.cat([value] * (1 + index % 4)) for name, value in example.items()}


def side_by_side(examples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Examples to a batch, as wide as the widest."""
    batch = {}
    for name, filler in (("x", 0.0), ("labels", IGNORED)):
        column = [example[name] for example in examples]
        batch[name] = nn.utils.rnn.pad_sequence(column, batch_first=True, padding_value=filler)
    return batch


class Line(nn.Module):
    """A classifier that knows nothing of this library; a part of it may take no part in anything."""

    def __init__(self, has_idle_part: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.dense = nn.Linear(3, 2).double()
        self.idle = nn.Linear(2, 2).double() if has_idle_part else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        logits = self.dense(x)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED)
        return {"loss": loss, "logits": logits}


def line(folder: Path, dataset: Numbers, model: nn.Module | None = None, **changes: Any) -> Trainer:
    """A trainer of a line."""
    named = ("callbacks", "compute_metrics", "eval_dataset", "data_collator")
    options = {name: changes.pop(name) for name in named if name in changes}
    settings = {"examples_at_once": 4, "num_train_epochs": 2.0, "max_steps": -1}
    return Trainer(model or Line(), arguments(folder, **{**settings, **changes}), train_dataset=dataset, **options)


def learn_uneven_updates(folder: Path) -> Answers:
    """Seven examples in updates of four, then three; and of one update only one label of all counts."""
    trainer = line(folder, Numbers(7, ignored=[0, 2, 3, 5]))
    trainer.train()
    return outcome_of(trainer)


def learn_with_an_idle_part(folder: Path) -> Answers:
    """A model of which a part takes no part, with batches that are accumulated."""
    trainer = line(folder, Numbers(16), Line(has_idle_part=True), examples_at_once=8, batches=2)
    trainer.train()
    return outcome_of(trainer)


def classify(folder: Path) -> Answers:
    """A BERT with a task layer, on sequences of several lengths."""
    generator = torch.Generator().manual_seed(2)
    examples = [
        {
            "input_ids": torch.randint(5, 60, (4 + number % 5,), generator=generator),
            "labels": torch.tensor(number % 3),
        }
        for number in range(11)
    ]
    tokenizer, _ = text(str(folder))
    trainer = Trainer(
        bert(BertForSequenceClassification),
        arguments(folder / "run", examples_at_once=4, max_steps=6),
        train_dataset=examples,
        data_collator=PaddingCollator(tokenizer),
    )
    trainer.train()
    return outcome_of(trainer)


def learn_by_tokens(folder: Path) -> Answers:
    """Updates of four batches of 24 tokens each, the last one smaller, and predictions in batches of a budget."""
    generator = torch.Generator().manual_seed(2)
    ids = [torch.randint(5, 60, (3 + 7 * number % 9,), generator=generator) for number in range(26)]
    examples = [{"input_ids": row, "labels": torch.tensor(number % 3)} for number, row in enumerate(ids)]
    tokenizer, _ = text(str(folder))
    budget = {"max_tokens": 24, "gradient_accumulation_steps": 4 // n_processes(), "num_train_epochs": 2}
    budget |= {"per_device_train_batch_size": 24, "per_device_eval_batch_size": 24, "max_steps": -1}
    trainer = Trainer(
        bert(BertForSequenceClassification),
        arguments(folder / "run", **budget),
        train_dataset=examples,
        data_collator=PaddingCollator(tokenizer),
    )
    trainer.train()
    scores, truths, _ = trainer.predict(examples[:11])
    answers = outcome_of(trainer)
    answers["tensors"] |= {"scores": torch.from_numpy(scores), "truths": torch.from_numpy(truths)}
    return answers


# What several processes do otherwise than one


def count_sent_gradients(folder: Path) -> list[int]:
    """How often gradients are sent in each update of two batches."""
    sent: list[int] = []

    def send(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sent[-1] += 1
        return allreduce_hook(group, bucket)

    class Count(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.global_step == 1:  # the first one has settled how they are sent
                trainer.learner.losses_together.register_comm_hook(None, send)
            sent.append(0)

    trainer = line(folder, Numbers(24), examples_at_once=8, batches=2, callbacks=[Count()], num_train_epochs=1.0)
    trainer.train()
    return sent[1:]


def evaluate(folder: Path, count: int = 11) -> Answers:
    """Losses, metrics and predictions on examples of several lengths, and who read which."""
    dataset = Ragged(count)

    def share_right(prediction: Any) -> dict[str, float]:
        truth = prediction.label_ids
        return {
            "accuracy": float((prediction.predictions.argmax(-1) == truth)[truth != IGNORED].mean()),
            "labels": float((truth != IGNORED).sum()),
        }

    trainer = line(folder, Numbers(4), eval_dataset=dataset, data_collator=side_by_side, compute_metrics=share_right)
    figures, read = trainer.evaluate(), dataset.read
    dataset.read = []
    scores, truths, _ = trainer.predict(dataset)
    figures = {name: value for name, value in figures.items() if "runtime" not in name and "per_second" not in name}
    return {"figures": figures, "read": read, "scores": scores, "truths": truths}


class AskInLast(TrainerCallback):
    """Ask for something after a step, in the last process alone."""

    def __init__(self, what: str, step: int) -> None:
        self.what, self.step = what, step

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if rank() == n_processes() - 1 and state.global_step == self.step:
            setattr(control, self.what, True)


def stop_when_one_asks(folder: Path) -> int:
    """The step at which a run ends when the last process wants it to."""
    trainer = line(folder, Numbers(32), callbacks=[AskInLast("should_training_stop", 3)])
    return int(trainer.train().global_step)


def stop_early(folder: Path) -> Answers:
    """A run that is stopped because an evaluation is not better, which the processes measure differently."""
    trainer = line(
        folder,
        Numbers(32),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        eval_dataset=Numbers(6),
        compute_metrics=lambda _: {"luck": float(rank() if trainer.state.global_step > 2 else -rank())},
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="luck",
    )
    trainer.train()
    return {"step": trainer.state.global_step, "best": trainer.state.best_metric}


def meet_a_nan(folder: Path) -> Answers:
    """A run with one example that is no number: what each process says, and whether its model has stayed as it was."""
    dataset = Numbers(8)
    dataset.x[5] = math.nan
    model = Line()
    before = model.dense.weight.detach().clone()
    try:
        line(folder, dataset, model, examples_at_once=8).train()
    except InputError as error:
        return {"said": str(error), "same": torch.equal(model.dense.weight, before), "tells": is_told_here(error)}
    return {}


class SignalIn(TrainerCallback):
    """Send a signal to one process: at the end of a step, or in the middle of the evaluation after it."""

    def __init__(self, number: int, step: int, in_evaluation: bool = False) -> None:
        self.number, self.step, self.in_evaluation = number, step, in_evaluation

    def send(self, state: Any) -> None:
        if rank() == n_processes() - 1 and state.global_step == self.step:
            os.kill(os.getpid(), self.number)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if not self.in_evaluation:
            self.send(state)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.in_evaluation:
            self.send(state)
            self.step = -1


def interrupt(folder: Path, in_evaluation: bool) -> Answers:
    """A run with dropout that a signal to one process stops, and how the resumed one ends."""
    entries = {"dropout": 0.1, "eval_strategy": "steps", "eval_steps": 2, "max_steps": 5}
    with redirect_stderr(io.StringIO()) as told:
        try:
            trainer = pretraining(folder, callbacks=[SignalIn(signal.SIGTERM, 2, in_evaluation)], **entries)
            trainer.train()
        except TrainingInterruptedError as stop:
            code, checkpoint = stop.code, str(stop.checkpoint.name)
    resumed = pretraining(folder, **entries)
    torch.manual_seed(99)
    resumed.train(resume_from_checkpoint=True)
    whole = pretraining(folder, **entries, output_dir=str(folder / "whole"))
    whole.train()
    return {
        "code": code,
        "checkpoint": checkpoint,
        "told": told.getvalue(),
        "resumed": outcome_of(resumed),
        "whole": outcome_of(whole),
        "left": resumed.state.left_to_do,
    }


def write_and_show(folder: Path) -> Answers:
    """What a run writes when each process has a folder of its own, and what it shows."""
    with redirect_stderr(io.StringIO()) as shown:
        trainer = line(folder / str(rank()), Numbers(16), save_strategy="steps", save_steps=2, eval_dataset=Numbers(6))
        trainer.args.disable_tqdm = False
        trainer.train()
        trainer.evaluate()
        trainer.save_model()
    return {"shown": shown.getvalue(), "wrote": (folder / str(rank())).exists()}


def read_what(folder: Path, steps: int, resume: bool = False, **changes: Any) -> Answers:
    """Part of a run that may be gone on with, and what each process read of it."""
    dataset = Numbers(21)
    settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": steps, "examples_at_once": 4}
    settings |= {"lr_scheduler_type": "constant"}
    trainer = line(folder, dataset, **{**settings, **changes})
    trainer.train(resume_from_checkpoint=resume)
    return {"read": dataset.read, **outcome_of(trainer)}


def ask_first(folder: Path) -> str:
    """What the processes are told when what the first one does for all fails."""
    processes = Processes.of_this_run(arguments(folder))

    def refuse() -> None:
        raise InputError("the disk is full; make room")

    try:
        processes.by_first(refuse)
    except InputError as error:
        return str(error)
    return ""


def lose_one(folder: Path) -> Answers:
    """A run in which the last process dies; what the others say, and with which code they end."""

    class Die(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if rank() == n_processes() - 1 and state.global_step == 2:
                os._exit(7)

    with redirect_stderr(io.StringIO()) as told:
        try:
            line(folder, Numbers(16), callbacks=[Die()], save_strategy="steps", save_steps=1).train()
        except LostProcessError as lost:
            return {"code": lost.code, "told": told.getvalue()}
    return {}


def pretrain_from_text(folder: Path, corpus: str) -> Answers:
    """Pretrain on a text that only the first process can find."""
    return pretraining_module.pretrain(corpus if rank() == 0 else "nowhere.txt", folder / "model", tiny_runs.plan())


def finetune(folder: Path, model: Path, labelled: Path) -> Answers:
    """Fine-tune a model on labelled texts."""
    plan = tiny_runs.finetuning_plan(dropout=0.0)
    return finetuning_module.finetune(model, str(labelled), folder / f"classifier-of-{n_processes()}", plan)


# A model that is shared out


def bytes_held(trainer: Trainer) -> int:
    """The bytes of the parameters and moments that this process holds."""
    tensors = [*trainer.model.parameters()]
    tensors += [value for values in trainer.optimizer.state.values() for value in values.values() if is_tensor(value)]
    return sum(held_here(tensor.detach()).numel() * tensor.element_size() for tensor in tensors)


def is_tensor(value: Any) -> bool:
    """Whether something is a tensor."""
    return isinstance(value, Tensor)


def pretrain_shared_out(folder: Path, steps: int = 4, resume: bool = False, **changes: Any) -> Answers:
    """A pretraining whose processes share the model out, with clipping, accumulation and evaluation."""
    settings = {"fsdp": True, "batches": 2, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps"}
    settings |= {"save_steps": 2, "lr_scheduler_type": "constant", "max_steps": steps}
    trainer = pretraining(folder, **{**settings, **changes})
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(folder / "kept")
    return {"logs": figures_of(trainer), "bytes": bytes_held(trainer), "tensors": tensors_of(folder)}


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The parameters that were written."""
    return load_file(folder / "kept" / "model.safetensors")


def end_with_the_best(folder: Path) -> Answers:
    """A run of a model that is shared out, which ends with the parameters of what was said to be the best."""
    trainer = pretraining(
        folder,
        fsdp=True,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,
        max_steps=3,
    )
    trainer.train()
    return {"best": trainer.state.best_global_step, **trainer.evaluate()}


def refuse_with_fsdp(folder: Path) -> list[str]:
    """What is said of an optimizer of parameters that are no longer the model's, and of a checkpoint that is none."""
    said = []
    model = bert()
    try:
        Trainer(model, arguments(folder, fsdp=True), optimizers=(torch.optim.SGD(model.parameters()), None))
    except InputError as error:
        said.append(str(error))
    try:
        pretraining(folder, fsdp=True).train(resume_from_checkpoint=str(folder / "checkpoint-7"))
    except InputError as error:
        said.append(str(error))
    return said


def memory_of(folder: Path, shared_out: bool) -> tuple[Answers, Answers]:
    """What a process holds of a small model, by formula and as measured."""
    size = process_memory.Size(32, 2, 2, 96, vocab_size=203, batch_size=3, length=20)
    return process_memory.by_formula(size, n_processes(), shared_out), process_memory.measured(size, shared_out)
