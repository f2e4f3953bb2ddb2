"""Attention by tiles beyond its laws: its slopes, its memory, its draws, and what it skips."""

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minitransformer import attention, kernels, visibility
from minitransformer.errors import InputError
from minitransformer.kernels import tiled
from minitransformer.laws.cases import numbers
from minitransformer.laws.tolerances import LAYER, SUM, assert_close, assert_same

N_QUERIES, N_KEYS, TILE = 5, 7, (2, 3)


def inputs(n_queries: int = N_QUERIES, n_keys: int = N_KEYS, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values of two examples with two heads, as leaves."""
    shapes = {"query": (n_queries, 3), "key": (n_keys, 3), "value": (n_keys, 4)}
    return [numbers(1, name, 2, 2, *shape, dtype=dtype).requires_grad_() for name, shape in shapes.items()]


def rule() -> Tensor:
    """Who may attend to whom, one rule for both heads; one query sees nothing."""
    may_attend = numbers(2, "may attend", 2, 1, N_QUERIES, N_KEYS) > 0
    may_attend[0, 0, 2] = False
    return may_attend


def drawn_anew(*given: Tensor, may_attend: Tensor | None = None) -> Tensor:
    torch.manual_seed(3)
    return tiled.read_by_tiles(*given, may_attend, dropout_rate=0.3, tile=TILE)


@pytest.mark.equation("tiled-attention-gradient")
@pytest.mark.parametrize(
    "read",
    [
        lambda *given: tiled.read_by_tiles(*given, rule()[:1, :, :3, :4], tile=TILE),
        lambda *given: tiled.read_by_tiles(*given, rule()[:1, :, :1, :4], scale=0.3, tile=(3, 2)),
        lambda *given: tiled.read_by_tiles(*given, causal=True, tile=TILE),
        drawn_anew,
    ],
    ids=["a query that sees nothing", "padding", "the past", "dropout"],
)
def test_what_goes_back_by_tiles_is_the_slope(read: Callable[..., Tensor]) -> None:
    """The gradients agree with central differences: under rules, for queries that see nothing, and under dropout."""
    one_example = [x.detach()[:1].requires_grad_() for x in inputs(n_queries=3, n_keys=4)]
    assert torch.autograd.gradcheck(read, one_example)


class Sizes(TorchDispatchMode):
    """Notes how large the largest tensor is that PyTorch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self, function: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run the operation, and look at what it gives."""
        result = function(*args, **(kwargs or {}))
        given = result if isinstance(result, tuple | list) else [result]
        self.largest = max([self.largest, *(each.numel() for each in given if isinstance(each, Tensor))])
        return result


@pytest.mark.equation("tiled-attention", "tiled-attention-gradient")
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"dropout_rate": 0.2}], ids=["all", "the past", "dropout"])
def test_no_tensor_of_the_size_of_the_matrix_is_made(options: dict[str, object]) -> None:
    """There and back, no tensor is as large as one head's matrix of queries by keys, nor as a rule for all heads."""
    length = 96
    query, key, value = inputs(length, length)
    padding = torch.ones(2, 1, 1, length, dtype=torch.bool)
    with Sizes() as sizes:
        tiled.read_by_tiles(query, key, value, padding, tile=(16, 16), **options).sum().backward()
    assert 0 < sizes.largest < length * length
    with kernels.use("equations"), Sizes() as sizes:
        attention.scaled_dot_product_attention(query, key, value, padding).sum().backward()
    assert sizes.largest >= length * length


@pytest.mark.equation("tiled-attention")
@pytest.mark.parametrize("anything", [math.nan, math.inf, -math.inf])
def test_what_nobody_may_read_may_hold_anything(anything: float) -> None:
    """Padding may hold NaN or ±∞: what is read and what goes back stay the same, bit for bit."""
    padding = torch.tensor([True, True, False, True, False, False, False])
    found = []
    for held in (0.0, anything):
        query, key, value = (x.detach() for x in inputs())
        key, value = (x.masked_fill(~padding[:, None], held).requires_grad_() for x in (key, value))
        read = tiled.read_by_tiles(query, key, value, padding, tile=TILE)
        found.append((read, *torch.autograd.grad(read.sum(), (key, value))))
    for one, other in zip(*found, strict=True):
        assert_same(other, one)


@pytest.mark.equation("tiled-attention", "causal-visibility")
def test_the_past_is_the_causal_rule_and_later_tiles_are_skipped() -> None:
    """`causal` reads what the causal rule reads, together with another rule, and skips the tiles of the future."""
    query, key, value = inputs(8, 8)
    padding = torch.arange(8) < 6
    by_rule = tiled.read_by_tiles(query, key, value, visibility.causal(8) & padding, tile=(2, 2))
    assert_same(tiled.read_by_tiles(query, key, value, padding, causal=True, tile=(2, 2)), by_rule)
    one_head = (query[0, 0], key[0, 0], value[0, 0])
    for may_attend, causal, n_tiles in ((None, False, 16), (None, True, 10), (padding, True, 9)):
        assert len(list(tiled.tiles(*one_head, may_attend, None, (2, 2), causal, 0.0, 0))) == n_tiles


@pytest.mark.equation("tiled-attention", "dropout")
def test_dropout_follows_the_seed() -> None:
    """The same seed drops the same, another one something else, and other draws of the program come after it."""
    first, again = (drawn_anew(*inputs(), may_attend=rule()) for _ in range(2))
    assert_same(again, first)
    assert (tiled.read_by_tiles(*inputs(), rule(), dropout_rate=0.3, tile=TILE) != first).any()


def test_a_rate_of_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"dropout_rate=1.0 must be at least 0 and below 1; 0.1 is usual"):
        tiled.scaled_dot_product_attention(*inputs(), dropout_rate=1.0)


