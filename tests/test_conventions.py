"""The table of docs/conventions.md, row by row: what this library, PyTorch and Hugging Face each mean."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer import visibility
from minitransformer.attention import MultiHeadAttention, attention_weights, scaled_dot_product_attention
from minitransformer.dropout import Dropout
from minitransformer.errors import InputError
from minitransformer.feed_forward import gelu, gelu_tanh
from minitransformer.laws.tolerances import LAYER, assert_close, assert_same
from minitransformer.losses import cross_entropy, next_sentence_loss
from minitransformer.models.bert import BertForMaskedLM, BertForNextSentencePrediction, BertModel
from minitransformer.models.bert_config import BertConfig
from minitransformer.norm import LayerNorm, layer_norm

transformers = pytest.importorskip("transformers")

PAGE = Path(__file__).parent.parent / "docs" / "conventions.md"
SIZES = {
    "vocab_size": 11,
    "hidden_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 7,
    "max_position_embeddings": 13,
}
IDS = torch.tensor([[1, 4, 2, 9, 7]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that are the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def queries_keys_values() -> tuple[Tensor, Tensor, Tensor]:
    """Two sequences, three heads, five queries, seven keys, width eleven."""
    return draw(2, 3, 5, 11, seed=1), draw(2, 3, 7, 11, seed=2), draw(2, 3, 7, 11, seed=3)


def identity_attention(**options: bool) -> nn.MultiheadAttention:
    """PyTorch's module with one head and identity projections, so that only its conventions are left."""
    module = nn.MultiheadAttention(5, 1, **options).eval()
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(5).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(5))
    return module


def their_bert(kind: str = "BertModel", **settings: object) -> nn.Module:
    """One of Hugging Face's models, every parameter drawn wide enough to matter."""
    model = getattr(transformers, kind)(transformers.BertConfig(**SIZES, **settings)).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def test_every_row_is_numbered_in_order() -> None:
    rows = [int(number) for number in re.findall(r"^\| \*\*(\d+)\.", PAGE.read_text("utf-8"), re.MULTILINE)]
    tests = [int(name[9:11]) for name in globals() if re.match(r"test_row_\d\d_", name)]
    assert rows == list(range(1, len(rows) + 1))
    assert sorted(set(tests)) == rows


def test_row_01_true_means_may_read_except_in_multihead_attention() -> None:
    x = draw(1, 3, 5)
    may_attend = visibility.causal(3)
    ours = scaled_dot_product_attention(x, x, x, may_attend)
    assert_close(F.scaled_dot_product_attention(x, x, x, attn_mask=may_attend), ours)
    module = identity_attention(batch_first=True)
    assert_close(module(x, x, x, attn_mask=~may_attend)[0], ours, LAYER)
    hidden = torch.tensor([[False, False, True]])
    assert_close(
        module(x, x, x, key_padding_mask=hidden)[0], scaled_dot_product_attention(x, x, x, ~hidden[:, None]), LAYER
    )


def test_row_01_hugging_face_true_means_may_read() -> None:
    model = their_bert(attn_implementation="sdpa")
    may_attend = visibility.padding(torch.tensor([[1, 1, 1, 1, 0]])).expand(1, 1, 5, 5)
    as_boolean = model(input_ids=IDS, attention_mask=may_attend).last_hidden_state
    assert_close(as_boolean, model(input_ids=IDS, attention_mask=torch.tensor([[1, 1, 1, 1, 0]])).last_hidden_state)


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_row_02_one_is_a_token_and_zero_is_padding(whose: str) -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES)).eval() if whose == "ours" else their_bert()
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    changed = IDS.clone()
    changed[0, 4] = 3
    first, second = (model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :4] for ids in (IDS, changed))
    assert_same(first, second, "the outputs at real tokens")


def test_row_03_a_float_mask_is_refused_here_and_added_elsewhere() -> None:
    x = draw(1, 3, 5)
    mask = torch.zeros(3, 3).masked_fill(~visibility.causal(3), -torch.inf)
    with pytest.raises(InputError, match="mask == 0"):
        scaled_dot_product_attention(x, x, x, mask)
    ours = scaled_dot_product_attention(x, x, x, mask == 0)
    assert_close(F.scaled_dot_product_attention(x, x, x, attn_mask=mask), ours)
    assert_close(identity_attention(batch_first=True)(x, x, x, attn_mask=mask)[0], ours, LAYER)


def test_row_03_hugging_face_adds_a_float_mask() -> None:
    model = their_bert(attn_implementation="eager")
    added = torch.zeros(1, 1, 5, 5)
    added[..., 4] = torch.finfo(torch.float32).min
    assert_close(
        model(input_ids=IDS, attention_mask=added).last_hidden_state,
        model(input_ids=IDS, attention_mask=torch.tensor([[1, 1, 1, 1, 0]])).last_hidden_state,
    )


