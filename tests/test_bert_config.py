"""BERT's configuration: config.json in both directions with `transformers`, and a refusal for each wrong entry."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from bert_twins import SMALL, as_users_run_it, transformers

from minitransformer.errors import InputError
from minitransformer.models.bert_config import BertConfig

ANOTHER_THROUGHOUT: dict[str, Any] = {
    "vocab_size": 29,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 11,
    "intermediate_size": 13,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.25,
    "attention_probs_dropout_prob": 0.125,
    "max_position_embeddings": 19,
    "type_vocab_size": 5,
    "initializer_range": 0.5,
    "layer_norm_eps": 0.0625,
    "pad_token_id": 7,
    "classifier_dropout": 0.75,
    "tie_word_embeddings": False,
    "problem_type": "multi_label_classification",
    "num_labels": 2,
    "id2label": {0: "ham", 1: "spam"},
    "output_attentions": True,
    "output_hidden_states": True,
}
"""No entry has its usual value but the number of labels, which the names decide."""


def saved_by_them(folder: Path, **entries: Any) -> Path:
    """A folder in which transformers has written config.json."""
    transformers.BertConfig(**entries).save_pretrained(folder)
    return folder


def written(folder: Path, **entries: Any) -> Path:
    """A folder with a config.json of these entries and no others."""
    (folder / "config.json").write_text(json.dumps(entries), "utf-8")
    return folder


def same_entries(config: BertConfig, other: Any) -> None:
    """Fail unless transformers' configuration says the same as ours, entry by entry."""
    for name, value in asdict(config).items():
        wanted = getattr(other, name)
        assert value == wanted, f"{name} is {value!r} here and {wanted!r} there"
    assert config.label2id == (other.label2id or {name: number for number, name in other.id2label.items()})


def test_every_entry_was_given_another_value() -> None:
    usual = asdict(BertConfig())
    assert ANOTHER_THROUGHOUT.keys() == usual.keys()
    assert [name for name, value in ANOTHER_THROUGHOUT.items() if value == usual[name]] == ["num_labels"]


def test_the_usual_values_are_those_of_transformers() -> None:
    same_entries(BertConfig(), transformers.BertConfig())


@pytest.mark.parametrize("entries", [{}, SMALL, ANOTHER_THROUGHOUT])
def test_a_configuration_of_transformers_is_read_entry_by_entry(entries: dict[str, Any], tmp_path: Path) -> None:
    found = BertConfig.from_pretrained(saved_by_them(tmp_path, **entries))
    same_entries(found, transformers.BertConfig(**entries))


@pytest.mark.parametrize("entries", [{}, SMALL, ANOTHER_THROUGHOUT])
def test_transformers_reads_a_configuration_of_ours_entry_by_entry(entries: dict[str, Any], tmp_path: Path) -> None:
    config = BertConfig(**entries)
    config.save_pretrained(tmp_path)
    same_entries(config, transformers.AutoConfig.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    "entries", [ANOTHER_THROUGHOUT, {**SMALL, "id2label": {0: "a", 1: "b", 2: "c"}, "num_labels": 3}]
)
def test_a_configuration_that_was_saved_is_the_same_when_read(entries: dict[str, Any], tmp_path: Path) -> None:
    config = BertConfig(**entries)
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path) == config


def test_the_names_of_labels_tell_how_many_there_are(tmp_path: Path) -> None:
    saved_by_them(tmp_path, id2label={0: "ham", 1: "spam", 2: "unsure"})
    config = BertConfig.from_pretrained(tmp_path)
    assert config.num_labels == 3
    assert config.id2label == {0: "ham", 1: "spam", 2: "unsure"}
    assert config.to_dict()["label2id"] == {"ham": 0, "spam": 1, "unsure": 2}
    assert "num_labels" not in config.to_dict()


