"""What PyTorch offers to train with, before the same laws: each law holds, or the exception has a reason."""

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.laws import adapters, check, laws_of
from minitransformer.laws.judging import is_broken
from minitransformer.laws.training_functions import Examples, SmallNetwork, TrainingRun
from minitransformer.models.bert_config import BertConfig
from minitransformer.schedules import linear_warmup

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")

ADAMS: dict[str, tuple[Any, set[str]]] = {
    "torch.optim.AdamW": (torch.optim.AdamW, set()),
    "torch.optim.AdamW, fused": (lambda *args, **settings: torch.optim.AdamW(*args, fused=True, **settings), set()),
    "torch.optim.Adam, whose decay goes through the gradient": (
        torch.optim.Adam,
        {
            "decay_is_decoupled_from_the_gradient",
            "decay_and_step_add_up",
            "the_size_of_the_gradients_does_not_matter",
            "the_steps_agree_with_the_reference",
        },
    ),
    "torch.optim.AdamW, AMSGrad": (
        lambda *args, **settings: torch.optim.AdamW(*args, amsgrad=True, **settings),
        {"each_mean_forgets_at_its_own_rate", "the_steps_agree_with_the_reference"},
    ),
}


@pytest.mark.parametrize("name", ADAMS)
def test_their_optimizer_breaks_the_laws_that_it_has_to(name: str) -> None:
    optimizer_class, broken = ADAMS[name]
    report = check(adapters.optimizer(optimizer_class), "adamw", max_examples=40)
    assert {failure.law for failure in report.failures} == broken, report
    assert not report.not_judged


