"""The switch between the written equations and their fused twins, and that the two agree."""

import inspect
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from minitransformer import attention, dropout, feed_forward, kernels, losses, norm, optimizer
from minitransformer.errors import InputError
from minitransformer.laws.cases import AttentionCase, LossCase, VectorsCase, attention_cases, loss_cases, vectors_cases
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, assert_close

TWINS = [
    function
    for module in (attention, dropout, feed_forward, losses, norm, optimizer)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and name in vars(kernels.fused)
]
"""Every written equation that has a fused twin of the same name."""


def under_both(function: Callable[..., Tensor], *arguments: object, **options: object) -> tuple[Tensor, Tensor]:
    """The result of the written equation, and that of its twin."""
    with kernels.use("equations"):
        written = function(*arguments, **options)
    with kernels.use("fused"):
        return written, function(*arguments, **options)


def test_fused_kernels_are_in_use_unless_told_otherwise() -> None:
    assert kernels.active() == "fused"


def test_a_block_chooses_kernels_for_itself_only() -> None:
    with kernels.use("equations"):
        assert kernels.active() == "equations"
        with kernels.use("fused"):
            assert kernels.active() == "fused"
        assert kernels.active() == "equations"
    assert kernels.active() == "fused"


def test_an_error_in_a_block_gives_the_kernels_back() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), kernels.use("equations"):
        raise RuntimeError("on purpose")
    assert kernels.active() == "fused"


def test_without_a_block_the_choice_stays() -> None:
    before = kernels.use("equations")
    assert kernels.active() == "equations"
    before.__exit__(None, None, None)
    assert kernels.active() == "fused"


def test_kernels_that_do_not_exist_are_refused_and_change_nothing() -> None:
    with pytest.raises(
        InputError, match=r"kind='flash' is not one of \('equations', 'fused', 'tiled', 'triton'\); use .*'fused'"
    ):
        kernels.use("flash")
    assert kernels.active() == "fused"


def test_every_fused_kernel_has_an_equation() -> None:
    fused = {
        name
        for name, function in vars(kernels.fused).items()
        if inspect.isfunction(function) and (function.__doc__ or "").startswith("Fused twin of")
    }
    assert {function.__name__ for function in TWINS} == fused
    assert len(fused) == 15


@pytest.mark.parametrize("equation", TWINS, ids=lambda function: function.__name__)
def test_twins_take_the_same_arguments(equation: Callable[..., Tensor]) -> None:
    ours, twin = inspect.signature(equation), inspect.signature(getattr(kernels.fused, equation.__name__))
    assert [(each.name, each.default) for each in ours.parameters.values()] == [
        (each.name, each.default) for each in twin.parameters.values()
    ]


class Operations(TorchDispatchMode):
    """Notes which operations PyTorch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Note the operation, and run it."""
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("equation", TWINS, ids=lambda function: function.__name__)
def test_the_switch_decides_which_twin_runs(equation: Callable[..., Tensor], without_shape_checks: None) -> None:
    """The written equation and its twin run other operations, so the switch reaches every one of them."""
    x = torch.ones(2, 3)
    arguments = {
        "dropout": (x, 0.5),
        "layer_norm": (x, x[0], x[0]),
        "rms_norm": (x, x[0]),
        "scaled_dot_product_attention": (x, x, x),
        "token_cross_entropy": (x, torch.tensor([1, 2])),
        "binary_cross_entropy": (x, x),
        "global_norm": ([x],),
        "linear_together": (x, [torch.nn.Linear(3, 2), torch.nn.Linear(3, 5)]),
        "projected_cross_entropy": (x, nn.Linear(3, 4), torch.tensor([1, 2])),
        "adamw_update": ([x.clone()], [x], [x.clone()], [x.clone()], 1, 0.1, (0.9, 0.999), 1e-8, 0.0),
    }.get(equation.__name__, (x,))
    run = {}
    for kind in ("equations", "fused"):
        with kernels.use(kind), Operations() as operations:
            equation(*arguments)
        run[kind] = operations.names
    assert run["equations"] != run["fused"]


@pytest.mark.equation("softmax", "log-softmax", "gelu", "gelu-tanh", "relu", "layer-norm", "rms-norm")
@given(case=vectors_cases())
def test_fused_functions_of_vectors_agree_with_the_written_ones(case: VectorsCase) -> None:
    """Softmax, activations and norms give the same under both kernels."""
    size = 1 + float(case.x.abs().max())
    for axis in (0, -1):
        assert_close(*under_both(attention.softmax, case.x, axis), SUM, size)
        assert_close(*under_both(attention.log_softmax, case.x, axis), SUM, size)
    for activation in (feed_forward.gelu, feed_forward.gelu_tanh, feed_forward.relu):
        assert_close(*under_both(activation, case.x), ROUNDING, size)
    assert_close(*under_both(norm.layer_norm, case.x, case.gain, case.bias, case.eps), SUM, case.scale)
    assert_close(*under_both(norm.rms_norm, case.x, case.gain, case.eps), SUM, case.scale)


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_fused_attention_agrees_with_the_written_one(case: AttentionCase) -> None:
    """Attention, and its gradients, are the same under both kernels, also for queries that see nothing."""
    inputs = [tensor.clone().requires_grad_() for tensor in (case.query, case.key, case.value)]
    written, fused = under_both(attention.scaled_dot_product_attention, *inputs, case.may_attend)
    assert_close(fused, written, SUM, case.scale)
    weights = torch.linspace(-1, 1, written[0, 0].numel(), dtype=case.dtype)
    largest = max(float(tensor.detach().abs().max()) for tensor in inputs)
    size = case.scale * case.score_size * max(1.0, largest)
    for one, other in zip(
        torch.autograd.grad((written * weights).sum(), inputs),
        torch.autograd.grad((fused * weights).sum(), inputs),
        strict=True,
    ):
        assert_close(other, one, LAYER, size, what="a gradient under the fused kernel")


