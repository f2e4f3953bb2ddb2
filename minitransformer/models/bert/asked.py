"""What a batch asks of a model, found before anything is computed: where to answer, and where tokens are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from minitransformer.errors import InputError
from minitransformer.losses import IGNORED
from minitransformer.rows import Rows
from minitransformer.visibility import padding


@dataclass(frozen=True, eq=False)
class Asked:
    """Where a loss wants answers, how many, and what may be read for them.

    All of it follows from labels and masks. Found while these are still in the processor's memory, and brought `to` an
    accelerator with them, it leaves nothing that the processor would have to wait for in a step.
    """

    positions: Int[Tensor, "B P"]
    """Of each row the first position, which is [CLS], then those with a label."""
    labelled: Int[Tensor, " N"]
    """Which of the B·P positions have a label."""
    counts: dict[str, int]
    """How many labels each part of the loss is over."""
    may_attend: Bool[Tensor, "B 1 1 L"] | None
    """Which positions may be read, unless all may."""
    rows: Rows | None
    """The rows without their padding, if leaving it out is worth it."""

    @classmethod
    def of_tokens(
        cls, labels: Int[Tensor, "B L"], attention_mask: Num[Tensor, "B L"] | None, counts: dict[str, int]
    ) -> "Asked":
        """Answers are wanted at the first token, and where `labels` say a word or a class.

        Raises: InputError for a mask of another shape.
        """
        positions = asked_positions(labels)
        labelled = (labels.gather(1, positions) != IGNORED).flatten().nonzero()[:, 0]
        may_attend = visible(attention_mask)
        can_skip = attention_mask is not None and not asks_for_padding(labels, attention_mask)
        return cls(positions, labelled, counts, may_attend, rows_of(attention_mask) if can_skip else None)

    @classmethod
    def of_rows(
        cls, n_rows: int, device: torch.device, attention_mask: Num[Tensor, "B L"] | None, counts: dict[str, int]
    ) -> "Asked":
        """One answer is wanted of each row, at its first token."""
        first = torch.zeros(n_rows, 1, dtype=torch.long, device=device)
        of_all = torch.arange(n_rows, device=device)
        return cls(first, of_all, counts, visible(attention_mask), rows_of(attention_mask))

    def to(self, device: torch.device, non_blocking: bool = False) -> "Asked":
        """The same on a device."""
        positions, labelled = (x.to(device, non_blocking=non_blocking) for x in (self.positions, self.labelled))
        may_attend = None if self.may_attend is None else self.may_attend.to(device, non_blocking=non_blocking)
        rows = None if self.rows is None else self.rows.to(device, non_blocking)
        return Asked(positions, labelled, self.counts, may_attend, rows)


def visible(attention_mask: Num[Tensor, "B L"] | None) -> Bool[Tensor, "B 1 1 L"] | None:
    """Which positions may be read, unless all may.

    Raises: InputError for a mask of anything but 0 and 1.
    """
    may_attend = None if attention_mask is None else padding(attention_mask)
    return None if may_attend is None or may_attend.all() else may_attend


def rows_of(attention_mask: Num[Tensor, "B L"] | None) -> Rows | None:
    """The rows of a batch without their padding, if it is worth it."""
    return None if attention_mask is None else Rows.worth_packing(attention_mask)


def count_of(labels: Int[Tensor, "..."]) -> int:
    """How many labels count.

    >>> count_of(torch.tensor([3, -100]))
    1
    """
    return int((labels != IGNORED).sum())


def asked_positions(labels: Int[Tensor, "B L"]) -> Int[Tensor, "B P"]:
    """Of each row the first position, which is [CLS], then those with a label; shorter rows are filled with others.

    >>> asked_positions(torch.tensor([[-100, -100, 7, 8], [-100, 9, -100, -100]])).tolist()
    [[0, 2, 3], [0, 1, 2]]
    """
    is_asked = labels != IGNORED
    is_asked[:, 0] = True
    in_order = is_asked.int().argsort(dim=1, descending=True, stable=True)
    return in_order[:, : int(is_asked.sum(dim=1).max())]


def asks_for_padding(labels: Int[Tensor, "B L"], attention_mask: Num[Tensor, "B L"]) -> bool:
    """Whether a label stands at padding, so that something has to be computed there too.

    Raises: InputError for a mask of another shape.

    >>> asks_for_padding(torch.tensor([[7, 8]]), torch.tensor([[1, 0]]))
    True
    """
    if labels.shape != attention_mask.shape:
        raise InputError(
            f"labels have shape {tuple(labels.shape)}, but attention_mask has {tuple(attention_mask.shape)}; "
            "give one of each for each token"
        )
    return bool(((labels != IGNORED) & (attention_mask == 0)).any())
