"""Batches by a budget of tokens: what holds of how they are cut, and that a run with them is a run as any other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.finetuning import FinetuningPlan
from minitransformer.laws.cases import whole_numbers
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.losses import IGNORED
from minitransformer.trainer import Trainer, TrainerCallback
from minitransformer.trainer.order import OrderByTokens, cut_by_tokens, longest_first, share_of_batches
from minitransformer.training_arguments import TrainingArguments

lengths_of_examples = st.lists(st.integers(1, 12), min_size=1, max_size=60).map(np.array)
seeds = st.integers(0, 2**32 - 1)


def orders(max_tokens: int = 24, most_examples: int = 24, per_update: int = 2, seed: int = 0) -> OrderByTokens:
    """An order with a budget that has room for each of these examples."""
    return OrderByTokens(max_tokens, most_examples, per_update, seed)


def computed(batch: Sequence[int], lengths: np.ndarray) -> int:
    """What is computed of a batch when it is padded."""
    return len(batch) * int(lengths[batch].max())


def flat(batches: Sequence[np.ndarray]) -> list[int]:
    """The examples of batches."""
    return np.concatenate(batches).tolist()


# How batches are cut.


@given(lengths=lengths_of_examples, per_update=st.integers(1, 4), seed=seeds, number=st.integers(0, 5))
def test_a_pass_reads_every_example_once_and_only_its_last_update_is_smaller(
    lengths: np.ndarray, per_update: int, seed: int, number: int
) -> None:
    """Kills: the example at a cut lost or read twice; a batch overwritten where the dearest is moved to the front."""
    updates = orders(per_update=per_update, seed=seed).updates(number, lengths)
    assert sorted(flat([batch for update in updates for batch in update])) == list(range(len(lengths)))
    assert [len(update) for update in updates[:-1]] == [per_update] * (len(updates) - 1)
    assert 0 < len(updates[-1]) <= per_update


@given(lengths=lengths_of_examples, max_tokens=st.integers(12, 40), most=st.integers(1, 9), seed=seeds)
def test_no_batch_is_above_its_budget(lengths: np.ndarray, max_tokens: int, most: int, seed: int) -> None:
    """Kills: tokens counted without their padding; the first example of a batch taken for its longest."""
    batches = orders(max_tokens, most, seed=seed).batches(0, lengths)
    batches += [batch for chunk in longest_first(lengths, max_tokens, most) for batch in chunk]
    batches += cut_by_tokens(np.arange(len(lengths)), lengths, max_tokens, most)
    assert all(computed(batch, lengths) <= max_tokens and len(batch) <= most for batch in batches)


@given(lengths=lengths_of_examples, max_tokens=st.integers(12, 40), most=st.integers(1, 9), seed=seeds)
def test_the_first_example_of_a_batch_has_no_room_in_the_one_before(
    lengths: np.ndarray, max_tokens: int, most: int, seed: int
) -> None:
    """Kills: `<` where the budget may be spent; batches that end early, such as where groups of lengths meet."""
    order = np.random.default_rng(seed).permutation(len(lengths))
    batches = cut_by_tokens(order, lengths, max_tokens, most)
    assert flat(batches) == order.tolist()
    for batch, following in pairwise(batches):
        longer = [*batch, following[0]]
        assert len(longer) > most or computed(longer, lengths) > max_tokens


@given(lengths=lengths_of_examples, seed=seeds, number=st.integers(0, 5), elsewhere=seeds)
def test_the_seed_and_the_pass_decide_the_batches(lengths: np.ndarray, seed: int, number: int, elsewhere: int) -> None:
    """Kills: an order drawn from a generator that others draw from; one whose second pass needs the first."""
    wanted = [batch.tolist() for batch in orders(seed=seed).batches(number, lengths)]
    np.random.seed(elsewhere)
    assert [batch.tolist() for batch in orders(seed=seed).batches(number, lengths)] == wanted


@given(lengths=lengths_of_examples, seed=seeds)
def test_the_most_expensive_batch_comes_first(lengths: np.ndarray, seed: int) -> None:
    """Kills: the longest example put first, though a batch of many short ones may need more memory."""
    costs = [computed(batch, lengths) for batch in orders(seed=seed).batches(0, lengths)]
    assert costs[0] == max(costs)


def test_lengths_do_not_run_over_a_pass_nothing_is_computed_in_vain_and_passes_differ() -> None:
    """Kills: batches learned from long to short; examples cut without being sorted; the same batches in each pass."""
    lengths = np.random.default_rng(3).geometric(0.03, size=4000).clip(3, 200)
    order = orders(max_tokens=2000, most_examples=2000, per_update=1)
    batches = order.batches(0, lengths)
    longest = [lengths[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2
    assert sum(computed(batch, lengths) for batch in batches) < 1.1 * lengths.sum()
    assert {tuple(sorted(batch)) for batch in batches}.isdisjoint(tuple(sorted(b)) for b in order.batches(1, lengths))


@given(n_batches=st.integers(1, 9), n_processes=st.integers(1, 4))
def test_processes_compute_equally_many_batches_and_each_of_them_once(n_batches: int, n_processes: int) -> None:
    """Kills: a process that waits for ever because it has a batch less; a borrowed example that counts twice."""
    batches = [np.array([2 * number, 2 * number + 1]) for number in range(n_batches)]
    shares = [share_of_batches(batches, rank, n_processes) for rank in range(n_processes)]
    assert len({len(share) for share in shares}) == 1
    counted = [batch for share in shares for batch, counts in share if counts]
    assert sorted(flat(counted)) == list(range(2 * n_batches))


# A run with them.


class Words(nn.Module):
    """A table of word vectors, their sum, and a line; word 0 is padding and counts for nothing."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Embedding(10, 4, padding_idx=0).double()
        self.dense = nn.Linear(4, 2).double()
        self.most = most
        self.computed: list[int] = []

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        if self.most is not None and input_ids.numel() > self.most:
            raise torch.OutOfMemoryError
        self.computed.append(input_ids.numel())
        logits = self.dense(self.table(input_ids).sum(1))
        if labels is None:
            return {"logits": logits}
        return {"logits": logits, "loss": nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED)}