@pytest.mark.equation("token-cross-entropy", "cross-entropy", "binary-cross-entropy")
@given(case=loss_cases())
def test_fused_losses_agree_with_the_written_ones(case: LossCase) -> None:
    """The losses are the same under both kernels."""
    written, fused = under_both(losses.token_cross_entropy, case.logits, case.classes, case.label_smoothing)
    assert_close(fused, written, SUM, case.scale)
    written, fused = under_both(losses.cross_entropy, case.logits, case.target, label_smoothing=case.label_smoothing)
    assert_close(fused, written, SUM, case.scale)
    written, fused = under_both(losses.binary_cross_entropy, case.logits[..., 0], case.classes % 2)
    assert_close(fused, written, SUM, case.scale)


@pytest.mark.equation("token-cross-entropy")
@given(seed=st.integers(0, 2**31), size=st.sampled_from([1e-3, 1.0, 1e3]), shares=st.sampled_from(["equal", "own"]))
def test_scores_that_become_their_gradient_give_the_loss_and_the_gradients_of_the_written_ones(
    seed: int, size: float, shares: str
) -> None:
    """Kills: a target that is not subtracted, a row without its own share of the loss, a bias left out, an overflow."""
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    x, weight, bias = draw(5, 3) * size, draw(7, 3), draw(7)
    target = torch.randint(7, (5,), generator=generator)
    share = torch.ones(5, dtype=torch.float64) if shares == "equal" else draw(5)
    results = {}
    for kind in ("equations", "fused"):
        layer, asked = nn.Linear(3, 7, dtype=torch.float64), x.clone().requires_grad_()
        layer.load_state_dict({"weight": weight, "bias": bias})
        with kernels.use(kind):
            surprise = losses.projected_cross_entropy(asked, layer, target)
        (surprise * share).sum().backward()
        results[kind] = (surprise.detach(), asked.grad, layer.weight.grad, layer.bias.grad)
    for written, fused in zip(*results.values(), strict=True):
        assert_close(fused, written, LAYER, 1 + size * float(written.abs().max()))


class Doubled(nn.Linear):
    """Somebody's own layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice what the weights say."""
        return 2 * super().forward(x)


def test_a_layer_that_is_more_than_its_weights_is_asked_itself() -> None:
    """Kills: reading the weights of an adapter's layer, or one with hooks, past what it does."""
    x, target = torch.ones(2, 3), torch.tensor([0, 1])
    doubled, hooked = Doubled(3, 5), nn.Linear(3, 5)
    hooked.register_forward_hook(lambda _layer, _given, answer: answer + 1)
    for layer in (doubled, hooked, nn.Linear(3, 5, bias=False)):
        for written, fused in zip(*under_both(attention.linear_together, x, [layer, layer]), strict=True):
            assert torch.equal(written, fused)
        written, fused = under_both(losses.projected_cross_entropy, x, layer, target)
        assert_close(fused, written, LAYER, 1 + float(written.detach().abs().max()))


def test_layers_together_give_what_each_gives_alone() -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layers = [nn.Linear(3, width, dtype=torch.float64) for width in (2, 7, 2)]
    written, fused = under_both(attention.linear_together, x, layers)
    for alone, together in zip(written, fused, strict=True):
        assert_close(together, alone, LAYER, 1 + float(alone.detach().abs().max()))


@pytest.mark.equation("adamw", "global-norm")
@given(case=vectors_cases(kinds=("ordinary",)))
def test_fused_steps_agree_with_the_written_ones(case: VectorsCase) -> None:
    """AdamW moves parameters and both means alike under both kernels, and a norm is the same."""
    written, fused = under_both(optimizer.global_norm, [case.x, case.gain])
    assert_close(fused, written, SUM, float(written.detach()))
    results = []
    for kind in ("equations", "fused"):
        state = [case.x.clone(), torch.zeros_like(case.x), torch.zeros_like(case.x)]
        with kernels.use(kind):
            for step in (1, 2, 3):
                optimizer.adamw_update(
                    [state[0]], [step * case.x], [state[1]], [state[2]], step, 0.1, (0.9, 0.99), 1e-6, 0.1
                )
        results.append(state)
    for one, other in zip(*results, strict=True):
        assert_close(other, one, SUM, 1 + float(case.x.abs().max()) ** 2)
