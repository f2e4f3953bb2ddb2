"""Ids to batches: segments joined, rows padded, words masked, labels beside their tokens."""

from minitransformer.batches.datasets import NextSentencePairs, TextClassification, assemble_pairs
from minitransformer.batches.examples import Batch, Example, Ragged
from minitransformer.batches.masking import (
    DataCollatorForLanguageModeling,
    DataCollatorForWholeWordMask,
    MaskedLanguageCollator,
)
from minitransformer.batches.padding import DataCollatorWithPadding, PaddingCollator, default_data_collator, pad
from minitransformer.batches.sequences import (
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
)

__all__ = [
    "Batch",
    "DataCollatorForLanguageModeling",
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorForWholeWordMask",
    "DataCollatorWithPadding",
    "Example",
    "MaskedLanguageCollator",
    "NextSentencePairs",
    "PaddingCollator",
    "Ragged",
    "TextClassification",
    "assemble_pairs",
    "default_data_collator",
    "pad",
]