def test_labels_without_names_are_numbered() -> None:
    content = BertConfig(num_labels=3).to_dict()
    assert content["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    assert BertConfig.from_dict(content).num_labels == 3


def test_a_new_number_of_labels_leaves_the_old_names_behind_as_in_transformers(tmp_path: Path) -> None:
    saved_by_them(tmp_path, id2label={0: "ham", 1: "spam", 2: "unsure"})
    same_entries(
        BertConfig.from_pretrained(tmp_path, num_labels=5),
        transformers.BertConfig.from_pretrained(tmp_path, num_labels=5),
    )
    kept = BertConfig.from_pretrained(tmp_path, num_labels=3)
    assert kept.id2label == {0: "ham", 1: "spam", 2: "unsure"}


def test_new_names_of_labels_bring_their_number(tmp_path: Path) -> None:
    saved_by_them(tmp_path, num_labels=5)
    assert BertConfig.from_pretrained(tmp_path, id2label={0: "yes", 1: "no", 2: "perhaps"}).num_labels == 3


def test_new_names_of_labels_bring_their_number_against_a_file_that_says_another(tmp_path: Path) -> None:
    """Kills: new names lost because the file's own number is believed."""
    written(tmp_path, model_type="bert", **SMALL, num_labels=5)
    config = BertConfig.from_pretrained(tmp_path, label2id={"yes": 0, "no": 1, "perhaps": 2})
    assert (config.num_labels, config.id2label) == (3, {0: "yes", 1: "no", 2: "perhaps"})
    both = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}, "num_labels": 2}
    same_entries(
        BertConfig.from_pretrained(tmp_path, **both), transformers.BertConfig.from_pretrained(tmp_path, **both)
    )


def test_numbers_of_labels_that_contradict_their_names_are_refused(tmp_path: Path) -> None:
    saved_by_them(tmp_path, **SMALL)
    with pytest.raises(InputError, match=r"label2id=.* must be the reverse of id2label"):
        BertConfig.from_pretrained(tmp_path, id2label={0: "yes", 1: "no"}, label2id={"yes": 1, "no": 0})


def test_a_number_of_labels_that_is_set_later_is_what_is_kept(tmp_path: Path) -> None:
    config = BertConfig(**SMALL)
    config.num_labels = 3
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path).num_labels == 3


def test_overrides_replace_single_entries(tmp_path: Path) -> None:
    saved_by_them(tmp_path, **SMALL)
    config = BertConfig.from_pretrained(tmp_path, hidden_dropout_prob=0.5, problem_type="regression")
    assert (config.hidden_dropout_prob, config.problem_type) == (0.5, "regression")
    assert config.hidden_size == SMALL["hidden_size"]


def test_an_override_that_is_no_entry_is_refused(tmp_path: Path) -> None:
    saved_by_them(tmp_path, **SMALL)
    with pytest.raises(InputError, match=r"^num_label=3 is no entry of BertConfig; it has .*vocab_size, .*num_labels"):
        BertConfig.from_pretrained(tmp_path, num_label=3)


def test_entries_that_change_nothing_here_are_passed_over(tmp_path: Path) -> None:
    unknown = {"use_cache": True, "transformers_version": "4.6.0", "gradient_checkpointing": False, "anything": [1]}
    usual = {"position_embedding_type": "absolute", "is_decoder": False}
    written(tmp_path, model_type="bert", **SMALL, **unknown, **usual)
    assert BertConfig.from_pretrained(tmp_path) == BertConfig(**SMALL)


def test_a_file_without_model_type_is_taken_for_what_it_is_opened_as(tmp_path: Path) -> None:
    written(tmp_path, hidden_size=24)
    assert BertConfig.from_pretrained(tmp_path).hidden_size == 24


