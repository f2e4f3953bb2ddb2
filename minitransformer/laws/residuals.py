"""Laws of residual connections: what the sublayer is given, and what becomes of its answer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.blocks import PostNorm
from minitransformer.laws.cases import Draw, distinct_sizes, numbers, randomise, seeds
from minitransformer.laws.guarding import Asked
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, as_arrays, assert_close, assert_same
from minitransformer.norm import LayerNorm

Function = Callable[..., Tensor]

BERT_EPS = 1e-12
SIZE_OF = {"ordinary": 1.0, "small": 1e-4, "large": 1e5}
"""How large the entries are: small ones show another eps, and large ones are more than float16 can hold."""


@dataclass(frozen=True)
class ResidualCase:
    """Vectors that a sublayer is asked about, and the parameters of the norm beside it."""

    batch: int
    length: int
    width: int
    kind: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        drawn = numbers(self.seed, "x", self.batch, self.length, self.width)
        return (SIZE_OF[self.kind] * drawn).to(self.dtype)

    @cached_property
    def upstream(self) -> Tensor:
        """What the loss gains for each entry of the result."""
        return numbers(self.seed, "upstream", *self.x.shape, dtype=self.dtype)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """A gain and a bias for the norm, under the names that both residual connections use."""
        return dict(randomise(PostNorm(LayerNorm(self.width)), self.seed, self.dtype).state_dict())

    @property
    def place(self) -> tuple[int, int]:
        """The position that is looked at while all others change."""
        return self.seed % self.batch, self.seed % self.length


@st.composite
def residual_cases(
    draw: Draw,
    kinds: tuple[str, ...] = ("ordinary",),
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
) -> ResidualCase:
    """Vectors down to a single position; a norm over two columns or one is a matter of sign, so those are left out."""
    batch, length, width = draw(distinct_sizes(3, may_be_one=(0, 1)).filter(lambda sizes: sizes[-1] > 2))
    return ResidualCase(
        batch=batch,
        length=length,
        width=width,
        kind=draw(st.sampled_from(kinds)),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
    )


def sublayer(words: str) -> Asked:
    """A sublayer that answers to tensors and to arrays alike."""
    return Asked(words, {"0 · x": lambda x: 0 * x, "−x": lambda x: -x, "3 · x": triple, "x² − 2": parabola}[words])


def triple(x: Tensor) -> Tensor:
    """Three times what was asked about."""
    return 3 * x


def parabola(x: Any) -> Any:
    """What no norm can take for a multiple of x."""
    return x * x - 2


def norm_of(case: ResidualCase, x: Tensor) -> Tensor:
    """The norm of the reference, with the parameters of the case."""
    gain, bias = (as_array(case.parameters[f"norm.{name}"]) for name in ("gain", "bias"))
    return torch.from_numpy(reference.norm.layer_norm(as_array(x), gain, bias))


def norm_scale(x: Tensor) -> float:
    """How much a norm can magnify the rounding of what it is given: the largest entry over the least deviation."""
    deviation = float(x.detach().double().std(dim=-1, correction=0).min())
    return 1 + float(x.detach().abs().max()) / math.sqrt(deviation**2 + BERT_EPS)


def gradients_of(residual: Function, case: ResidualCase, asked: Asked) -> tuple[Tensor, ...]:
    """What autograd passes back to the input, the gain and the bias."""
    gain, bias = (case.parameters[f"norm.{name}"].clone().requires_grad_() for name in ("gain", "bias"))
    x = case.x.clone().requires_grad_()
    result = residual({"norm.gain": gain, "norm.bias": bias}, x, asked)
    assert result.requires_grad, "the result should pass gradients back, but is cut off from what it came from"
    return torch.autograd.grad(result, (x, gain, bias), case.upstream, materialize_grads=True)


def assert_asked_once(asked: Asked) -> Tensor:
    """Fail unless the sublayer was asked a single time; what it was asked about."""
    count = len(asked.questions)
    assert count == 1, f"the sublayer should be asked once, but was asked {count} times"
    question: Tensor = asked.questions[0]
    return question


# Post-norm


@law("post-norm", given=residual_cases())
def the_sublayer_is_asked_once_about_the_input_as_it_is(post_norm: Function, case: ResidualCase) -> None:
    """The sublayer is asked a single time, about the input as it is, bit for bit.

    Kills: the input normalised for the sublayer; a sublayer that is asked twice, or about its own answer.
    Hint: Print what the sublayer is given, each time that it is called. What should stand there, and how often?
    """
    asked = sublayer("x² − 2")
    post_norm(case.parameters, case.x, asked)
    assert_same(assert_asked_once(asked), case.x, what="what the sublayer is given")


@law("post-norm", given=residual_cases())
def a_sublayer_that_says_nothing_leaves_the_norm_of_the_input(post_norm: Function, case: ResidualCase) -> None:
    """Where the sublayer answers 0, the norm of the input is left.

    Kills: the residual forgotten; the norm of the answer alone; a norm too many.
    Hint: Let the sublayer answer 0. By which way does the input still reach the result, and what does it pass through?
    """
    actual = post_norm(case.parameters, case.x, sublayer("0 · x"))
    assert_close(actual, norm_of(case, case.x), SUM, norm_scale(case.x), what="the norm of the input")


@law("post-norm", given=residual_cases())
def a_sublayer_that_takes_the_input_away_leaves_the_bias(post_norm: Function, case: ResidualCase) -> None:
    """Where the sublayer answers −x, nothing is left to normalise, and the result is the bias, exactly.

    Kills: the residual forgotten; the norm before the sum; the residual or the answer scaled or partly dropped.
    Hint: x + (−x) is 0. What is the norm of 0, and which number of yours is not 0 before the norm?
    """
    actual = post_norm(case.parameters, case.x, sublayer("−x"))
    assert_same(actual, case.parameters["norm.bias"].expand_as(actual), what="the norm of nothing")


@law("post-norm", given=residual_cases())
def what_leaves_is_normalised(post_norm: Function, case: ResidualCase) -> None:
    """With a gain of 1 and a bias of 0, every position leaves with mean 0 and mean square 1.

    Kills: the norm before the sublayer, or around its answer alone; statistics over several positions.
    Hint: Take the mean and the mean square of one position of your result. Which step was the last to touch it?
    """
    plain = {"norm.gain": torch.ones_like(case.x[0, 0]), "norm.bias": torch.zeros_like(case.x[0, 0])}
    leaving = post_norm(plain, case.x, sublayer("3 · x")).double()
    scale = norm_scale(case.x)
    variance = (4 * case.x).double().var(dim=-1, correction=0)
    left = variance / (variance + BERT_EPS)
    assert_close(leaving.mean(-1).to(case.dtype), 0 * left, SUM, scale, what="the mean of a position")
    assert_close(leaving.square().mean(-1).to(case.dtype), left, SUM, scale, what="its mean square")


@law("post-norm", given=residual_cases())
def the_norm_of_the_sum_agrees_with_the_reference(post_norm: Function, case: ResidualCase) -> None:
    """The result is the norm of the input plus the sublayer's answer, as the reference has it.

    Kills: the norm before the sublayer; no residual; gain or bias forgotten; dropout in evaluation.
    Hint: Follow a single position: the answer, the sum, the norm. Which of the three is the first to differ?
    """
    actual = post_norm(case.parameters, case.x, sublayer("x² − 2"))
    arrays = as_arrays(case.parameters)
    expected = reference.blocks.post_norm(arrays, as_array(case.x), parabola)
    total = case.x + parabola(case.x)
    assert_close(actual, expected, SUM, norm_scale(total) + norm_scale(case.x), what="the norm of the sum")


@law("post-norm", given=residual_cases(kinds=("small",)))
def a_small_sum_is_normalised_like_any_other(post_norm: Function, case: ResidualCase) -> None:
    """A sum of small entries is normalised like any other: eps is 1e-12, far below their variance.

    Kills: PyTorch's eps of 1e-5 in place of BERT's 1e-12.
    Hint: The variance of entries around 1e-4 is 1e-8. Beside which number does your norm add it up?
    """
    actual = post_norm(case.parameters, case.x, sublayer("3 · x"))
    assert_close(actual, norm_of(case, 4 * case.x), SUM, norm_scale(case.x), what="the norm of a small sum")


@law("post-norm", given=residual_cases(), needs_gradient=True)
def the_gradient_reaches_the_input_through_both_ways_of_the_sum(post_norm: Function, case: ResidualCase) -> None:
    """The gradients of the input, the gain and the bias, derived by hand, agree with autograd.

    Kills: a residual or an answer that is detached; statistics without a gradient.
    Hint: The input reaches the sum directly and through the sublayer. Can autograd follow both ways?
    """
    total, gain = 4 * as_array(case.x), as_array(case.parameters["norm.gain"])
    for_total, *others = reference.norm.layer_norm_gradient(as_array(case.upstream), total, gain)
    computed = gradients_of(post_norm, case, sublayer("3 · x"))
    least = float(case.x.double().std(dim=-1, correction=0).min())
    scale = (norm_scale(case.x) + 1 / least) ** 2 * (1 + float(case.upstream.abs().sum()))
    for name, actual, expected in zip(("x", "gain", "bias"), computed, (4 * for_total, *others), strict=True):
        assert_close(actual, expected, LAYER, scale, what=f"the gradient of {name}")


# Pre-norm


@law("pre-norm", given=residual_cases())
def the_sublayer_is_asked_once_about_the_norm_of_the_input(pre_norm: Function, case: ResidualCase) -> None:
    """The sublayer is asked a single time, about the norm of the input.

    Kills: the sublayer given the input as it was; a sublayer that is asked twice, or about its own answer.
    Hint: Print what the sublayer is given, each time that it is called. What should stand there, and how often?
    """
    asked = sublayer("x² − 2")
    pre_norm(case.parameters, case.x, asked)
    question = assert_asked_once(asked)
    assert_close(question, norm_of(case, case.x), SUM, norm_scale(case.x), what="what the sublayer is given")


@law("pre-norm", given=residual_cases())
def the_answer_is_added_to_the_input_as_it_was(pre_norm: Function, case: ResidualCase) -> None:
    """The sublayer's answer is added to the input as it was, bit for bit.

    Kills: the residual taken from the normalised input; the sum normalised; the sum or the answer scaled or dropped.
    Hint: Subtract the sublayer's answer from your result. What is left, and what should be?
    """
    asked = sublayer("x² − 2")
    actual = pre_norm(case.parameters, case.x, asked)
    answer = torch.as_tensor(as_array(parabola(asked.questions[-1])), dtype=case.dtype)
    assert_same(actual, case.x + answer, what="the input plus the answer")


@law("pre-norm", given=residual_cases())
def a_sublayer_that_says_nothing_leaves_the_input(pre_norm: Function, case: ResidualCase) -> None:
    """Where the sublayer answers 0, the input is left, bit for bit.

    Kills: the residual forgotten or taken from the normalised input; a norm on the way from input to output.
    Hint: Let the sublayer answer 0. By which way does the input still reach the result, and does a norm stand on it?
    """
    assert_same(pre_norm(case.parameters, case.x, sublayer("0 · x")), case.x, what="the input")


@law("pre-norm", given=residual_cases(types=(torch.float32,)))  # in float64, eps would be seen
def what_is_added_does_not_depend_on_the_size_of_the_input(pre_norm: Function, case: ResidualCase) -> None:
    """An input that is four times as large has the same added to it, for the sublayer is given its norm.

    Kills: the sublayer given the input as it was; the norm of the answer in place of that of the question.
    Hint: The norm of [4, 12] is that of [1, 3]. Who is given the norm in yours, and who the vector itself?
    """
    added = pre_norm(case.parameters, case.x, sublayer("x² − 2")) - case.x
    added_to_larger = pre_norm(case.parameters, 4 * case.x, sublayer("x² − 2")) - 4 * case.x
    # The norm's rounding passes through the slope of x² − 2, which is up to 2 x.
    size = 1 + float(norm_of(case, case.x).abs().max())
    scale = norm_scale(case.x) * size + 4 * float(case.x.abs().max()) + float(added.abs().max())
    assert_close(added_to_larger, added, SUM, scale, what="what is added to an input four times as large")


@law("pre-norm", given=residual_cases())
def the_plain_sum_agrees_with_the_reference(pre_norm: Function, case: ResidualCase) -> None:
    """The result is the input plus what the sublayer says about its norm, as the reference has it.

    Kills: post-norm for pre-norm; gain or bias forgotten; dropout in evaluation.
    Hint: Follow a single position: the norm, the answer, the sum. Which of the three is the first to differ?
    """
    actual = pre_norm(case.parameters, case.x, sublayer("x² − 2"))
    arrays = as_arrays(case.parameters)
    expected = reference.blocks.pre_norm(arrays, as_array(case.x), parabola)
    scale = norm_scale(case.x) * (1 + float(abs(expected).max()))
    assert_close(actual, expected, SUM, scale, what="the input plus what is said about its norm")


@law("pre-norm", given=residual_cases(kinds=("small",)))
def a_small_input_is_normalised_like_any_other(pre_norm: Function, case: ResidualCase) -> None:
    """The norm of a small input is as large as any other: eps is 1e-12, far below its variance.

    Kills: PyTorch's eps of 1e-5 in place of BERT's 1e-12.
    Hint: The variance of entries around 1e-4 is 1e-8. Beside which number does your norm add it up?
    """
    added = pre_norm(case.parameters, case.x, sublayer("3 · x")) - case.x
    assert_close(added, 3 * norm_of(case, case.x), SUM, 4 * norm_scale(case.x), what="what is added to a small input")


@law("pre-norm", given=residual_cases(), needs_gradient=True)
def the_gradient_passes_the_sum_undiminished(pre_norm: Function, case: ResidualCase) -> None:
    """The input gets the gradient of the result as it is, bit for bit, beside what comes through the sublayer.

    Kills: a residual that is detached, scaled, or taken from the normalised input.
    Hint: Let the sublayer answer 0. The result is the input; what is the slope of x in x, and what is yours?
    """
    to_x, *_ = gradients_of(pre_norm, case, sublayer("0 · x"))
    assert_same(to_x, case.upstream, what="the gradient of the input")


@law("pre-norm", given=residual_cases(), needs_gradient=True)
def the_gradient_reaches_the_input_through_the_norm_too(pre_norm: Function, case: ResidualCase) -> None:
    """The gradients of the input, the gain and the bias, derived by hand, agree with autograd.

    Kills: a norm or an answer that is detached; statistics without a gradient.
    Hint: The input reaches the result directly and through norm and sublayer. Can autograd follow both ways?
    """
    upstream, x, gain = as_array(case.upstream), as_array(case.x), as_array(case.parameters["norm.gain"])
    through_norm, *others = reference.norm.layer_norm_gradient(3 * upstream, x, gain)
    computed = gradients_of(pre_norm, case, sublayer("3 · x"))
    least = float(case.x.double().std(dim=-1, correction=0).min())
    scale = (norm_scale(case.x) + 1 / least) ** 2 * (1 + float(case.upstream.abs().sum()))
    for name, actual, expected in zip(("x", "gain", "bias"), computed, (upstream + through_norm, *others), strict=True):
        assert_close(actual, expected, LAYER, scale, what=f"the gradient of {name}")


# Both


@law("post-norm", given=residual_cases())
@law("pre-norm", given=residual_cases())
def positions_do_not_know_each_other(residual: Function, case: ResidualCase) -> None:
    """Changing every other position leaves what comes of a position as it was, bit for bit.

    Kills: a norm over the length, over the batch, or over all at once.
    Hint: How many means does a batch of 2 sequences of 3 positions have? Print the shape of yours.
    """
    others = torch.ones(case.batch, case.length, 1, dtype=torch.bool)
    others[case.place] = False
    changed = torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)
    before = residual(case.parameters, case.x, sublayer("3 · x"))
    after = residual(case.parameters, changed, sublayer("3 · x"))
    assert_same(after[case.place], before[case.place], what="what comes of the only unchanged position")


@law("post-norm", given=residual_cases(kinds=("ordinary", "large"), types=(torch.bfloat16,)), needs_gradient=True)
def in_bfloat16_the_norm_of_the_sum_stays_bfloat16(post_norm: Function, case: ResidualCase) -> None:
    """In bfloat16 the result is bfloat16 too, near the norm of the sum however large that is, with a finite gradient.

    Kills: a result left in float32; a detour through float16, where 100,000 is ∞.
    Hint: Print the type of every step. Where did you go to another one, and where do you come back?
    """
    actual = post_norm(case.parameters, case.x, sublayer("0 · x"))
    assert actual.dtype == case.dtype, f"the result should be bfloat16, as its input, but is {actual.dtype}"
    assert_close(actual, norm_of(case, case.x), ROUNDING, norm_scale(case.x), what="the norm of the input")
    for gradient in gradients_of(post_norm, case, sublayer("3 · x")):
        assert gradient.isfinite().all(), "every gradient should be finite"


@law("pre-norm", given=residual_cases(kinds=("ordinary", "large"), types=(torch.bfloat16,)), needs_gradient=True)
def in_bfloat16_the_sum_stays_bfloat16(pre_norm: Function, case: ResidualCase) -> None:
    """In bfloat16 the result is bfloat16 too, and so is what the sublayer is given; gradients are finite.

    Kills: a norm left in float32, which the sum then is too; a detour through float16, where 100,000 is ∞.
    Hint: Print the type of every step. Where did you go to another one, and where do you come back?
    """
    asked = sublayer("0 · x")
    actual = pre_norm(case.parameters, case.x, asked)
    for what, tensor in (("the result", actual), ("what the sublayer is given", asked.questions[-1])):
        assert tensor.dtype == case.dtype, f"{what} should be bfloat16, as the input, but is {tensor.dtype}"
    assert_same(actual, case.x, what="the input")
    for gradient in gradients_of(pre_norm, case, sublayer("3 · x")):
        assert gradient.isfinite().all(), "every gradient should be finite"