def test_row_04_a_query_that_may_read_nothing() -> None:
    x = draw(1, 3, 5).requires_grad_()
    may_attend = torch.tensor([[True, True, True], [False, False, False], [True, False, True]])
    ours = scaled_dot_product_attention(x, x, x, may_attend)
    assert_same(ours[0, 1], torch.zeros(5))
    (gradient,) = torch.autograd.grad(ours[0, 1].sum(), x)
    assert_same(gradient, torch.zeros(1, 3, 5))
    assert_same(F.scaled_dot_product_attention(x, x, x, attn_mask=may_attend)[0, 1], torch.zeros(5))
    module = identity_attention(batch_first=True)
    assert module(x, x, x, attn_mask=~may_attend)[0][0, 1].isnan().all()
    assert_same(module(x, x, x, attn_mask=~may_attend, need_weights=False)[0][0, 1], torch.zeros(5))


def test_row_04_hugging_face_reads_the_mean_of_everything() -> None:
    model = their_bert(attn_implementation="eager")
    nothing = torch.zeros(1, 5, dtype=torch.long)
    (weights,) = model(input_ids=IDS, attention_mask=nothing, output_attentions=True).attentions
    assert_close(weights, torch.full((1, 2, 5, 5), 1 / 5))


def test_row_05_the_scale_is_one_over_the_root_of_the_width_of_a_head() -> None:
    query, key, value = queries_keys_values()
    assert_close(attention_weights(query, key), torch.softmax(query @ key.mT / 11**0.5, dim=-1))
    assert_close(scaled_dot_product_attention(query, key, value), F.scaled_dot_product_attention(query, key, value))
    assert_close(
        scaled_dot_product_attention(query, key, value, scale=0.7),
        F.scaled_dot_product_attention(query, key, value, scale=0.7),
    )
    x = draw(1, 3, 5)
    assert_close(identity_attention(batch_first=True)(x, x, x)[1], attention_weights(x, x), LAYER)
    assert their_bert().encoder.layer[0].attention.self.scaling == 3**-0.5


def test_row_06_axes_outside() -> None:
    x = draw(2, 3, 6)
    assert MultiHeadAttention(6, 2)(x).shape == (2, 3, 6)
    assert F.scaled_dot_product_attention(*queries_keys_values()).shape == (2, 3, 5, 11)
    x = draw(2, 3, 5)
    turned = x.transpose(0, 1)
    length_first = identity_attention()(turned, turned, turned)[0]
    assert_close(length_first.transpose(0, 1), identity_attention(batch_first=True)(x, x, x)[0])
    assert their_bert()(input_ids=IDS).last_hidden_state.shape == (1, 5, 6)


def test_row_07_returned_weights() -> None:
    x = draw(2, 3, 6)
    assert MultiHeadAttention(6, 2).weights(x).shape == (2, 2, 3, 3)
    module = nn.MultiheadAttention(6, 2, batch_first=True).eval()
    averaged = module(x, x, x)[1]
    assert averaged.shape == (2, 3, 3)
    assert_close(averaged, module(x, x, x, average_attn_weights=False)[1].mean(dim=1))
    model = their_bert(attn_implementation="eager")
    assert model(input_ids=IDS, output_attentions=True).attentions[0].shape == (1, 2, 5, 5)


def test_row_08_three_axes_of_a_mask() -> None:
    may_attend = torch.stack([visibility.causal(3), torch.ones(3, 3, dtype=torch.bool)])
    x = draw(2, 3, 6)
    with pytest.raises(InputError, match=r"write may_attend\[:, None\]"):
        MultiHeadAttention(6, 2)(x, may_attend=may_attend)
    assert_close(F.scaled_dot_product_attention(x, x, x, attn_mask=may_attend)[0, 0], x[0, 0])
    module = nn.MultiheadAttention(6, 2, batch_first=True).eval()
    weights = module(x, x, x, attn_mask=~may_attend.repeat_interleave(2, dim=0), average_attn_weights=False)[1]
    assert (weights[0, :, 0, 1:] == 0).all()
    assert (weights[1] > 0).all()


def test_row_09_the_ignored_label_is_minus_one_hundred() -> None:
    logits, target = draw(3, 5), torch.tensor([4, -100, 0])
    only_two = F.cross_entropy(logits[[0, 2]], target[[0, 2]])
    assert_close(cross_entropy(logits, target), only_two)
    assert_close(F.cross_entropy(logits, target), only_two)
    labels = torch.tensor([[-100, 4, -100, -100, 2]])
    output = their_bert("BertForMaskedLM")(input_ids=IDS, labels=labels)
    assert_close(output.loss, F.cross_entropy(output.logits[0, [1, 4]], labels[0, [1, 4]]))


