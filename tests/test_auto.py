"""The class that fits a folder, as people know it: same names, same numbers."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from bert_twins import CLASSES, SMALL, as_users_run_it, assert_agree, batch_for, labels_for, settings, theirs

import minitransformer
from minitransformer import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
)
from minitransformer.errors import InputError
from minitransformer.models import bert
from minitransformer.models.auto import CONFIGS

transformers = pytest.importorskip("transformers")

AUTO = {name: f"AutoModel{name.removeprefix('Bert').removeprefix('Model')}" for name in CLASSES}


@pytest.mark.parametrize("name", CLASSES)
def test_a_folder_opens_as_the_class_asked_for_with_the_numbers_of_transformers(name: str, tmp_path: Path) -> None:
    theirs(name).save_pretrained(tmp_path)
    ours = getattr(minitransformer, AUTO[name]).from_pretrained(tmp_path)
    judge = getattr(transformers, AUTO[name]).from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert type(ours) is getattr(bert, name)
    batch = {**batch_for(name), **labels_for(name)}
    assert_agree(ours(**batch), judge(**batch))


@pytest.mark.parametrize("name", CLASSES)
def test_a_configuration_gives_a_new_model(name: str) -> None:
    config = BertConfig(**settings(name))
    model = getattr(minitransformer, AUTO[name]).from_config(config)
    assert type(model) is getattr(bert, name)
    assert model.config is config


def test_every_family_has_every_class() -> None:
    for name in AUTO.values():
        assert getattr(minitransformer, name).classes.keys() == CONFIGS.keys()


def test_entries_of_the_configuration_can_be_replaced(tmp_path: Path) -> None:
    theirs("BertModel").save_pretrained(tmp_path)
    names = {0: "ham", 1: "spam", 2: "unsure"}
    entries = {"id2label": names, "label2id": {"ham": 0, "spam": 1, "unsure": 2}, "problem_type": "regression"}
    for model in (
        AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3, **entries),
        AutoModelForSequenceClassification.from_pretrained(str(tmp_path), **entries),
        AutoModelForSequenceClassification.from_pretrained(
            tmp_path, config=AutoConfig.from_pretrained(tmp_path, **entries)
        ),
    ):
        assert (model.config.num_labels, model.config.id2label) == (3, names)
        assert model.config.problem_type == "regression"
        assert model.classifier.dense.weight.shape == (3, SMALL["hidden_size"])
    with pytest.raises(InputError, match="give either config or single entries such as num_labels, not both"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, config=BertConfig(**SMALL), num_labels=3)


def test_hidden_states_and_attentions_can_be_asked_for_once_for_all(tmp_path: Path) -> None:
    theirs("BertModel").save_pretrained(tmp_path)
    asked = {"output_hidden_states": True, "output_attentions": True}
    ours = AutoModel.from_pretrained(tmp_path, **asked)
    judge = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="eager", **asked).eval()
    batch = batch_for("BertModel")
    assert_agree(ours(**batch), judge(**batch))
    assert len(ours(**batch).hidden_states) == SMALL["num_hidden_layers"] + 1
    silent = ours(**batch, output_hidden_states=False, output_attentions=False)
    assert list(silent) == ["last_hidden_state", "pooler_output"]
    ours.save_pretrained(tmp_path / "kept")
    assert AutoConfig.from_pretrained(tmp_path / "kept").output_hidden_states
    assert AutoModelForMaskedLM.from_pretrained(tmp_path, **asked)(**batch).hidden_states is not None


def test_a_head_of_another_size_can_be_left_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs("BertForSequenceClassification").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"'classifier\..*' of shape"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    with caplog.at_level(logging.WARNING, logger="minitransformer"):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2, ignore_mismatched_sizes=True)
    assert "classifier.weight is of shape (7, 15) where (2, 15) is asked for, and left out" in caplog.text
    assert "does not hold classifier.bias, classifier.weight: train these parts first" in caplog.text
    kept = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = batch_for("BertModel")
    assert torch.equal(model.bert(**batch).pooler_output, kept.bert(**batch).pooler_output)


def test_an_encoder_of_another_size_is_refused_all_the_same(tmp_path: Path) -> None:
    theirs("BertForSequenceClassification").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"word_embeddings\.weight' of shape"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, vocab_size=24, ignore_mismatched_sizes=True)


@pytest.mark.parametrize("opens", [AutoConfig, AutoModel, AutoModelForMaskedLM])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model_type": "gpt2"}, "says model_type='gpt2'"),
        ({}, "says no model_type"),
        ({"model_type": ["bert"]}, r"says model_type=\['bert'\]"),
    ],
)
def test_a_family_that_is_not_here_is_named_beside_those_that_are(
    opens: Any, content: dict[str, Any], found: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=rf"config\.json {found}, but the families here are {', '.join(CONFIGS)};"):
        opens.from_pretrained(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*config\.json"):
        AutoModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        AutoModel.from_pretrained(tmp_path / "nowhere")


def test_an_entry_that_does_not_exist_is_refused_as_by_the_class_itself(tmp_path: Path) -> None:
    theirs("BertModel").save_pretrained(tmp_path)
    with as_users_run_it(), pytest.raises(InputError, match="num_label=3 is no entry of BertConfig"):
        AutoModel.from_pretrained(tmp_path, num_label=3)


@pytest.mark.parametrize("name", ["AutoConfig", *AUTO.values()])
def test_a_class_that_only_chooses_is_not_built_itself(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} chooses a class by a folder; call {name}\.from_pretrained"):
        getattr(minitransformer, name)()


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_of_word_vectors_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    judge = theirs(name)
    judge.save_pretrained(tmp_path)
    ours = getattr(minitransformer, AUTO[name]).from_pretrained(tmp_path)
    assert torch.equal(ours.get_input_embeddings().weight, judge.get_input_embeddings().weight)
    assert type(ours.base_model).__name__ == type(judge.base_model).__name__ == "BertModel"