def torch_accumulation(weight: Tensor, micro_batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """PyTorch's loop with sums that are divided by the labels of all micro-batches."""
    weight = weight.clone().requires_grad_()
    n_labels = sum((labels != -100).sum() for _, labels in micro_batches)
    for inputs, labels in micro_batches:
        (F.cross_entropy(inputs @ weight.T, labels, reduction="sum") / n_labels).backward()
    return weight.grad


def usual_accumulation(weight: Tensor, micro_batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The loop of most tutorials: `loss = criterion(...) / accumulation_steps`."""
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        (F.cross_entropy(inputs @ weight.T, labels) / len(micro_batches)).backward()
    return weight.grad


def test_sums_over_the_count_of_all_labels_keep_every_law_of_accumulation() -> None:
    report = check(torch_accumulation, "accumulation", max_examples=40)
    assert report.passed, report


def test_the_loop_of_most_tutorials_weighs_labels_by_their_company() -> None:
    report = check(usual_accumulation, "accumulation", max_examples=40)
    broken = {failure.law for failure in report.failures}
    assert "micro_batches_are_one_large_batch" in broken
    assert "what_is_ignored_cannot_matter" not in broken


def learners_run(
    parameters: dict[str, Tensor], examples: Examples, run: TrainingRun, forgets_optimizer: bool = False
) -> dict[str, Tensor]:
    """A training loop as a learner writes it, with a schedule of PyTorch's and a checkpoint of states."""

    def begin() -> tuple[Any, ...]:
        model = SmallNetwork(run.dropout_rate).to(examples.dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: linear_warmup(step, run.warmup_steps, run.n_steps)
        )
        return model, optimizer, schedule

    model, optimizer, schedule = begin()
    model.load_state_dict(parameters)
    step, size = 0, run.batch_size * run.accumulation
    updates_per_epoch = -(-len(examples) // size)
    while step < run.n_steps:
        torch.manual_seed(1_000_003 * run.seed + step // updates_per_epoch)
        order = torch.randperm(len(examples)).tolist()
        first = step % updates_per_epoch * size
        torch.manual_seed(7 + 1_000_003 * run.seed + step)
        chosen = [examples[index] for index in order[first : first + size]]
        batches = [chosen[start : start + run.batch_size] for start in range(0, len(chosen), run.batch_size)]
        n_labels = sum(int((example["labels"] != -100).sum()) for example in chosen)
        model.train()
        for batch in batches:
            x, labels = (torch.stack([example[name] for example in batch]) for name in ("x", "labels"))
            (model(x, labels)["loss"] * (labels != -100).sum() / n_labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.max_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        step += 1
        if run.evaluate_every and step % run.evaluate_every == 0:
            model.eval()
            with torch.no_grad():
                model(examples.x, examples.labels)
        if step == run.stop_after:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            kept = deepcopy({**state, "schedule": schedule.state_dict()})
            model, optimizer, schedule = begin()
            model.load_state_dict(kept["model"])
            schedule.load_state_dict(kept["schedule"])
            if not forgets_optimizer:
                optimizer.load_state_dict(kept["optimizer"])
            step = kept["step"]
    return model.state_dict()


def test_a_loop_of_a_learner_keeps_every_law_of_a_run() -> None:
    report = check(learners_run, "training-run", max_examples=8)
    assert report.passed, report


def test_a_loop_that_forgets_the_optimizer_breaks_the_laws_of_resuming_and_no_other() -> None:
    forgetful = partial(learners_run, forgets_optimizer=True)
    assert {law.name for law in laws_of("training-run") if is_broken(law, forgetful, max_examples=8)} == {
        "a_run_resumed_within_an_epoch_is_the_run_that_never_stopped",
        "a_run_resumed_at_the_end_of_an_epoch_is_the_run_that_never_stopped",
        "without_chance_a_resumed_run_is_the_run_that_never_stopped",
    }


def test_a_state_that_is_loaded_into_a_new_model_keeps_every_law_of_saving() -> None:
    def saved_by_state(model: nn.Module) -> nn.Module:
        state = deepcopy(model.state_dict())
        new = type(model)(model.config)
        new.load_state_dict(state)
        return new

    assert check(saved_by_state, "saving", max_examples=12).passed


def test_a_model_of_default_values_is_told_from_the_one_that_was_saved() -> None:
    def saved_without_configuration(model: nn.Module) -> nn.Module:
        sizes = {"vocab_size": 7, "hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 6}
        new = type(model)(
            BertConfig(**sizes, num_hidden_layers=len(model.bert.encoder.blocks), max_position_embeddings=5)
        )
        new.load_state_dict(model.state_dict())
        return new

    report = check(saved_without_configuration, "saving", max_examples=12)
    assert "what_comes_back_can_learn" in {failure.law for failure in report.failures}
    assert "what_is_tied_stays_tied" not in {failure.law for failure in report.failures}


class LearnersAdamW(torch.optim.Optimizer):
    """AdamW as many tutorials write it, with all state in one dictionary; `counts` is where it counts from."""

    counts = 1

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every parameter."""
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state.update(t=self.counts - 1, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                state["m"].lerp_(p.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                m_hat: Tensor = state["m"] / (1 - beta1 ** state["t"])
                v_hat: Tensor = state["v"] / (1 - beta2 ** state["t"])
                p.mul_(1 - lr * group["weight_decay"])
                p.sub_(lr * m_hat / (v_hat.sqrt() + group["eps"]))


def test_a_class_of_optimizers_is_judged_as_it_is() -> None:
    assert check(LearnersAdamW, "adamw", max_examples=20).passed


def test_a_wrong_optimizer_is_shown_on_one_entry_and_one_step() -> None:
    class Late(LearnersAdamW):
        counts = 2

    report = check(Late, "adamw", max_examples=40)
    failure = next(failure for failure in report.failures if failure.law == "a_constant_gradient_moves_by_the_rate")
    assert failure.equation.startswith("eq:adamw: θ ← θ − lr · λ · θ")
    (gradient,) = [table for table in failure.counterexample if table.title.startswith("gradients")]
    assert gradient.title.startswith("gradients[0] = ")
    assert not gradient.rows
