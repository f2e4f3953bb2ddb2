"""A batch changed in one respect."""

import torch
from torch import Tensor

from minitransformer.batches import Batch
from minitransformer.doctor.diagnosis import NotJudgedError
from minitransformer.losses import IGNORED


def other_ids(ids: Tensor) -> Tensor:
    """Each id replaced by another one of the batch, which the model therefore knows.

    >>> other_ids(torch.tensor([[5, 6, 9]])).tolist()
    [[9, 5, 5]]
    """
    lowest, highest = ids.min(), ids.max()
    if lowest == highest:
        raise NotJudgedError("all ids of the batch are the same")
    return torch.where(ids == lowest, highest, lowest)


def other_labels(labels: Tensor) -> Tensor:
    """Each label that counts replaced by another one.

    >>> other_labels(torch.tensor([-100, 3, 7, 7])).tolist(), other_labels(torch.tensor([0.0, 0.0])).tolist()
    ([-100, 7, 3, 3], [1.0, 1.0])
    """
    counts = labels != IGNORED
    if not counts.any():
        raise NotJudgedError("no label counts")
    lowest, highest = labels[counts].min(), labels[counts].max()
    if lowest == highest:
        highest = (lowest == 0).to(labels.dtype)
    return torch.where(counts, torch.where(labels == lowest, highest, lowest), labels)


def rows(batch: Batch, numbers: Tensor) -> Batch:
    """Some examples of a batch; what is the same for all of them stays."""
    n_examples = len(batch["input_ids"])
    return {
        name: value[numbers.to(value.device)] if value.dim() and len(value) == n_examples else value
        for name, value in batch.items()
    }


def columns(batch: Batch, kept: slice) -> Batch:
    """Some positions of a batch; what has no positions stays."""
    length = batch["input_ids"].shape[1]
    return {
        name: value[:, kept] if value.dim() > 1 and value.shape[1] == length else value for name, value in batch.items()
    }
