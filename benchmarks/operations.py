"""How much there is to compute and to move in a step of a BERT, by formula. benchmarks/README.md derives each term.

An operation is a multiplication or an addition in a product of matrices; all others are left out, as is usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from minitransformer.models.bert_config import BertConfig

FLOAT = 4
SIZES = {"float32": 4, "bfloat16": 2}
BACKWARD = 2
"""Operations on the way back by those forward: each product has two gradients, each a product of the same size."""

Parts = dict[str, float]


@dataclass(frozen=True)
class Work:
    """A batch: the lengths of its sequences, and where something is asked.

    `task` is "pretraining", "masked words", "classification", or "encoding" for the blocks alone. `everywhere` computes
    the last block and the head at all positions, not only at those that are asked.
    """

    config: BertConfig
    lengths: Sequence[int]
    task: str = "pretraining"
    predicted: float = 0.15
    everywhere: bool = False

    @property
    def n_tokens(self) -> int:
        """All tokens; padding is none."""
        return sum(self.lengths)

    @property
    def n_predicted(self) -> float:
        """The positions whose word is predicted."""
        return self.predicted * self.n_tokens if self.task in ("pretraining", "masked words") else 0.0

    def asked(self, length: int) -> float:
        """The positions of a sequence whose last hidden state somebody reads: predicted words, and the first token."""
        if self.everywhere or self.task == "encoding":
            return length
        if self.task == "classification":
            return 1
        return min(length, self.predicted * length + 1)


def forward_operations(work: Work) -> Parts:
    """The operations of a forward pass, part by part."""
    c, scored = work.config, work.n_tokens if work.everywhere else work.n_predicted
    d, f, v, n = c.hidden_size, c.intermediate_size, c.vocab_size, c.num_hidden_layers
    tokens, sequences = work.n_tokens, len(work.lengths)
    asked = sum(work.asked(length) for length in work.lengths) if n else 0
    full, last = max(n - 1, 0), min(n, 1)
    pairs = full * sum(length**2 for length in work.lengths) + last * sum(
        work.asked(length) * length for length in work.lengths
    )
    parts = {
        "query, key, value, output": 2 * 4 * d * d * full * tokens + 2 * 2 * d * d * last * (tokens + asked),
        "scores and reading": 2 * 2 * d * pairs,
        "feed-forward": 2 * 2 * d * f * (full * tokens + last * asked),
    }
    if work.task in ("pretraining", "masked words"):
        parts["masked words"] = 2 * (d * d + d * v) * scored
    if work.task in ("pretraining", "classification"):
        n_classes = 2 if work.task == "pretraining" else c.num_labels
        parts["pooler and classes"] = 2 * (d * d + d * n_classes) * sequences
    return parts


def training_operations(work: Work) -> Parts:
    """The operations of a training step, forward and backward, part by part."""
    return {part: (1 + BACKWARD) * count for part, count in forward_operations(work).items()}


def n_parameters(config: BertConfig, task: str = "pretraining") -> int:
    """How many numbers a model learns."""
    d, f = config.hidden_size, config.intermediate_size
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * d + 2 * d
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d
    total = tables + config.num_hidden_layers * block
    if task in ("pretraining", "masked words"):
        total += d * d + d + 2 * d + config.vocab_size
        total += 0 if config.tie_word_embeddings else config.vocab_size * d
    if task in ("pretraining", "classification"):
        n_classes = 2 if task == "pretraining" else config.num_labels
        total += d * d + d + (d + 1) * n_classes
    return total


def training_bytes(work: Work, dtype: str = "float32") -> Parts:
    """The bytes that a training step must move through memory, part by part.

    Weights, gradients and moments are float32; what is computed with has the size of `dtype`.
    """
    size, parameters = SIZES[dtype], n_parameters(work.config, work.task)
    return {
        "weights, forward and backward": 2 * size * n_read_whole(work.config, work.task),
        "gradients, written, and read for their norm": 2 * FLOAT * parameters,
        "AdamW: four read, three written": 7 * FLOAT * parameters,
        "activations, written and read": 2 * size * kept_activations(work),
    }


def kept_activations(work: Work) -> float:
    """The numbers that the blocks keep for the way back.

    A block keeps eight vectors for each token (its input, Q, K, V, what attention reads, both sums before the norms,
    the input of the feed-forward network), two as wide as that network, and what softmax and norms divide by. A
    cache as large as all of them would keep them from memory.
    """
    c = work.config
    d, f, h, n = c.hidden_size, c.intermediate_size, c.num_attention_heads, c.num_hidden_layers
    asked = sum(work.asked(length) for length in work.lengths)
    of_a_token = 8 * d + 2 * f + h + 4
    of_what_is_read = 3 * d  # the last block's input, keys and values
    return max(n - 1, 0) * of_a_token * work.n_tokens + min(n, 1) * (
        of_what_is_read * work.n_tokens + (of_a_token - of_what_is_read) * asked
    )


def inference_bytes(work: Work, dtype: str = "float32") -> Parts:
    """The bytes that a forward pass must move: the weights, and its answer."""
    vectors = SIZES[dtype] * work.config.hidden_size * work.n_tokens
    return {
        "weights": SIZES[dtype] * n_read_whole(work.config, work.task),
        "embeddings that are looked up": vectors,
        "the answer": vectors,
    }


def n_read_whole(config: BertConfig, task: str) -> int:
    """How many numbers of a model every batch reads: of its tables only that of words, where words are predicted."""
    looked_up = config.max_position_embeddings + config.type_vocab_size
    if config.tie_word_embeddings and task in ("pretraining", "masked words"):
        return n_parameters(config, task) - looked_up * config.hidden_size
    return n_parameters(config, task) - (looked_up + config.vocab_size) * config.hidden_size
