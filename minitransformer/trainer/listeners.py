"""The callbacks of a trainer: a list that grows and shrinks."""

from typing import Any

from minitransformer.errors import InputError
from minitransformer.trainer.callbacks import TrainerCallback


class Listeners:
    """Who is told what happens."""

    callbacks: list[TrainerCallback]

    def add_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        """Tell one more."""
        self.callbacks.append(made(callback))

    def remove_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        """Tell one less: this one, or the first of this class.

        Raises: InputError if there is none.
        """
        if self.pop_callback(callback) is None:
            raise InputError(
                f"{callback!r} is none of the callbacks {[type(known).__name__ for known in self.callbacks]}"
            )

    def pop_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> TrainerCallback | None:
        """Tell one less, and give it; None if there is none."""
        for number, known in enumerate(self.callbacks):
            if known is callback or (isinstance(callback, type) and isinstance(known, callback)):
                return self.callbacks.pop(number)
        return None

    def stateful_callbacks(self) -> list[Any]:
        """The callbacks that want to be remembered."""
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]


def made(callback: TrainerCallback | type[TrainerCallback]) -> TrainerCallback:
    """A callback, or one of the class that was given."""
    return callback() if isinstance(callback, type) else callback
