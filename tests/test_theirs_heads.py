"""Embeddings, heads and dropout of PyTorch, of transformers and of teaching texts, before the same laws."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.laws import adapters, check
from minitransformer.laws.claims import HEAVY
from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.embeddings import table_of_positions_read_from_one
from minitransformer.laws.zoo.matrix import EXAMPLES_OF_HEAVY

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")
transformers = pytest.importorskip("transformers", reason="transformers is judged here: pip install transformers")

BERT_NAMES = {"gain": "weight", "norm": "LayerNorm"}


def config(d_model: int, vocab_size: int = 1, **sizes: Any) -> Any:
    """A BERT of these sizes, as transformers describes it."""
    return transformers.BertConfig(vocab_size=vocab_size, hidden_size=d_model, num_attention_heads=1, **sizes)


def bert_embeddings(vocab_size: int, n_positions: int, n_segments: int, d_model: int, **options: Any) -> nn.Module:
    """The embeddings of transformers, in a vocabulary without padding."""
    sizes = {"max_position_embeddings": n_positions, "type_vocab_size": n_segments, "pad_token_id": None}
    return transformers.models.bert.modeling_bert.BertEmbeddings(config(d_model, vocab_size, **sizes | options))


def bert_pooler(d_model: int) -> nn.Module:
    """The pooler of transformers."""
    return transformers.models.bert.modeling_bert.BertPooler(config(d_model))


def bert_word_head(d_model: int, vocab_size: int) -> nn.Module:
    """The masked-word head of transformers, which has the biases of the words twice."""
    return transformers.models.bert.modeling_bert.BertLMPredictionHead(config(d_model, vocab_size))


def names_of_word_head(parameters: Parameters) -> Parameters:
    """The parameters of a masked-word head under transformers' names."""
    names = {"dense": "transform.dense", "norm": "transform.LayerNorm", "gain": "weight"}
    theirs = {adapters.renamed(name, names): tensor for name, tensor in parameters.items()}
    return theirs | {"bias": parameters["decoder.bias"]}


def bert_next_sentence_head(d_model: int) -> nn.Module:
    """The next-sentence head of transformers."""
    return transformers.models.bert.modeling_bert.BertOnlyNSPHead(config(d_model))


EMBEDDINGS_NAMES = BERT_NAMES | {table: f"{table}_embeddings" for table in ("word", "position")}
EMBEDDINGS_NAMES |= {"segment": "token_type_embeddings"}


def names_of_linear(parameters: Parameters) -> Parameters:
    """The parameters of a head that is one dense layer, under the names that the layer itself has."""
    return {name.removeprefix("dense."): tensor for name, tensor in parameters.items()}


def names_of_kernel(parameters: Parameters) -> Parameters:
    """The same in the manner of Keras, whose kernel has a column for each output."""
    return {"kernel": parameters["dense.weight"].T, "bias": parameters["dense.bias"]}


class TaughtEmbeddings(nn.Module):
    """Embeddings as texts that teach BERT write them: with `tok`, `pos` and `seg`, and positions made in `forward`."""

    def __init__(self, vocab_size: int, max_len: int, n_segments: int, d_model: int) -> None:
        super().__init__()
        self.tok_embed = nn.Embedding(vocab_size, d_model)
        self.pos_embed = nn.Embedding(max_len, d_model)
        self.seg_embed = nn.Embedding(n_segments, d_model)
        self.norm = nn.LayerNorm(d_model, eps=1e-12)

    def forward(self, x: Tensor, seg: Tensor | None = None) -> Tensor:
        """Add and normalise."""
        pos = torch.arange(x.size(1), dtype=torch.long).unsqueeze(0).expand_as(x)
        seg = torch.zeros_like(x) if seg is None else seg
        return self.norm(self.tok_embed(x) + self.pos_embed(pos) + self.seg_embed(seg))  # type: ignore[no-any-return]


class TaughtEmbeddingsWithEps(TaughtEmbeddings):
    """The same with the eps that PyTorch's norm has if nothing is said."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.norm = nn.LayerNorm(sizes[-1])


class KerasPooler(nn.Module):
    """A pooler in the manner of Keras: `call` does the work, and the kernel is stored as (input, output)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(units, units))
        self.bias = nn.Parameter(torch.empty(units))

    def call(self, inputs: Tensor) -> Tensor:
        """Pool the first token."""
        return torch.tanh(inputs[:, 0, :] @ self.kernel + self.bias)