def test_row_10_zero_is_next() -> None:
    sure_of_next = torch.tensor([[9.0, -9.0]])
    assert (
        next_sentence_loss(sure_of_next, torch.tensor([0])) < 1e-6 < next_sentence_loss(sure_of_next, torch.tensor([1]))
    )
    for label in (0, 1):
        for model in (BertForNextSentencePrediction(BertConfig(**SIZES)), their_bert("BertForNextSentencePrediction")):
            labels = {"labels": torch.tensor([label])}
            output = model.eval()(input_ids=IDS, **labels)
            assert_close(output.loss, -torch.log_softmax(output.logits, dim=-1)[0, label])


def test_row_11_every_label_ignored() -> None:
    logits, target = draw(3, 5), torch.full((3,), -100)
    with pytest.raises(InputError, match="all 3 targets are ignore_index=-100"):
        cross_entropy(logits, target)
    assert F.cross_entropy(logits, target).isnan()
    labels = torch.full((1, 5), -100)
    assert their_bert("BertForMaskedLM")(input_ids=IDS, labels=labels).loss.isnan()
    with pytest.raises(InputError, match="all 5 targets"):
        BertForMaskedLM(BertConfig(**SIZES))(input_ids=IDS, labels=labels)


def test_row_12_the_class_axis_is_last_here_and_second_in_pytorch() -> None:
    logits, target = draw(2, 3, 5), torch.tensor([[4, 1, 0], [2, 2, 3]])
    assert_close(cross_entropy(logits, target), F.cross_entropy(logits.mT, target))


def test_row_13_the_mean_is_over_what_counts() -> None:
    logits, target = draw(7, 5), torch.tensor([4, -100, 0, -100, -100, -100, 1])
    total = cross_entropy(logits, target, reduction="sum")
    assert_close(cross_entropy(logits, target), total / 3)
    assert_close(F.cross_entropy(logits, target), total / 3)


def test_row_14_the_variance_of_a_layer_norm_divides_by_n() -> None:
    x = torch.tensor([1.0, 3.0])
    for normalised in (layer_norm(x, torch.ones(2), torch.zeros(2)), nn.LayerNorm(2, eps=1e-12)(x)):
        assert_close(normalised, torch.tensor([-1.0, 1.0]))
    assert_close(x.var(), 2.0)
    assert isinstance(their_bert().embeddings.LayerNorm, nn.LayerNorm)


def test_row_15_eps_of_a_layer_norm() -> None:
    assert LayerNorm(2).eps == BertConfig().layer_norm_eps == transformers.BertConfig().layer_norm_eps == 1e-12
    assert nn.LayerNorm(2).eps == 1e-5
    small = torch.tensor([-1e-3, 1e-3])
    in_the_root = small / (1e-6 + 1e-5) ** 0.5
    assert_close(layer_norm(small, torch.ones(2), torch.zeros(2), eps=1e-5), in_the_root)
    assert_close(nn.LayerNorm(2)(small), in_the_root)


def test_row_16_gelu_is_the_exact_one() -> None:
    x = torch.linspace(-3, 3, 13)
    assert_close(F.gelu(x), gelu(x))
    assert_close(F.gelu(x, approximate="tanh"), gelu_tanh(x))
    assert_close(transformers.activations.ACT2FN["gelu"](x), gelu(x))
    assert_close(transformers.activations.ACT2FN["gelu_new"](x), gelu_tanh(x))
    assert (gelu(x) - gelu_tanh(x)).abs().max() > 1e-4


def test_row_17_the_weight_of_a_linear_layer() -> None:
    assert MultiHeadAttention(6, 2).query.weight.shape == (6, 6)
    assert nn.Linear(3, 5).weight.shape == (5, 3)
    assert their_bert().encoder.layer[0].intermediate.dense.weight.shape == (7, 6)
    assert transformers.pytorch_utils.Conv1D(5, 3).weight.shape == (3, 5)


def test_row_18_the_rate_is_the_share_that_is_dropped() -> None:
    torch.manual_seed(0)
    ones = torch.ones(10_000)
    for module in (Dropout(0.9), nn.Dropout(0.9), their_bert(hidden_dropout_prob=0.9).embeddings.dropout):
        dropped = (module.train()(ones) == 0).double().mean().item()
        assert abs(dropped - 0.9) < 5 * (0.9 * 0.1 / 10_000) ** 0.5
