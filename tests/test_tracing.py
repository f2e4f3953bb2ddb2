"""A trace: every tensor of a pass, by its name, with its equation; and the model stays as it was."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import minitransformer as mt
from minitransformer import reference
from minitransformer.equations import in_torch
from minitransformer.tracing import Trace, trace
from minitransformer.tracing.axes import sizes_in

B, L, D, H, F, V = 2, 7, 22, 11, 35, 53
CONFIG = mt.BertConfig(
    vocab_size=V,
    hidden_size=D,
    num_hidden_layers=2,
    num_attention_heads=H,
    intermediate_size=F,
    max_position_embeddings=13,
)
PLACES = {
    "softmax": "attention",
    "log_softmax": "attention",
    "attention_weights": "attention",
    "scaled_dot_product_attention": "attention",
    "layer_norm": "norm",
    "gelu": "feed_forward",
    "token_cross_entropy": "losses",
    "cross_entropy": "losses",
    "masked_lm_loss": "losses",
    "next_sentence_loss": "losses",
    "padding": "visibility",
}
"""Where the reference has the functions that a pass of a BERT calls."""


@pytest.fixture(scope="module")
def model() -> mt.BertForPreTraining:
    torch.manual_seed(0)
    return mt.BertForPreTraining(CONFIG).eval()


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    mask = torch.tensor([[1] * L, [1] * (L - 2) + [0] * 2])
    ids = torch.randint(V, (B, L), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": mask, "labels": ids, "next_sentence_label": torch.tensor([1, 0])}


@pytest.fixture(scope="module")
def traced(model: mt.BertForPreTraining, inputs: dict[str, Tensor]) -> Trace:
    return trace(model, **inputs)


def test_every_equation_of_the_trace_is_recomputed_by_the_reference_from_what_it_was_given(traced: Trace) -> None:
    recomputed = set()
    for found in traced:
        if found.function in PLACES:
            twin = getattr(getattr(reference, PLACES[found.function]), found.function)
            arguments = {name: as_array(value) for name, value in found.arguments.items() if name != "dropout_rate"}
            np.testing.assert_allclose(as_array(found.value), twin(**arguments), atol=1e-5, err_msg=found.name)
            recomputed.add(found.function)
    assert recomputed == set(PLACES)


def as_array(value: Any) -> Any:
    """A tensor as the reference takes it."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().double().numpy() if value.is_floating_point() else value.numpy()


def test_names_are_unique_and_each_tells_where_its_tensor_is_computed(
    traced: Trace, model: mt.BertForPreTraining
) -> None:
    names = [found.name for found in traced]
    assert len(set(names)) == len(names)
    aliases = [alias for found in traced for alias in found.aliases]
    assert not set(names) & set(aliases)
    assert len(set(aliases)) == len(aliases)
    by_name = {"": model, **dict(model.named_modules())}
    blocks = [name for name, part in by_name.items() if isinstance(part, mt.EncoderBlock)]
    assert set(blocks) < set(names)


def test_what_is_read_stands_before_what_is_computed_of_it(traced: Trace) -> None:
    place = {found.name: number for number, found in enumerate(traced)}
    read = [(found, name) for found in traced for name in found.reads if name in place]
    assert len(read) > 40
    assert all(place[name] <= place[found.name] for found, name in read)