@pytest.mark.equation("tiled-attention")
def test_sums_are_not_rounded_under_autocast() -> None:
    """Under autocast float32 stays float32, there and back."""
    given = inputs(dtype=torch.float32)
    plain = tiled.scaled_dot_product_attention(*given)
    with torch.autocast("cpu", torch.bfloat16):
        read = tiled.scaled_dot_product_attention(*given)
        gradients = torch.autograd.grad(read.sum(), given)
    assert_same(read, plain)
    for one, other in zip(gradients, torch.autograd.grad(plain.sum(), given), strict=True):
        assert_same(one, other)


@pytest.mark.equation("tiled-attention")
def test_axes_broadcast_as_in_the_equation() -> None:
    """Keys for all heads, values for one example, a rule for single keys: what broadcasts there broadcasts here."""
    query, key, value = inputs()
    rules = [None, rule(), rule()[0, 0], rule()[0, 0, 0], torch.ones(N_QUERIES, 1, dtype=torch.bool), rule()[None]]
    for q, k, v in ((query, key[:, :1], value[:1]), (query[0, 0], key, value), (query[0, 0], key[0, 0], value[0, 0])):
        for may_attend in rules:
            with kernels.use("equations"):
                written = attention.scaled_dot_product_attention(q, k, v, may_attend)
            with kernels.use("tiled"):
                by_tiles = attention.scaled_dot_product_attention(q, k, v, may_attend)
            assert_close(by_tiles, written, SUM)
            for one, other in zip(*(torch.autograd.grad(x.sum(), (q, k, v)) for x in (by_tiles, written)), strict=True):
                assert_close(one, other, LAYER)


def test_by_tiles_everything_but_attention_is_what_is_written() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    with kernels.use("tiled"):
        assert type(attention.softmax(x).grad_fn).__name__ == "DivBackward0"
        assert type(attention.scaled_dot_product_attention(x, x, x).grad_fn).__name__ == "TiledAttentionBackward"


def test_the_tiled_twin_takes_the_same_arguments() -> None:
    ours, twin = map(inspect.signature, (attention.scaled_dot_product_attention, tiled.scaled_dot_product_attention))
    assert [(each.name, each.default) for each in ours.parameters.values()] == [
        (each.name, each.default) for each in twin.parameters.values()
    ]


@pytest.mark.parametrize(("leading", "n_queries", "n_keys"), [((), 5, 7), ((3,), 2, 3), ((2, 5), 3, 4)])
def test_tiles_cover_the_matrix_once(leading: tuple[int, ...], n_queries: int, n_keys: int) -> None:
    """Every query meets every key in exactly one tile."""
    met = torch.zeros(*leading, n_queries, n_keys)
    for queries, keys in tiled.places(torch.Size([*leading, n_queries, 2]), n_keys, (2, 3)):
        met[(*queries, keys[-1])] += 1
    assert_same(met, torch.ones_like(met))
