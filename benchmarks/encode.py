"""Encoding sentences of unequal length: ours beside `transformers` and beside `torch.nn`'s encoder, all with one model.

    python benchmarks/encode.py

Every side is given the same padded batches, made before the clock starts, and answers with the last hidden state. In
arrival order every batch is as wide as its longest sentence; sorted by length there is hardly any padding. PyTorch's
encoder is on its fast path, which leaves padding out by nested tensors.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
import tyro
from finetune import config_of
from real_text import Text, real_text
from results import FOLDER, Results, Row
from roofline import Work, inference_token_floor, measure_machine
from torch import Tensor, nn
from training_speed import folder_of
from turns import in_turns, of_more, rate, ratio, spread

from minitransformer.batches import Batch, DataCollatorWithPadding
from minitransformer.models.bert import BertModel

ROUNDING = 2e-5
"""What float32 leaves of equality after some blocks; hidden states are about 1."""
N_SENTENCES = {"mini": 512, "minilm": 256, "tiny": 8}

Encoder = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Comparison:
    """What to compare."""

    config: tuple[Literal["mini", "minilm", "tiny"], ...] = ("mini", "minilm")
    """Sizes of the model."""
    length: int = 128
    """Tokens of a sentence at most."""
    batch_size: int = 32
    """Sentences of a batch."""
    turns: int = 5
    """How often each side reads all sentences."""
    quick: bool = False
    """A tiny model, twice, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    def as_asked(self) -> "Comparison":
        """With `quick`, as little as there can be."""
        return replace(self, config=("tiny",), length=32, batch_size=4, turns=2) if self.quick else self


