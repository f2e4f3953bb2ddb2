"""Mutants of residual connections."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant

Sublayer = Callable[[Tensor], Tensor]
BERT_EPS = 1e-12


def norm(parameters: Parameters, x: Tensor, eps: float = BERT_EPS) -> Tensor:
    """What is right in most mutants: the norm of each position, with the gain and the bias that were learned."""
    return F.layer_norm(x, x.shape[-1:], parameters["norm.gain"], parameters["norm.bias"], eps)


# Post-norm


@mutant(
    "post-norm",
    symptom="Weights of BERT give nonsense; trained anew it works, and the last vectors are never normalised.",
    source="harvardnlp/annotated-transformer#92",
    difficulty="easy",
)
def normalised_first_for_post_norm(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm stands before the sublayer, which makes it pre-norm."""
    return x + sublayer(norm(parameters, x))


@mutant("post-norm", symptom="One block trains; a deep stack does not, for gradients fade from block to block.")
def residual_forgotten(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The input is not added to the sublayer's answer."""
    return norm(parameters, sublayer(x))


@mutant("post-norm", symptom="Vectors grow from block to block, and so does the loss at the usual learning rate.")
def answer_alone_normalised(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sublayer's answer is normalised and then added, so that the sum is not."""
    return x + norm(parameters, sublayer(x))


@mutant("post-norm", symptom="Trains as well; weights from elsewhere come out wrong.", difficulty="hard")
def question_normalised_too(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sublayer is given the norm of the input, though the sum is normalised as well."""
    return norm(parameters, x + sublayer(norm(parameters, x)))


@mutant("post-norm", symptom="Right results, at twice the time and memory.", difficulty="medium")
def sublayer_asked_twice(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sublayer is asked once to see the shape of its answer, and once for the answer."""
    if sublayer(x).shape != x.shape:
        return norm(parameters, x)
    return norm(parameters, x + sublayer(x))


@mutant("post-norm", symptom="The forward pass is right; the first blocks hardly learn.", difficulty="hard")
def residual_detached(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The residual is detached, so that gradients pass through the sublayer alone."""
    return norm(parameters, x.detach() + sublayer(x))


@mutant("post-norm", symptom="Evaluation gives another result each time.", difficulty="easy")
def answer_dropped_in_evaluation(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """`F.dropout` drops a tenth of the answer in evaluation too, for it takes training to be True."""
    return norm(parameters, x + F.dropout(sublayer(x), 0.1))


@mutant("post-norm", symptom="Weights of BERT come out a little off, most where a vector is small.", difficulty="hard")
def sum_normalised_with_another_eps(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """Eps is 1e-5, PyTorch's default, and not BERT's 1e-12."""
    return norm(parameters, x + sublayer(x), eps=1e-5)


@mutant("post-norm", symptom="Results change with the length of the sequence and with its padding.")
def sum_normalised_over_the_sequence(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """Mean and variance of the sum run over all positions of an example."""
    total = x + sublayer(x)
    centred = total - total.mean((-2, -1), keepdim=True)
    variance = centred.square().mean((-2, -1), keepdim=True)
    return parameters["norm.gain"] * centred / (variance + BERT_EPS).sqrt() + parameters["norm.bias"]


@mutant("post-norm", symptom="Half precision saves no memory: every block hands float32 on.", difficulty="hard")
def sum_left_in_float32(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm is computed in float32 at least, and its result is not brought back to the type of the input."""
    wide = torch.promote_types(x.dtype, torch.float32)
    widened = {name: tensor.to(wide) for name, tensor in parameters.items()}
    return norm(widened, (x + sublayer(x)).to(wide))


# Pre-norm


@mutant("pre-norm", symptom="A deep stack needs a warm-up that pre-norm would not need.", difficulty="easy")
def sum_normalised_for_pre_norm(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm stands after the sum, which makes it post-norm."""
    return norm(parameters, x + sublayer(x))


@mutant(
    "pre-norm",
    symptom="Deep stacks learn badly: what a block adds is erased by the next norm, not carried on.",
    source="datawhalechina/happy-llm#21",
    difficulty="hard",
)
def residual_from_the_normalised_input(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """`x` is overwritten by its norm, so that the norm is what the answer is added to."""
    x = norm(parameters, x)
    return x + sublayer(x)


@mutant("pre-norm", symptom="Activations explode with depth; the gain and the bias of the norm never move.")
def norm_forgotten(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:  # noqa: ARG001
    """The sublayer is given the input as it is, and nothing is normalised."""
    return x + sublayer(x)


@mutant("pre-norm", symptom="The first blocks hardly learn: gradients have to pass through every sublayer.")
def sum_forgotten(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The input is not added to the sublayer's answer."""
    return sublayer(norm(parameters, x))


@mutant("pre-norm", symptom="Trains like post-norm; weights of GPT-2 give nonsense.")
def normalised_before_and_after(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sum is normalised as well as the question."""
    return norm(parameters, x + sublayer(norm(parameters, x)))


@mutant("pre-norm", symptom="Trains, if the learning rate is low; loaded weights give nonsense.", difficulty="medium")
def answer_normalised(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm stands after the sublayer, around its answer alone."""
    return x + norm(parameters, sublayer(x))


@mutant("pre-norm", symptom="The forward pass is right; the embeddings learn slowly, if at all.", difficulty="hard")
def plain_path_detached(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The input that the answer is added to is detached, so that the plain path passes no gradient."""
    return x.detach() + sublayer(norm(parameters, x))


@mutant("pre-norm", symptom="The forward pass is right; the gains and biases of the norms never move.")
def norm_without_a_gradient(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm is computed without gradients."""
    with torch.no_grad():
        question = norm(parameters, x)
    return x + sublayer(question)


@mutant("pre-norm", symptom="Trains as well; loaded weights give vectors that are too small.", difficulty="medium")
def sum_divided_by_the_root_of_two(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sum is divided by √2, to keep its variance, which nobody asked for."""
    return (x + sublayer(norm(parameters, x))) / 2**0.5


@mutant("pre-norm", symptom="Training takes twice the time it should.", difficulty="medium")
def asked_for_the_type_first(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The sublayer is asked once for the type of its answer, and once for the answer."""
    question = norm(parameters, x)
    return x.to(sublayer(question).dtype) + sublayer(question)


@mutant("pre-norm", symptom="Loaded weights give vectors a little off, most in the first block.", difficulty="hard")
def question_normalised_with_another_eps(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """Eps is 1e-5, PyTorch's default, and not 1e-12."""
    return x + sublayer(norm(parameters, x, eps=1e-5))


@mutant("pre-norm", symptom="Generation that reads one token at a time differs from what training saw.")
def question_normalised_over_the_sequence(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """Mean and variance of the input run over all positions of an example."""
    centred = x - x.mean((-2, -1), keepdim=True)
    variance = centred.square().mean((-2, -1), keepdim=True)
    normal = centred / (variance + BERT_EPS).sqrt()
    return x + sublayer(parameters["norm.gain"] * normal + parameters["norm.bias"])


@mutant("pre-norm", symptom="Half precision saves nothing: from the first block on, all is float32.", difficulty="hard")
def question_left_in_float32(parameters: Parameters, x: Tensor, sublayer: Sublayer) -> Tensor:
    """The norm is computed in float32 at least and not brought back, and the sum follows the wider type."""
    wide = torch.promote_types(x.dtype, torch.float32)
    widened = {name: tensor.to(wide) for name, tensor in parameters.items()}
    return x + sublayer(norm(widened, x.to(wide)))
