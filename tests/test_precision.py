"""In which numbers a run computes: what is asked for, or what is faster here, with a loss that falls alike."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minitransformer import BertConfig, BertForPreTraining, Trainer, TrainingArguments
from minitransformer.errors import InputError
from minitransformer.trainer.precision import computing_type, is_bfloat16_faster

CPU = torch.device("cpu")
STEPS = 40


@pytest.mark.parametrize("instruction", ["amx_bf16", "avx512_bf16", "bf16", None])
def test_bfloat16_is_chosen_where_a_processor_has_instructions_for_it(
    instruction: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: bfloat16 that is imitated, many times slower than float32."""
    has = {"avx2": True, "avx512_bf16": False} | ({instruction: True} if instruction else {})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert is_bfloat16_faster(CPU) is (instruction is not None)
    chosen = computing_type(TrainingArguments("runs/none", bf16="auto"), CPU)
    assert chosen == (torch.bfloat16 if instruction else torch.float32)
    assert computing_type(TrainingArguments("runs/none", bf16=True), CPU) == torch.bfloat16
    assert computing_type(TrainingArguments("runs/none"), CPU) == torch.float32


@pytest.mark.parametrize("emulated", [False, True])
def test_a_gpu_is_asked_whether_it_only_imitates_it(emulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or not emulated
    )
    assert is_bfloat16_faster(torch.device("cuda")) is not emulated
    assert not is_bfloat16_faster(torch.device("mps"))


@pytest.mark.parametrize("wrong", ["yes", None, 16])
def test_another_word_is_refused_with_those_there_are(wrong: Any, without_shape_checks: None) -> None:
    with pytest.raises(InputError, match=r"bf16=.* is not one of \(False, True, 'auto'\)"):
        TrainingArguments("runs/none", bf16=wrong)


def examples() -> list[dict[str, Tensor]]:
    """Texts of one word each, repeated, with some of it hidden."""
    drawn = torch.Generator().manual_seed(0)
    made = []
    for number in range(16 * STEPS):
        ids = torch.randint(3, 19, (), generator=drawn).repeat(12)
        hidden = torch.rand(12, generator=drawn) < 0.3
        hidden[5] = True
        labels = ids.masked_fill(~hidden, -100)
        ids = ids.masked_fill(hidden, 1)
        made.append({"input_ids": ids, "labels": labels, "next_sentence_label": torch.tensor(number % 2)})
    return made


def losses(folder: Path, seed: int, **numbers: Any) -> Tensor:
    """The loss of each step of a small BERT."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForPreTraining(BertConfig(vocab_size=19, max_position_embeddings=12, **sizes))
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=16,
        max_steps=STEPS,
        learning_rate=1e-2,
        seed=seed,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        **numbers,
    )
    trainer = Trainer(model, arguments, train_dataset=examples())
    trainer.train()
    return torch.tensor([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def test_in_bfloat16_the_loss_falls_as_in_float32_within_what_another_seed_changes(tmp_path: Path) -> None:
    """Kills: parameters or moments in bfloat16, in which small steps are lost."""
    exact = torch.stack([losses(tmp_path / f"exact-{seed}", seed) for seed in range(3)])
    coarse = losses(tmp_path / "coarse", seed=0, bf16=True)
    assert exact[:, -10:].mean() < exact[:, :10].mean() - 0.2, "something is learned"
    assert not torch.equal(coarse, exact[0])
    gap = (coarse - exact[0]).abs().mean()
    assert gap < (exact[1:] - exact[0]).abs().mean() / 3
