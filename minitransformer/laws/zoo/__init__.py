"""The bug zoo: classic mistakes, each as a small wrong function, and which law notices which of them."""

from minitransformer.laws.zoo import (
    attention,
    feed_forward,
    losses,
    norm,
    objectives,
    optimizer,
    positions,
    visibility,
    word_vectors,
)
from minitransformer.laws.zoo.debugging import chosen, debug
from minitransformer.laws.zoo.matrix import Survey, kills, matrix_page, survey
from minitransformer.laws.zoo.mutant import ZOO, Mutant, mutant
from minitransformer.laws.zoo.showing import answer, listing, specimen

__all__ = [
    "ZOO",
    "Mutant",
    "Survey",
    "answer",
    "attention",
    "chosen",
    "debug",
    "feed_forward",
    "kills",
    "listing",
    "losses",
    "matrix_page",
    "mutant",
    "norm",
    "objectives",
    "optimizer",
    "positions",
    "specimen",
    "survey",
    "visibility",
    "word_vectors",
]
