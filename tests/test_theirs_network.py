"""The feed-forward network as others write it, before the same laws: every law holds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.laws import adapters, check

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")

EXAMPLES = 12


def sequential(d_model: int, d_ff: int) -> nn.Sequential:
    """PyTorch's own parts in a row."""
    return nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))


class PositionwiseFeedForward(nn.Module):
    """As a well-known text writes it, with its dropout between the maps."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return self.w_2(self.dropout(self.w_1(x).relu()))  # type: ignore[no-any-return]


class Convolutions(nn.Module):
    """As two convolutions of width 1, whose channels are the columns."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv1d(d_model, d_ff, 1), nn.Conv1d(d_ff, d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Channels stand before positions there."""
        return self.outer(self.inner(x.mT).relu()).mT  # type: ignore[no-any-return]


def with_an_axis_of_width_one(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as the kernels of convolutions."""
    return {name: tensor[..., None] if name.endswith("weight") else tensor for name, tensor in ours.items()}


class KerasNetwork(nn.Module):
    """As Keras keeps it: kernels with a column for each output, and the call under its own name."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        shapes = {"dense_kernel": (d_model, d_ff), "dense_bias": (d_ff,)}
        shapes |= {"dense_1_kernel": (d_ff, d_model), "dense_1_bias": (d_model,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def call(self, inputs: Tensor) -> Tensor:
        """Both layers."""
        units = (inputs @ self.dense_kernel + self.dense_bias).relu()
        return units @ self.dense_1_kernel + self.dense_1_bias


def keras_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices transposed, under the names of layers."""
    return {
        "dense_kernel": ours["inner.weight"].T,
        "dense_bias": ours["inner.bias"],
        "dense_1_kernel": ours["outer.weight"].T,
        "dense_1_bias": ours["outer.bias"],
    }


def in_numpy(parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The reference is a NumPy function like anyone's."""
    return reference.feed_forward.feed_forward(parameters, np.asarray(x)).astype(x.dtype)


THEIRS: dict[str, Any] = {
    "nn.Sequential": adapters.module(sequential, {"inner": "0", "outer": "2"}),
    "a well-known text": adapters.module(PositionwiseFeedForward, {"inner": "w_1", "outer": "w_2"}),
    "convolutions": adapters.module(Convolutions, translate=with_an_axis_of_width_one),
    "Keras": adapters.module(KerasNetwork, translate=keras_names, call=lambda network, x: network.call(x)),
    "NumPy": in_numpy,
}


@pytest.mark.parametrize("name", THEIRS)
def test_their_network_keeps_every_law(name: str) -> None:
    report = check(THEIRS[name], "feed-forward", max_examples=EXAMPLES)
    assert report.passed, str(report)
    assert all(name == "NumPy" and " has no " in finding.message for finding in report.not_judged), str(report)


class ActivationLast(nn.Module):
    """The activation after the second map."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """In the wrong place."""
        return self.outer(self.inner(x)).relu()  # type: ignore[no-any-return]


def test_a_wrong_network_is_told_where_it_parts_on_a_case_that_fits_a_page() -> None:
    report = check(ActivationLast, "feed-forward", max_examples=EXAMPLES)
    failures = {failure.law: failure for failure in report.failures}
    assert "changing_other_positions_changes_nothing_here" not in failures
    failure = failures["open_units_pass_everything"]
    assert failure.equation == "eq:feed-forward: FFN(x) = f(x W₁ + b₁) W₂ + b₂"
    assert [table.title.split(" = ")[0] for table in failure.counterexample] == [
        "parameters['inner.weight']",
        "parameters['inner.bias']",
        "parameters['outer.weight']",
        "parameters['outer.bias']",
        "x",
        "returned",
    ]
    assert all(" = " in table.title and not table.rows for table in failure.counterexample), "each is one number"