def padded(examples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Examples to a batch."""
    rows = nn.utils.rnn.pad_sequence([example["input_ids"] for example in examples], batch_first=True)
    return {"input_ids": rows, "labels": torch.stack([example["labels"] for example in examples])}


class Texts:
    """Texts of 1 to 12 words with a class each, some without, that remember in which order they were read."""

    def __init__(self, count: int = 25) -> None:
        self.lengths = whole_numbers(12, "lengths", 1, 13, count).tolist()
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read.append(index)
        words = whole_numbers(index, "words", 1, 10, self.lengths[index])
        return {"input_ids": words, "labels": torch.tensor(IGNORED if index % 5 == 0 else index % 2)}


class DrawnAnew(Texts):
    """Texts that are others in each pass, in another number."""

    def set_epoch(self, epoch: int) -> None:
        self.lengths = whole_numbers(epoch, "lengths", 1, 13, 25 - 4 * (epoch % 3)).tolist()


@dataclass
class Gradients(TrainerCallback):
    """Keep the gradients of each update."""

    kept: list[dict[str, Tensor]] = field(default_factory=list)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.kept.append({name: p.grad.clone() for name, p in given["model"].named_parameters()})


def trainer_of(folder: Path, dataset: Any = None, model: nn.Module | None = None, **changes: Any) -> Trainer:
    """A trainer with a budget of 24 tokens, two batches an update."""
    options = {name: changes.pop(name) for name in ("callbacks", "eval_dataset") if name in changes}
    settings = {"max_tokens": 24, "gradient_accumulation_steps": 2, "num_train_epochs": 1, "learning_rate": 0.1}
    settings |= {"disable_tqdm": True, "logging_steps": 1, "save_strategy": "no"}
    arguments = TrainingArguments(str(folder), **{**settings, **changes})
    dataset = Texts() if dataset is None else dataset
    return Trainer(model or Words(), arguments, padded, train_dataset=dataset, **options)


@pytest.mark.parametrize("epochs", [1, 2, 2.5])
@pytest.mark.parametrize("kind", [Texts, DrawnAnew])
def test_a_run_is_as_long_as_it_says_at_its_start(tmp_path: Path, kind: type[Texts], epochs: float) -> None:
    """Kills: updates counted by the first pass alone, which leave examples out or end in the middle of a pass."""
    announced = []

    class Announce(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            announced.append((state.max_steps, state.num_train_epochs))

    trainer = trainer_of(tmp_path, kind(), num_train_epochs=epochs, callbacks=[Announce()])
    assert trainer.train().global_step == trainer.state.max_steps == announced[0][0]
    assert np.ceil(epochs) == announced[0][1]
    assert trainer.state.epoch == pytest.approx(epochs, abs=0.2)
    assert max(trainer.model.computed) <= 24
    start = 0
    for number in range(int(epochs)):
        n_examples = 25 - 4 * (number % 3) if kind is DrawnAnew else 25
        assert sorted(trainer.train_dataset.read[start : start + n_examples]) == list(range(n_examples))
        start += n_examples
    assert (len(trainer.train_dataset.read) == start) == (epochs == int(epochs))


def test_a_number_of_updates_is_kept_to(tmp_path: Path) -> None:
    """Kills: a run that ends with its last whole pass."""
    trainer = trainer_of(tmp_path, max_steps=7)
    assert trainer.train().global_step == 7
    assert 1 < trainer.state.epoch < trainer.state.num_train_epochs
    assert 25 / 5 <= trainer.state.train_batch_size <= 25 / 3


@pytest.mark.parametrize("kind", [Texts, DrawnAnew])
def test_a_run_resumes_as_if_it_had_never_stopped(tmp_path: Path, kind: type[Texts]) -> None:
    """Kills: a place in the pass told by a number of examples; batches that depend on the pass before."""
    whole = trainer_of(tmp_path, kind(), num_train_epochs=2, save_strategy="steps", save_steps=1)
    whole.train()
    for step in range(1, whole.state.global_step):
        resumed = trainer_of(tmp_path / "resumed", kind(), num_train_epochs=2)
        resumed.train(resume_from_checkpoint=tmp_path / f"checkpoint-{step}")
        for name, tensor in whole.model.state_dict().items():
            assert_same(resumed.model.state_dict()[name], tensor, f"{name} after step {step}")
        without_speed = [
            [{name: value for name, value in entry.items() if name != "tokens_per_second"} for entry in run.log_history]
            for run in (resumed.state, whole.state)
        ]
        assert without_speed[0] == without_speed[1]


def test_the_gradient_of_an_update_is_that_of_one_batch_of_its_examples(tmp_path: Path) -> None:
    """Kills: each batch of an update weighed alike, though they hold different numbers of labels."""
    gradients, dataset = Gradients(), Texts()
    trainer_of(tmp_path, dataset, learning_rate=0.0, max_grad_norm=0, callbacks=[gradients]).train()
    updates = OrderByTokens(24, 24, 2, seed=42).updates(0, np.array(dataset.lengths))
    assert len({len(flat(update)) for update in updates}) > 1
    assert len(gradients.kept) == len(updates)
    for update, found in zip(updates, gradients.kept, strict=True):
        model = Words()
        model(**padded([dataset[number] for number in flat(update)]))["loss"].backward()
        for name, parameter in model.named_parameters():
            assert_close(found[name], parameter.grad, STACK, what=name)


def test_where_memory_runs_out_less_is_computed_at_once_and_the_updates_stay_the_same(tmp_path: Path) -> None:
    """Kills: pieces of so many examples, however long they are."""
    small, large = Words(most=13), Words()
    for model in (small, large):
        trainer_of(tmp_path, model=model, auto_find_batch_size=True).train()
    assert max(small.computed) <= 13 < max(large.computed)
    for name, tensor in large.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], tensor, rtol=0, atol=1e-9)


def test_judging_and_predicting_answer_as_without_a_budget(tmp_path: Path) -> None:
    """Kills: predictions left in the order of lengths; a mean of the means of unequal batches."""
    dataset = Texts(19)
    wanted = trainer_of(tmp_path, max_tokens=None, per_device_eval_batch_size=1)
    found = trainer_of(tmp_path)
    assert found.evaluate(dataset)["eval_loss"] == pytest.approx(wanted.evaluate(dataset)["eval_loss"], abs=1e-6)
    found.model.computed.clear()
    ours, theirs = found.predict(dataset), wanted.predict(dataset)
    assert max(found.model.computed) <= 24
    assert len(found.model.computed) < 19 / 2
    np.testing.assert_allclose(ours.predictions, theirs.predictions, atol=1e-6)
    np.testing.assert_array_equal(ours.label_ids, theirs.label_ids)


def test_a_batch_has_no_more_examples_than_was_allowed(tmp_path: Path) -> None:
    """Kills: a budget beside which the number of examples is forgotten."""
    sizes: list[int] = []

    class Counting(Words):
        def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            sizes.append(len(input_ids))
            return super().forward(input_ids, labels)

    trainer = trainer_of(tmp_path, model=Counting(), per_device_train_batch_size=3, per_device_eval_batch_size=2)
    trainer.train()
    assert max(sizes) == 3
    sizes.clear()
    trainer.predict(Texts())
    assert max(sizes) == 2


def test_a_longer_example_is_predicted_by_itself(tmp_path: Path) -> None:
    """Kills: an evaluation that ends a training because one of its texts is long."""
    model = Words()
    scores = trainer_of(tmp_path, model=model, max_tokens=4).predict(Texts(9)).predictions
    assert len(scores) == 9
    assert max(model.computed) > 4


def test_a_plan_of_fine_tuning_hands_its_budget_on() -> None:
    """Kills: an option of the command line that changes nothing; one text too long for every batch of a run."""
    arguments = FinetuningPlan(max_tokens=640).training_arguments(Path("runs/none"), quiet=True, n_processes=3)
    assert (arguments.max_tokens, arguments.per_device_train_batch_size) == (640, 640)
    with pytest.raises(InputError, match="max_tokens=63 must be at least max_length=64"):
        FinetuningPlan(max_tokens=63)


# What is refused.


def test_without_a_budget_a_batch_has_eight_examples_and_with_one_as_many_as_fit() -> None:
    plain, budgeted = TrainingArguments("runs/none"), TrainingArguments("runs/none", max_tokens=512)
    assert (plain.per_device_train_batch_size, plain.per_device_eval_batch_size) == (8, 8)
    assert (budgeted.per_device_train_batch_size, budgeted.per_device_eval_batch_size) == (512, 512)
    assert TrainingArguments(**budgeted.to_dict()) == budgeted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_tokens": 0}, "max_tokens=0 must be at least 1"),
        ({"max_tokens": 8, "dataloader_drop_last": True}, "dataloader_drop_last=True and max_tokens=8 exclude"),
    ],
)
def test_arguments_that_cannot_be_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        TrainingArguments("runs/none", **changes)


def test_what_the_data_cannot_do_is_refused_before_anything_is_learned(tmp_path: Path) -> None:
    """Kills: a training that ends at the first text that is too long, or at its first evaluation."""
    stream = iter([{"input_ids": torch.tensor([1])}])
    with pytest.raises(InputError, match="max_tokens=24 needs train_dataset to be no stream, to look ahead in"):
        trainer_of(tmp_path, stream, max_steps=1)
    with pytest.raises(InputError, match="max_tokens=24 needs eval_dataset to be no stream"):
        trainer_of(tmp_path, eval_dataset=stream)
    with pytest.raises(InputError, match="max_tokens=24 needs input_ids, but example 0 has"):
        trainer_of(tmp_path, [{"x": torch.zeros(3)}]).train()
    dataset = Texts()
    longest = int(np.argmax(dataset.lengths))
    with pytest.raises(InputError, match=rf"max_tokens=5 has no room for example {longest}, which has 12 tokens; give"):
        trainer_of(tmp_path, dataset, max_tokens=5).train()
    assert dataset.read == []


def test_a_run_goes_on_with_its_own_budget_alone(tmp_path: Path) -> None:
    """Kills: a step's number taken for a place among batches that are cut otherwise."""
    trainer_of(tmp_path, save_strategy="steps", save_steps=2, max_steps=2).train()
    for changes, reason in [
        ({"max_tokens": 30}, "max_tokens=30 would cut other batches than max_tokens=24, which the run was begun with"),
        ({"max_tokens": None}, "max_tokens=None would cut other batches than max_tokens=24"),
        ({"per_device_train_batch_size": 3}, "per_device_train_batch_size=3 would cut other batches than"),
    ]:
        with pytest.raises(InputError, match=reason):
            trainer_of(tmp_path, **changes).train(resume_from_checkpoint=True)
