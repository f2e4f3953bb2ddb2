"""Where to go on from: the newest checkpoint, by the name that Hugging Face's users look for it."""

from pathlib import Path

from minitransformer.checkpoint import newest_checkpoint


def get_last_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint of a run, or None if there is none.

    >>> get_last_checkpoint("a folder that is not there") is None
    True
    """
    newest = newest_checkpoint(Path(folder))
    return None if newest is None else str(newest)