def test_no_token_may_be_padding(tmp_path: Path) -> None:
    saved_by_them(tmp_path, pad_token_id=None)
    assert BertConfig.from_pretrained(tmp_path).pad_token_id is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type='relative_key' is not BERT as published",
        ),
        ({"is_decoder": True}, "is_decoder=True is not BERT as published, which has is_decoder=False"),
    ],
)
def test_another_arithmetic_than_that_of_bert_is_refused(entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        BertConfig.from_pretrained(written(tmp_path, **SMALL, **entry))


def test_another_family_is_refused_by_name(tmp_path: Path) -> None:
    message = r"config\.json says model_type='roberta', but BertConfig reads 'bert'"
    with pytest.raises(InputError, match=message):
        BertConfig.from_pretrained(written(tmp_path, model_type="roberta"))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 0}, "vocab_size=0 must be at least 1"),
    ({"hidden_size": 0}, "hidden_size=0 must be at least 1"),
    ({"hidden_size": "24"}, "hidden_size='24' must be a whole number"),
    ({"hidden_size": None}, "hidden_size=None must be a whole number"),
    ({"num_hidden_layers": -1}, "num_hidden_layers=-1 must be at least 0"),
    ({"num_hidden_layers": True}, "num_hidden_layers=True must be a whole number"),
    ({"num_attention_heads": 0}, "num_attention_heads=0 must be at least 1"),
    ({"num_attention_heads": 7}, "hidden_size=768 must be a multiple of num_attention_heads=7"),
    ({"intermediate_size": 12.5}, "intermediate_size=12.5 must be a whole number"),
    ({"intermediate_size": -3}, "intermediate_size=-3 must be at least 1"),
    ({"hidden_act": "swish"}, "hidden_act='swish' is not one of ['gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu']"),
    ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob=1.0 must be at least 0 and below 1"),
    ({"hidden_dropout_prob": "0.1"}, "hidden_dropout_prob='0.1' must be a number"),
    ({"attention_probs_dropout_prob": -0.5}, "attention_probs_dropout_prob=-0.5 must be at least 0 and below 1"),
    ({"classifier_dropout": 2.0}, "classifier_dropout=2.0 must be at least 0 and below 1"),
    ({"max_position_embeddings": 0}, "max_position_embeddings=0 must be at least 1"),
    ({"type_vocab_size": 0}, "type_vocab_size=0 must be at least 1"),
    ({"initializer_range": -0.02}, "initializer_range=-0.02 must be at least 0 and below inf"),
    ({"layer_norm_eps": float("nan")}, "layer_norm_eps=nan must be at least 0 and below inf"),
    ({"pad_token_id": 30522}, "pad_token_id=30522 must lie from 0 to 30521, or be None"),
    ({"pad_token_id": -1}, "pad_token_id=-1 must lie from 0 to 30521, or be None"),
    (
        {"problem_type": "classes"},
        "problem_type='classes' is not one of "
        "['regression', 'single_label_classification', 'multi_label_classification']",
    ),
    ({"num_labels": 0}, "num_labels=0 must be at least 1"),
    (
        {"num_labels": 3, "id2label": {0: "ham", 1: "spam"}},
        "id2label names [0, 1], but num_labels=3 asks for a name for each from 0 to 2",
    ),
]


@pytest.mark.parametrize(("entries", "message"), WRONG)
def test_an_entry_that_cannot_be_is_refused_by_name_and_value(entries: dict[str, Any], message: str) -> None:
    with as_users_run_it(), pytest.raises(InputError) as refusal:
        BertConfig(**entries)
    assert str(refusal.value) == message


def test_every_entry_that_can_be_wrong_was_tried() -> None:
    cannot_be_wrong = {"tie_word_embeddings", "output_attentions", "output_hidden_states"}
    assert {name for entries, _ in WRONG for name in entries} == asdict(BertConfig()).keys() - cannot_be_wrong


@pytest.mark.parametrize("names", [{"first": "ham", "second": "spam"}, ["ham", "spam"]])
def test_names_of_labels_without_their_numbers_are_refused(names: Any, tmp_path: Path) -> None:
    message = r"must give a name for each number, as in \{'0': 'ham'\}"
    with as_users_run_it(), pytest.raises(InputError, match=message):
        BertConfig.from_pretrained(written(tmp_path, id2label=names))


def test_a_size_that_was_not_published_is_refused() -> None:
    sizes = r"\['tiny', 'mini', 'small', 'medium', 'base', 'large'\]"
    with pytest.raises(InputError, match=f"size='huge' is not one of {sizes}"):
        BertConfig.preset("huge")


@pytest.mark.parametrize(
    ("size", "blocks", "width", "heads"), [("tiny", 2, 128, 2), ("base", 12, 768, 12), ("large", 24, 1024, 16)]
)
def test_a_published_size_is_the_published_one(size: str, blocks: int, width: int, heads: int) -> None:
    config = BertConfig.preset(size, type_vocab_size=3)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (blocks, width, heads)
    assert config.intermediate_size == 4 * width
    assert config.type_vocab_size == 3
