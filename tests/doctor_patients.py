"""Whom the tests of the doctor examine: a student's language model, and small models of ours."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.doctor import SENTENCES, Diagnosis
from minitransformer.models.bert import BertPreTrainedModel
from minitransformer.models.bert_config import BertConfig
from minitransformer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train([SENTENCES], vocab_size=120)
VOCABULARY, WIDTH, LENGTH = TOKENIZER.vocab_size, 16, 9
Batch = dict[str, Tensor]


def small_bert(kind: type[BertPreTrainedModel], **changes: Any) -> BertPreTrainedModel:
    """One of our models, untrained, with a block of width 16."""
    torch.manual_seed(1)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 31}
    return kind(BertConfig(**{"vocab_size": VOCABULARY, "max_position_embeddings": 40, **sizes, **changes}))


class Student(nn.Module):
    """A language model as a student writes it, of one block and a tied output; each mistake changes one method."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__()
        self.word = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.drop = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(WIDTH)
        self.decoder = nn.Linear(WIDTH, VOCABULARY, bias=False)
        nn.init.normal_(self.word.weight, std=0.1)
        self.decoder.weight = self.word.weight

    def may_attend(self, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril() & (mask[:, None] > 0)

    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        score = self.query(x) @ self.key(x).mT / math.sqrt(WIDTH)
        return self.norm(x + score.masked_fill(~self.may_attend(mask), -torch.inf).softmax(-1) @ self.value(x))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        x = self.word(input_ids) + self.position.weight[: input_ids.shape[1]]
        logits = self.decoder(self.read(self.drop(x), attention_mask))
        return {"loss": None if labels is None else self.loss(logits, labels), "logits": logits}


def student_batch() -> Batch:
    """Rows of different lengths, to be continued word by word."""
    ids = torch.randint(5, VOCABULARY, (4, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(LENGTH) < torch.tensor([[9], [5], [7], [8]])).long()
    return {"input_ids": ids[:, :-1], "attention_mask": mask, "labels": ids[:, 1:].masked_fill(mask == 0, -100)}


def failed(diagnosis: Diagnosis) -> list[str]:
    """The names of the checks that failed."""
    return [check.name for check in diagnosis.failures]


def found(diagnosis: Diagnosis, name: str) -> str:
    """What a check found."""
    return next(check.found for check in diagnosis.checks if check.name == name)


def not_judged(diagnosis: Diagnosis) -> list[str]:
    """The names of the checks that could not be judged."""
    return [check.name for check in diagnosis.checks if check.passed is None]