class TorchEncoder(nn.Module):
    """The same model by `nn.TransformerEncoder`, which has no embeddings of its own: ours are put before it."""

    def __init__(self, ours: BertModel) -> None:
        super().__init__()
        config = ours.config
        layer = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            activation="gelu",
            layer_norm_eps=config.layer_norm_eps,
            batch_first=True,
        )
        self.embeddings = ours.embeddings
        self.encoder = nn.TransformerEncoder(layer, config.num_hidden_layers, enable_nested_tensor=True)
        with torch.no_grad():
            for block, twin in zip(ours.encoder.blocks, self.encoder.layers, strict=True):
                copy_block(block, twin)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden state."""
        return self.encoder(self.embeddings(input_ids), src_key_padding_mask=attention_mask == 0)


def copy_block(block: Any, twin: Any) -> None:
    """Give a layer of `torch.nn` the parameters of a block; it keeps query, key and value in one matrix."""
    heads = [block.attention.query, block.attention.key, block.attention.value]
    twin.self_attn.in_proj_weight.copy_(torch.cat([head.weight for head in heads]))
    twin.self_attn.in_proj_bias.copy_(torch.cat([head.bias for head in heads]))
    pairs = {
        twin.self_attn.out_proj: block.attention.output,
        twin.linear1: block.feed_forward.inner,
        twin.linear2: block.feed_forward.outer,
    }
    for linear, ours in pairs.items():
        linear.load_state_dict(ours.state_dict())
    for norm, ours in {twin.norm1: block.attention_residual.norm, twin.norm2: block.feed_forward_residual.norm}.items():
        norm.weight.copy_(ours.gain)
        norm.bias.copy_(ours.bias)


def main(comparison: Comparison) -> None:
    """Check that all sides answer the same, measure them in turns, and write what came of it."""
    comparison = comparison.as_asked()
    text = real_text(comparison.folder / "text", comparison.quick)
    results = Results("encode", "Encoding ragged sentences: ours over others, in real tokens a second")
    results.note(f"Sentences are from {text.name}, in batches of {comparison.batch_size}, in float32.")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*nested tensors is in prototype")
        for size in comparison.config:
            compare(results, size, comparison, text)
    results.finish(comparison.folder)


def compare(results: Results, size: str, comparison: Comparison, text: Text) -> None:
    """Check and measure one size."""
    rows = text.sentences(N_SENTENCES[size], comparison.length)
    sorted_rows = text.sorted_sentences(N_SENTENCES[size], comparison.length, comparison.batch_size)
    arrived = padded_batches(rows, comparison.batch_size, text)
    in_order = padded_batches(sorted_rows, comparison.batch_size, text)
    encoders = encoders_of(size, comparison.length, text)
    for name in ("theirs", "torch.nn"):
        gap = max(largest_gap(encoders["ours"], encoders[name], batch) for batch in arrived[:4])
        results.check(f"{size}: hidden states of ours and {name} at real tokens", gap, ROUNDING)
    results.require_checks()
    sides = {name: reading(encoder, arrived) for name, encoder in encoders.items()}
    times = sum(map(len, rows)) / sum(map(len, sorted_rows))
    sides["theirs, sorted"] = of_more(reading(encoders["theirs"], in_order), times)
    seconds = in_turns(sides, comparison.turns)
    padding = {"padding in arrival order": padding_of(arrived), "padding, sorted": padding_of(in_order)}
    results.add(**row_of(size, rows, padding, seconds, least_seconds(size, arrived, comparison)))


def row_of(
    size: str, rows: list[list[int]], padding: dict[str, str], seconds: dict[str, list[float]], least: float
) -> Row:
    """Tokens a second of each side, and the ratios that follow."""
    n_tokens = sum(map(len, rows))
    return {
        "case": f"{size}, {len(rows)} sentences",
        **padding,
        **{f"{name}, tokens/s": rate(n_tokens, of_side) for name, of_side in seconds.items()},
        **{f"ours over {name}": ratio(seconds[name], seconds["ours"]) for name in seconds if name != "ours"},
        "our share of the roofline": spread([least / of_turn for of_turn in seconds["ours"]]),
    }


def padding_of(batches: Sequence[Batch]) -> str:
    """Which share of all places holds no token."""
    n_tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    return f"{1 - n_tokens / sum(batch['input_ids'].numel() for batch in batches):.0%}"


def least_seconds(size: str, arrived: Sequence[Batch], comparison: Comparison) -> float:
    """The least time that this machine could take for all sentences."""
    machine = measure_machine(quick=comparison.quick, device="cpu")
    config = config_of(size, dropout=0.0, length=comparison.length, padding_id=0)
    works = [Work(config, batch["attention_mask"].sum(1).tolist(), "encoding") for batch in arrived]
    return sum(inference_token_floor(work, machine).seconds * work.n_tokens for work in works)


def padded_batches(rows: Sequence[list[int]], batch_size: int, text: Text) -> list[Batch]:
    """Batches as wide as their longest row."""
    pad = DataCollatorWithPadding(text.tokenizer)
    firsts = range(0, len(rows), batch_size)
    return [pad([{"input_ids": row} for row in rows[first : first + batch_size]]) for first in firsts]


def encoders_of(size: str, length: int, text: Text) -> dict[str, Encoder]:
    """The same model three times."""
    config = config_of(size, dropout=0.0, length=length, padding_id=text.tokenizer.pad_token_id)
    torch.manual_seed(0)
    ours = BertModel(config, add_pooling_layer=False).eval()
    start = folder_of(ours)
    theirs = transformers.BertModel.from_pretrained(start, add_pooling_layer=False, attn_implementation="sdpa").eval()
    by_torch = TorchEncoder(ours)
    return {
        "theirs": lambda batch: theirs(**batch).last_hidden_state,
        "torch.nn": lambda batch: by_torch(**batch),
        "ours": lambda batch: ours(**batch, skip_padding=True).last_hidden_state,
    }


def reading(encoder: Encoder, batches: Sequence[Batch]) -> Callable[[], None]:
    """One turn: all batches."""

    def turn() -> None:
        for batch in batches:
            encoder(batch)

    return turn


def largest_gap(encoder: Encoder, other: Encoder, batch: Batch) -> float:
    """How far two encoders are apart at real tokens."""
    is_token = batch["attention_mask"].bool()
    return (encoder(batch)[is_token] - other(batch)[is_token]).abs().max().item()


if __name__ == "__main__":
    main(tyro.cli(Comparison))