class NextSentencePrediction(nn.Module):
    """A next-sentence head as some implementations have it: with the log-softmax that its loss expects."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, 2)
        self.softmax = nn.LogSoftmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Two logarithms of shares."""
        return self.softmax(self.linear(x))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """A classification head with a dropout of its own and names of its own."""

    def __init__(self, hidden: int, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(hidden, n_classes))

    def forward(self, pooled: Tensor) -> Tensor:
        """Scores of the classes."""
        return self.layers(pooled)  # type: ignore[no-any-return]


class OwnDropout(nn.Module):
    """Dropout as one writes it oneself."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop while training."""
        if not self.training or self.p == 0:
            return x
        return x * (torch.rand(x.shape) > self.p).to(x.dtype) / (1 - self.p)


def numpy_dropout(x: np.ndarray, rate: float) -> np.ndarray:
    """Dropout in NumPy, from the state that `np.random.seed` sets."""
    keep = np.random.random(x.shape) >= rate
    return x * keep / (1 - rate)


TAUGHT_NAMES = {"word": "tok_embed", "position": "pos_embed", "segment": "seg_embed", "gain": "weight"}

THEIRS: dict[str, tuple[str, Any]] = {
    "transformers, BertEmbeddings": ("embeddings", adapters.module(bert_embeddings, EMBEDDINGS_NAMES)),
    "transformers, BertEmbeddings with padding": (
        "embeddings",
        adapters.module(partial(bert_embeddings, pad_token_id=0), EMBEDDINGS_NAMES),
    ),
    "transformers, BertPooler": ("pooler", adapters.module(bert_pooler)),
    "transformers, BertLMPredictionHead": (
        "masked-word-head",
        adapters.module(bert_word_head, translate=names_of_word_head),
    ),
    "transformers, BertOnlyNSPHead": (
        "next-sentence-head",
        adapters.module(bert_next_sentence_head, {"dense": "seq_relationship"}),
    ),
    "nn.Linear": ("classification-head", adapters.module(nn.Linear, translate=names_of_linear)),
    "nn.Dropout": ("dropout", nn.Dropout),
    "embeddings as taught": ("embeddings", adapters.module(TaughtEmbeddings, TAUGHT_NAMES)),
    "embeddings as taught, PyTorch's eps": ("embeddings", adapters.module(TaughtEmbeddingsWithEps, TAUGHT_NAMES)),
    "a pooler as in Keras": (
        "pooler",
        adapters.module(KerasPooler, translate=names_of_kernel, call=lambda pooler, x: pooler.call(x)),
    ),
    "a classifier with dropout": ("classification-head", adapters.module(Classifier, {"dense": "layers.1"})),
    "a dropout of one's own": ("dropout", OwnDropout),
    "dropout in NumPy": ("dropout", numpy_dropout),
    "the reference's pooler": ("pooler", reference.heads.pooler),
    "the reference's embeddings": ("embeddings", reference.embeddings.embeddings),
}

PADDING = {"what_was_looked_up_learns_and_nothing_else", "each_row_gains_the_sum_over_its_places"}
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "transformers, BertEmbeddings with padding": (PADDING, "the word of padding, id 0 in BERT, has no gradient"),
    "embeddings as taught, PyTorch's eps": (
        {"embeddings_agree_with_the_reference"},
        "before training the tables are so small that 1e-5 beside their variance is seen in the third digit",
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_their_code_keeps_every_law_but_those_with_a_reason(name: str) -> None:
    claim, theirs = THEIRS[name]
    report = check(theirs, claim, max_examples=EXAMPLES_OF_HEAVY if claim in HEAVY else 20)
    expected, reason = EXCEPTIONS.get(name, (set(), "every law holds"))
    assert {failure.law for failure in report.failures} == expected, f"{reason}\n{report}"
    assert {finding.message for finding in report.not_judged} <= {"an array has no gradient", "NumPy has no bfloat16"}


def test_a_log_softmax_in_a_head_is_found_and_shown_on_two_scores() -> None:
    report = check(adapters.module(NextSentencePrediction, {"dense": "linear"}), "next-sentence-head", max_examples=20)
    broken = {failure.law: failure for failure in report.failures}
    assert "what_is_added_to_the_bias_is_added_to_the_scores" in broken
    assert "examples_are_scored_one_by_one" not in broken
    shown = broken["each_score_has_a_row_and_a_bias_of_its_own"]
    assert "the scores other than number" in shown.message
    assert [len(table.rows) for table in shown.counterexample if "returned" in table.title] == [1, 1]


def test_the_smallest_case_is_one_on_which_right_code_keeps_the_law() -> None:
    """At a width of 1 the norm lets no gradient through, so that no law about gradients speaks about it."""
    report = check(table_of_positions_read_from_one, "embeddings", max_examples=20)
    (shown,) = [each for each in report.failures if each.law == "what_was_looked_up_learns_and_nothing_else"]
    assert "rows [0] of the table of positions" in shown.message