def test_the_shapes_have_the_letters_of_the_alphabet_with_the_models_sizes(traced: Trace) -> None:
    expected = {"B": B, "L": L, "M": L, "D": D, "H": H, "K": D // H, "E": D // H, "F": F, "V": V}
    for found in traced:
        assert found.axes is not None or found.value.ndim == 0, found.name
        for axis, size in zip(found.axes or (), found.value.shape, strict=True):
            assert axis.isdigit() or axis in mt.AXES, found.name
            assert size == (int(axis) if axis.isdigit() else expected[axis]), found.name
    assert traced.find("encoder.blocks.1.attention.weights").shape == f"B={B} H={H} L={L} M={L}"
    assert traced.find("blocks.0.feed_forward.gelu").shape == f"B={B} L={L} F={F}"


def test_every_tag_is_an_equation_and_every_part_of_the_model_with_an_equation_is_there(traced: Trace) -> None:
    tags = {found.equation for found in traced if found.equation}
    assert tags <= set(in_torch())
    assert tags >= {
        "embeddings",
        "padding-visibility",
        "multi-head-attention",
        "attention",
        "attention-weights",
        "softmax",
        "post-norm",
        "layer-norm",
        "feed-forward",
        "gelu",
        "encoder-block",
        "pooler",
        "masked-word-head",
        "next-sentence-head",
        "token-cross-entropy",
        "masked-lm-loss",
        "next-sentence-loss",
    }


def test_intermediates_are_asked_for_by_name_or_by_the_end_of_it(
    traced: Trace, model: mt.BertForPreTraining, inputs: dict[str, Tensor]
) -> None:
    out = model(**inputs, output_attentions=True)
    assert torch.allclose(traced["bert.encoder.blocks.0.attention.weights"], out.attentions[0], atol=1e-6)
    assert traced["encoder.blocks.0.attention.weights"] is traced["bert.encoder.blocks.0.attention.weights"]
    assert torch.allclose(traced["prediction_logits"], out.prediction_logits, atol=1e-5)
    assert torch.allclose(traced["loss"], out.loss, atol=1e-5)
    assert traced.output.prediction_logits is traced["masked_word"]
    with pytest.raises(
        mt.InputError, match=r"'attention.weights' is the end of 2 names; it has 'bert.encoder.blocks.0"
    ):
        traced["attention.weights"]
    with pytest.raises(mt.InputError, match=r"'pooled' names no intermediate of the trace; it has 'bert.pooler"):
        traced["pooled"]


def test_a_part_of_the_trace_is_chosen_by_a_pattern(traced: Trace) -> None:
    part = traced.only("*.blocks.1.attention.*")
    assert 8 < len(part) < len(traced) / 2
    assert "eq:attention-weights" in str(part)
    with pytest.raises(mt.InputError, match="fits no name"):
        traced.only("nothing")


def test_a_trace_changes_neither_results_nor_random_numbers_nor_gradients(inputs: dict[str, Tensor]) -> None:
    model = mt.BertForPreTraining(CONFIG)
    model.pooled = nn.BatchNorm1d(D)  # a part with buffers, which training changes
    model.train()
    model(**inputs).loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    torch.manual_seed(3)
    undisturbed = model(**inputs).loss, torch.rand(3)
    torch.manual_seed(3)
    trace(model, **inputs)
    disturbed = model(**inputs).loss, torch.rand(3)
    assert torch.equal(undisturbed[0], disturbed[0])
    assert torch.equal(undisturbed[1], disturbed[1])
    after = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.equal(before, now) for before, now in zip(gradients, after, strict=True))


def test_buffers_are_given_back() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = [buffer.clone() for buffer in model.buffers()]
    traced = trace(model, input=torch.randn(5, 2))
    assert traced["0"].shape == (5, 3), "a model that knows nothing of us"
    assert all(torch.equal(old, new) for old, new in zip(before, model.buffers(), strict=True))


def test_nothing_stays_hooked_also_after_an_error(model: mt.BertForPreTraining, inputs: dict[str, Tensor]) -> None:
    trace(model, **inputs)
    with pytest.raises(mt.InputError, match="input_ids holds 99"):
        trace(model, input_ids=torch.tensor([[1, 99]]))
    assert sys.getprofile() is None
    assert mt.kernels.active() == "fused"
    hooks = [part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in model.modules()]
    assert not any(hooks)
    assert torch.is_grad_enabled()


def test_the_watch_of_somebody_else_is_given_back(model: mt.BertForPreTraining, inputs: dict[str, Tensor]) -> None:
    def somebody(*_: Any) -> None:
        """Watches, too."""

    sys.setprofile(somebody)
    try:
        trace(model, **inputs)
        assert sys.getprofile() is somebody
    finally:
        sys.setprofile(None)


def test_dropout_is_seen_while_training(inputs: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    traced = trace(mt.BertForPreTraining(CONFIG).train(), **inputs)
    dropped = traced.find("bert.embeddings.dropout")
    assert dropped.equation == "dropout"
    assert (dropped.value == 0).any()


def test_a_decoder_is_traced_with_its_memory() -> None:
    decoder = mt.Decoder(n_blocks=1, d_model=6, n_heads=2, d_ff=5).eval()
    traced = trace(decoder, x=torch.randn(3, 4, 6), memory=torch.randn(3, 7, 6))
    assert traced.find("blocks.0.cross_attention.weights").shape == "B=3 H=2 L=4 M=7"
    assert traced.find("blocks.0.attention.weights").value.triu(1).abs().max() == 0
    assert "causal-visibility" in {found.equation for found in traced}


def test_the_page_shows_every_tensor_with_its_formula_and_a_picture(traced: Trace) -> None:
    page = traced.page("A <pass>")
    assert "A &lt;pass&gt;" in page
    assert page.count("<tr class=") == len(traced)
    assert all(f"<code>{found.name}</code>" in page for found in traced)
    assert in_torch()["layer-norm"].formula.split("\n")[0] in page
    assert page.count("data:image/png;base64,") > 50
    assert "http" not in page
    assert traced._repr_html_().startswith("<style>")


def test_the_sizes_of_a_model_are_known_by_letter() -> None:
    assert sizes_in(mt.Encoder(n_blocks=2, d_model=6, n_heads=2, d_ff=5)) == {"D": 6, "H": 2, "K": 3, "F": 5}
