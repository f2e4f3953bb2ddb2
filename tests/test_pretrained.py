"""Models kept in folders: the names on disk, what old and foreign files may lack, and what is refused by name."""

import json
import logging
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from bert_twins import (
    CLASSES,
    SMALL,
    assert_agree,
    batch_for,
    opened_by_them,
    opened_by_us,
    ours,
    theirs,
    transformers,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from minitransformer import files, pretrained
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import assert_same
from minitransformer.models import bert
from minitransformer.models.bert_config import BertConfig

HEADED = CLASSES[1:]
POOLED = ("BertModel", "BertForNextSentencePrediction", "BertForSequenceClassification", "BertForMultipleChoice")
ENCODER_TENSOR = "bert.encoder.layer.1.output.dense.weight"

Tensors = dict[str, Tensor]


def tensors_in(folder: Path) -> Tensors:
    """The tensors of a folder."""
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Change the tensors of a folder."""
    changed = {name: tensor.contiguous() for name, tensor in change(tensors_in(folder)).items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})


def rename(old: str, new: str) -> Callable[[Tensors], Tensors]:
    """A change of a part of every name."""
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def saved(folder: Path, name: str = "BertForPreTraining", **overrides: Any) -> Any:
    """A model of ours, kept in a folder."""
    model = ours(name, **overrides)
    model.save_pretrained(folder)
    return model


def same_numbers(found: Any, expected: Any, name: str) -> None:
    """Fail unless two models say the same, bit for bit."""
    with torch.no_grad():
        one, other = found(**batch_for(name)), expected(**batch_for(name))
    assert list(one) == list(other)
    for key in one:
        assert_same(one[key], other[key], what=key)


def refusal_of(folder: Path, name: str = "BertForPreTraining", **overrides: Any) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(InputError) as refusal:
        getattr(bert, name).from_pretrained(folder, **overrides)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# Names on disk


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_the_names_on_disk_and_their_shapes_are_those_of_transformers(name: str, tied: bool, tmp_path: Path) -> None:
    ours(name, tie_word_embeddings=tied).save_pretrained(tmp_path / "ours")
    theirs(name, tie_word_embeddings=tied).save_pretrained(tmp_path / "theirs")
    found, expected = (
        {name: (tensor.shape, tensor.dtype) for name, tensor in tensors_in(tmp_path / whose).items()}
        for whose in ("ours", "theirs")
    )
    assert found == expected


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_has_a_name_on_disk_of_its_own(name: str) -> None:
    model = ours(name)
    on_disk = [model.name_on_disk(parameter) for parameter in model.state_dict()]
    assert len(set(on_disk)) == len(on_disk)


def test_config_json_names_the_class_as_transformers_does(tmp_path: Path) -> None:
    ours("BertForMaskedLM").save_pretrained(tmp_path / "ours")
    theirs("BertForMaskedLM").save_pretrained(tmp_path / "theirs")
    found, expected = (
        json.loads((tmp_path / whose / "config.json").read_text("utf-8")) for whose in ("ours", "theirs")
    )
    for entry in ("architectures", "model_type", "dtype", "id2label", "label2id", "hidden_size", "tie_word_embeddings"):
        assert found[entry] == expected[entry]


@pytest.mark.parametrize("name", CLASSES)
def test_what_was_saved_is_opened_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = ours(name)
    opened = opened_by_us(model, tmp_path)
    for (parameter_name, found), expected in zip(opened.named_parameters(), model.parameters(), strict=True):
        assert_same(found, expected, what=parameter_name)
    assert opened.config == BertConfig.from_dict(model.config.to_dict())


def test_the_files_are_the_two_of_hugging_face_and_no_others(tmp_path: Path) -> None:
    saved(tmp_path / "new" / "model")
    assert sorted(file.name for file in (tmp_path / "new" / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_the_files_may_be_read_by_whoever_may_read_a_new_file(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    (tmp_path / "new").touch()
    for file in (tmp_path / "model").iterdir():
        assert file.stat().st_mode == (tmp_path / "new").stat().st_mode, file.name


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    model = ours("BertModel")
    model.save_pretrained(str(tmp_path))
    same_numbers(bert.BertModel.from_pretrained(str(tmp_path)), model, "BertModel")


# Old spellings, prefixes, and what belongs to another class


def as_tensorflow_spelled(tensors: Tensors) -> Tensors:
    """The gains and biases of norms under the names that files born in TensorFlow have."""
    return rename("LayerNorm.bias", "LayerNorm.beta")(rename("LayerNorm.weight", "LayerNorm.gamma")(tensors))


def without_prefix(tensors: Tensors) -> Tensors:
    """The encoder's tensors as a file of the bare encoder names them."""
    return rename("bert.", "")(tensors)


def with_prefix(tensors: Tensors) -> Tensors:
    """The encoder's tensors as a file of a model with a head names them."""
    return {f"bert.{name}": tensor for name, tensor in tensors.items()}


def with_position_ids(tensors: Tensors) -> Tensors:
    """A buffer that older files hold."""
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    return {**tensors, f"{prefix}embeddings.position_ids": torch.arange(17)[None]}


@pytest.mark.parametrize("name", CLASSES)
def test_norms_may_be_spelled_gamma_and_beta(name: str, tmp_path: Path) -> None:
    model = saved(tmp_path, name)
    rewrite(tmp_path, as_tensorflow_spelled)
    assert any(name.endswith("LayerNorm.gamma") for name in tensors_in(tmp_path))
    same_numbers(getattr(bert, name).from_pretrained(tmp_path), model, name)


@pytest.mark.parametrize("name", CLASSES)
def test_the_prefix_of_the_encoder_may_be_missing_or_extra(name: str, tmp_path: Path) -> None:
    model = saved(tmp_path, name)
    rewrite(tmp_path, with_prefix if name == "BertModel" else without_prefix)
    same_numbers(getattr(bert, name).from_pretrained(tmp_path), model, name)


@pytest.mark.parametrize("name", CLASSES)
def test_position_ids_in_a_file_are_ignored(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = saved(tmp_path, name)
    rewrite(tmp_path, with_position_ids)
    same_numbers(getattr(bert, name).from_pretrained(tmp_path), model, name)
    assert not caplog.records


@pytest.mark.parametrize("spelling", [dict, as_tensorflow_spelled])
@pytest.mark.parametrize("prefix", [dict, with_prefix])
@pytest.mark.parametrize("name", HEADED)
def test_the_file_of_an_encoder_opens_in_every_class(
    name: str, prefix: Callable[[Tensors], Tensors], spelling: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    encoder = saved(tmp_path, "BertModel")
    rewrite(tmp_path, lambda tensors: spelling(prefix(tensors)))
    opened = getattr(bert, name).from_pretrained(tmp_path)
    found = opened.bert(**batch_for("BertModel"))
    assert_same(found.last_hidden_state, encoder(**batch_for("BertModel")).last_hidden_state)


@pytest.mark.parametrize("spelling", [dict, as_tensorflow_spelled])
@pytest.mark.parametrize("prefix", [dict, without_prefix])
@pytest.mark.parametrize("name", HEADED)
def test_the_file_of_every_class_opens_in_an_encoder(
    name: str, prefix: Callable[[Tensors], Tensors], spelling: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    model = saved(tmp_path, name)
    rewrite(tmp_path, lambda tensors: spelling(prefix(tensors)))
    found = bert.BertModel.from_pretrained(tmp_path)(**batch_for("BertModel"))
    expected = model.bert(**batch_for("BertModel"))
    assert_same(found.last_hidden_state, expected.last_hidden_state)
    if expected.pooler_output is not None:
        assert_same(found.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("name", HEADED)
def test_a_pretrained_model_of_transformers_opens_in_every_class_as_it_does_there(name: str, tmp_path: Path) -> None:
    theirs("BertForPreTraining").save_pretrained(tmp_path)
    found = getattr(bert, name).from_pretrained(tmp_path)
    expected = getattr(transformers, name).from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        assert_agree(found.bert(**batch_for("BertModel")), expected.bert(**batch_for("BertModel")))


# The tied table and its two biases


def decoder_weight(tensors: Tensors) -> Tensors:
    """The file as older savers wrote it: the tied table twice."""
    return {**tensors, "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone()}


def decoder_bias(tensors: Tensors) -> Tensors:
    """The file as older savers wrote it: the bias under both names."""
    return {**tensors, "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].clone()}


@pytest.mark.parametrize(
    "change",
    [
        dict,
        decoder_weight,
        decoder_bias,
        lambda tensors: decoder_bias(decoder_weight(tensors)),
        rename("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ],
)
@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM"])
def test_the_decoder_may_stand_in_the_file_or_not(
    name: str, change: Callable[[Tensors], Tensors], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = saved(tmp_path, name)
    rewrite(tmp_path, change)
    opened = getattr(bert, name).from_pretrained(tmp_path)
    same_numbers(opened, model, name)
    assert opened.masked_word.decoder.weight is opened.bert.embeddings.word.weight
    assert opened.config.tie_word_embeddings
    assert not caplog.records


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM"])
def test_a_decoder_of_its_own_in_the_file_wins_over_the_tie(name: str, tmp_path: Path) -> None:
    original = theirs(name)
    original.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "cls.predictions.decoder.weight": torch.randn(23, 15)})
    opened = getattr(bert, name).from_pretrained(tmp_path)
    assert opened.masked_word.decoder.weight is not opened.bert.embeddings.word.weight
    assert_same(opened.masked_word.decoder.weight, tensors_in(tmp_path)["cls.predictions.decoder.weight"])
    assert not opened.config.tie_word_embeddings
    again = opened_by_them(opened, tmp_path / "again")
    with torch.no_grad():
        assert_agree(opened(**batch_for(name)), again(**batch_for(name)))
    same_numbers(opened_by_us(opened, tmp_path / "once more"), opened, name)


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM"])
def test_an_untied_model_of_transformers_computes_with_the_bias_of_its_decoder(name: str, tmp_path: Path) -> None:
    """Its file holds two biases, of which only the decoder's takes part."""
    original = theirs(name, tie_word_embeddings=False)
    opened = opened_by_us(original, tmp_path)
    held = tensors_in(tmp_path)
    assert not torch.equal(held["cls.predictions.bias"], held["cls.predictions.decoder.bias"])
    with torch.no_grad():
        assert_agree(opened(**batch_for(name)), original(**batch_for(name)))


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM"])
def test_an_untied_model_of_ours_is_untied_in_transformers(name: str, tmp_path: Path) -> None:
    model = ours(name, tie_word_embeddings=False)
    opened = opened_by_them(model, tmp_path)
    with torch.no_grad():
        assert_agree(model(**batch_for(name)), opened(**batch_for(name)))


# New parts


NEW_PARTS = [
    ("BertForMaskedLM", "BertModel", ["pooler.dense.bias", "pooler.dense.weight"]),
    (
        "BertForTokenClassification",
        "BertForNextSentencePrediction",
        [
            "bert.pooler.dense.bias",
            "bert.pooler.dense.weight",
            "cls.seq_relationship.bias",
            "cls.seq_relationship.weight",
        ],
    ),
    ("BertForPreTraining", "BertForSequenceClassification", ["classifier.bias", "classifier.weight"]),
    ("BertForPreTraining", "BertForTokenClassification", ["classifier.bias", "classifier.weight"]),
    ("BertForPreTraining", "BertForMultipleChoice", ["classifier.bias", "classifier.weight"]),
    ("BertForPreTraining", "BertForQuestionAnswering", ["qa_outputs.bias", "qa_outputs.weight"]),
    ("BertModel", "BertForNextSentencePrediction", ["cls.seq_relationship.bias", "cls.seq_relationship.weight"]),
    (
        "BertForNextSentencePrediction",
        "BertForMaskedLM",
        [
            "cls.predictions.bias",
            "cls.predictions.transform.LayerNorm.bias",
            "cls.predictions.transform.LayerNorm.weight",
            "cls.predictions.transform.dense.bias",
            "cls.predictions.transform.dense.weight",
        ],
    ),
]


@pytest.mark.parametrize(("kept", "opened", "new"), NEW_PARTS)
def test_a_part_that_the_file_lacks_starts_anew_and_is_named(
    kept: str, opened: str, new: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, kept)
    with caplog.at_level(logging.WARNING, logger="minitransformer"):
        model = getattr(bert, opened).from_pretrained(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'model.safetensors'} does not hold {', '.join(new)}: "
        "train these parts first, for they start from random numbers"
    ]
    parameters = {model.name_on_disk(name): parameter for name, parameter in model.named_parameters()}
    for name in new:
        drawn = name.endswith("weight") and "LayerNorm" not in name
        assert parameters[name].std() > 0 if drawn else parameters[name].unique().numel() == 1


def test_a_whole_file_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in CLASSES:
        saved(tmp_path / name, name)
        getattr(bert, name).from_pretrained(tmp_path / name)
    assert not caplog.records


def test_an_override_changes_the_model(tmp_path: Path) -> None:
    saved(tmp_path, "BertForPreTraining", num_labels=7)
    model = bert.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=3, hidden_dropout_prob=0.5)
    assert model(**batch_for("BertModel")).logits.shape[1] == 3
    assert opened_by_us(model, tmp_path / "again").config.num_labels == 3
    assert model.classifier.dropout.rate == 0.5


# Number types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_file_of_another_float_type_is_read_into_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = saved(tmp_path)
    rewrite(tmp_path, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    opened = bert.BertForPreTraining.from_pretrained(tmp_path)
    for (name, found), expected in zip(opened.named_parameters(), model.parameters(), strict=True):
        assert found.dtype == torch.float32
        assert_same(found, expected.to(dtype).float(), what=name)


def test_a_model_of_another_float_type_says_so_in_its_folder(tmp_path: Path) -> None:
    ours("BertModel").to(torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in tensors_in(tmp_path).values()} == {torch.bfloat16}
    assert transformers.BertModel.from_pretrained(tmp_path).dtype == torch.bfloat16


# What is refused


def without(gone: str) -> Callable[[Tensors], Tensors]:
    """A change that takes one tensor out of the file."""
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name != gone}


def test_a_missing_encoder_tensor_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    for name in list(tensors_in(tmp_path)):
        if name.startswith("bert.") and "pooler" not in name:
            saved(tmp_path)
            rewrite(tmp_path, without(name))
            assert refusal_of(tmp_path) == (
                f"{tmp_path / 'model.safetensors'} has no tensor {name!r}; is it whole, and of this family?"
            )


def test_the_first_of_several_missing_tensors_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    rewrite(tmp_path, lambda tensors: {name: tensor for name, tensor in tensors.items() if ".layer." not in name})
    assert "has no tensor 'bert.encoder.layer.0.attention.self.query.weight'" in refusal_of(tmp_path)


def test_a_missing_word_table_is_named_even_if_its_tied_decoder_is_there(tmp_path: Path) -> None:
    saved(tmp_path)
    rewrite(tmp_path, rename("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"))
    assert "has no tensor 'bert.embeddings.word_embeddings.weight'" in refusal_of(tmp_path)


def test_a_file_of_another_family_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    rewrite(tmp_path, rename("bert.", "roberta."))
    assert "has no tensor 'bert.embeddings.word_embeddings.weight'; is it whole, and of this family?" in refusal_of(
        tmp_path
    )


@pytest.mark.parametrize(
    "name",
    [
        "bert.embeddings.position_embeddings.weight",
        ENCODER_TENSOR,
        "bert.pooler.dense.bias",
        "cls.predictions.bias",
        "cls.seq_relationship.weight",
    ],
)
def test_a_wrong_shape_is_named_with_both_shapes(name: str, tmp_path: Path) -> None:
    saved(tmp_path)
    shape = tuple(tensors_in(tmp_path)[name].shape)
    wrong = (shape[0] + 1, *shape[1:])
    rewrite(tmp_path, lambda tensors: {**tensors, name: torch.zeros(wrong)})
    assert refusal_of(tmp_path) == (
        f"{tmp_path / 'model.safetensors'} holds {name.removeprefix('bert.')!r} of shape {wrong}, "
        f"but config.json asks for {shape}; use the config.json that was saved with it"
    )


def test_a_decoder_of_a_wrong_shape_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "cls.predictions.decoder.weight": torch.zeros(24, 15)})
    assert "holds 'cls.predictions.decoder.weight' of shape (24, 15), but config.json asks for (23, 15)" in refusal_of(
        tmp_path
    )


def test_a_number_of_labels_that_does_not_fit_the_head_is_named(tmp_path: Path) -> None:
    saved(tmp_path, "BertForSequenceClassification")
    message = refusal_of(tmp_path, "BertForSequenceClassification", num_labels=3)
    assert "holds 'classifier.weight' of shape (7, 15), but config.json asks for (3, 15)" in message


def test_fewer_blocks_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    assert refusal_of(tmp_path, num_hidden_layers=1) == (
        f"{tmp_path / 'model.safetensors'} holds 'encoder.layer.1.attention.output.LayerNorm.bias', "
        "for which config.json has no place; does num_hidden_layers fit?"
    )


def test_more_blocks_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    message = refusal_of(tmp_path, num_hidden_layers=3)
    assert "has no tensor 'bert.encoder.layer.2.attention.self.query.weight'" in message


def shorten(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])


@pytest.mark.parametrize("length", [0, 5, 8, 300, -1])
def test_a_truncated_file_is_refused_at_every_length(length: int, tmp_path: Path) -> None:
    saved(tmp_path)
    shorten(tmp_path / "model.safetensors", length)
    message = refusal_of(tmp_path)
    assert message.startswith(f"{tmp_path / 'model.safetensors'} is damaged or truncated (")
    assert message.endswith("; copy or save it again")


@pytest.mark.parametrize("content", [bytes(2000), b"not a tensor in sight, only text\n" * 30, b"\xff" * 100])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert refusal_of(tmp_path).startswith(f"{tmp_path / 'model.safetensors'} is damaged or truncated (")


@pytest.mark.parametrize("content", ["", "{", "not JSON", "[]"])
def test_a_config_that_is_not_json_is_refused(content: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text(content, "utf-8")
    assert refusal_of(tmp_path).startswith(f"{tmp_path / 'config.json'} ")


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").unlink()
    assert refusal_of(tmp_path) == f"cannot read {tmp_path / 'config.json'}: No such file or directory"


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_missing_folder_is_named_with_what_it_should_hold(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if kind == "a file":
        folder.write_text("not a folder", "utf-8")
    assert refusal_of(folder) == (
        f"there is no folder {folder}; give a local folder that holds config.json and model.safetensors"
    )


def test_a_name_on_the_hub_is_refused_as_a_missing_folder() -> None:
    assert "there is no folder bert-base-uncased; give a local folder" in refusal_of(Path("bert-base-uncased"))


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    BertConfig(**SMALL).save_pretrained(tmp_path)
    assert refusal_of(tmp_path) == (
        f"{tmp_path} holds no model.safetensors; is this the folder that save_pretrained wrote?"
    )


def test_a_pickle_is_refused_because_it_can_run_code(tmp_path: Path) -> None:
    BertConfig(**SMALL).save_pretrained(tmp_path)
    torch.save(ours("BertModel").state_dict(), tmp_path / "pytorch_model.bin")
    assert refusal_of(tmp_path) == (
        f"{tmp_path} holds pytorch_model.bin, a pickle, which can run code when opened; "
        "save it again with transformers' save_pretrained to get model.safetensors"
    )


def test_a_pickle_beside_the_weights_is_not_opened(tmp_path: Path) -> None:
    model = saved(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    same_numbers(bert.BertForPreTraining.from_pretrained(tmp_path), model, "BertForPreTraining")


# Saving


def broken_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the tensors are written, then the disk is full."""

    def save_half(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "save_file", save_half)


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file may become longer than a kilobyte, which is how a full disk looks to the library."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_on_a_full_disk(*args: Any, **kwargs: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            save_file(*args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(pretrained, "save_file", save_on_a_full_disk)


def interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the tensors are written."""

    def save_half(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "save_file", save_half)


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (broken_writing, InputError, r"^cannot write .*model\.safetensors: No space left on device; choose a folder"),
        (full_disk, InputError, r"^cannot write .*model\.safetensors: .*; choose a folder that you may write to$"),
        (interruption, KeyboardInterrupt, "^$"),
    ],
)
def test_a_failure_while_saving_leaves_the_good_files_untouched(
    fail: Callable[[pytest.MonkeyPatch], None],
    error: type[BaseException],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = saved(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    other = ours("BertForMaskedLM", seed=1, num_hidden_layers=3)
    fail(monkeypatch)
    with pytest.raises(error, match=message) as failure:
        other.save_pretrained(tmp_path)
    assert "\n" not in str(failure.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    same_numbers(bert.BertForPreTraining.from_pretrained(tmp_path), good, "BertForPreTraining")


def test_a_config_that_cannot_be_written_leaves_the_good_tensors_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = saved(tmp_path)
    replacing = files.replacing

    def replacing_all_but_the_config(path: Path) -> AbstractContextManager[Path]:
        if path.name == "config.json":
            raise files.cannot_write(path, OSError(28, "No space left on device"))
        return replacing(path)

    monkeypatch.setattr(files, "replacing", replacing_all_but_the_config)
    with pytest.raises(InputError, match=r"^cannot write .*config\.json: No space left on device"):
        ours("BertForPreTraining", seed=1).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    same_numbers(bert.BertForPreTraining.from_pretrained(tmp_path), good, "BertForPreTraining")


@pytest.mark.parametrize("place", ["runs", "runs/model"])
def test_a_file_where_the_folder_should_be_is_refused_and_kept(place: str, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file", "utf-8")
    with pytest.raises(InputError) as refusal:
        ours("BertModel").save_pretrained(tmp_path / place)
    assert str(refusal.value).startswith(f"cannot write {tmp_path / place / 'model.safetensors'}: ")
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "runs").read_text("utf-8") == "a file"


def test_saving_does_not_change_the_model(tmp_path: Path) -> None:
    model = ours("BertForMaskedLM").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path)
    assert model.training
    assert model.masked_word.decoder.weight is model.bert.embeddings.word.weight
    for name, tensor in model.state_dict().items():
        assert_same(tensor, before[name], what=name)
