"""The equations of kernels that are written by hand, in NumPy."""

from minitransformer.reference.kernels import tiled

__all__ = ["tiled"]
