"""The laws of every equation, to judge our functions by, or anyone's."""

from minitransformer.laws import (
    adapters,
    attention,
    feed_forward,
    losses,
    masked_lm,
    next_sentence,
    norm,
    optimizer,
    positions,
    visibility,
    word_vectors,
)
from minitransformer.laws.checking import check, check_file, laws_of
from minitransformer.laws.claims import CLAIMS
from minitransformer.laws.explaining import explain
from minitransformer.laws.judging import Finding, Table
from minitransformer.laws.law import CATALOGUE, Law
from minitransformer.laws.report import Report

__all__ = [
    "CATALOGUE",
    "CLAIMS",
    "Finding",
    "Law",
    "Report",
    "Table",
    "adapters",
    "attention",
    "check",
    "check_file",
    "explain",
    "feed_forward",
    "laws_of",
    "losses",
    "masked_lm",
    "next_sentence",
    "norm",
    "optimizer",
    "positions",
    "visibility",
    "word_vectors",
]
