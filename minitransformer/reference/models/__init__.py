"""Which parts in which order, in NumPy: one file for each family."""

from minitransformer.reference.models import bert

__all__ = ["bert"]
