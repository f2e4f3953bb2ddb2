"""The same equations in NumPy: float64, naive, straight from the papers, with their gradients derived by hand.

Each file, function and equation tag has its twin in PyTorch under the same name. Nothing here is fast or guarded: it
says what the equation says, and is what the tests judge everything else by. A module becomes a function in snake case,
whose first argument holds the parameters under the names of its twin's `state_dict()`.
"""

from minitransformer.reference import (
    attention,
    blocks,
    dropout,
    embeddings,
    feed_forward,
    heads,
    initialisation,
    kernels,
    losses,
    models,
    norm,
    optimizer,
    parameters,
    positions,
    schedules,
    visibility,
    word_vectors,
)

__all__ = [
    "attention",
    "blocks",
    "dropout",
    "embeddings",
    "feed_forward",
    "heads",
    "initialisation",
    "kernels",
    "losses",
    "models",
    "norm",
    "optimizer",
    "parameters",
    "positions",
    "schedules",
    "visibility",
    "word_vectors",
]
