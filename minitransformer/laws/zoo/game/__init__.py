"""The debugging game: a small model as one file, with a mistake in it that is to be found."""

from minitransformer.laws.zoo.game.debugging import chosen, debug

__all__ = ["chosen", "debug"]
