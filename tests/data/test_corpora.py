"""Documents and labels: from the user's files, from fetched data, and split without sharing a document."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.corpora import (
    LabelledTexts,
    catalogue,
    documents,
    find,
    fingerprint,
    labelled,
    split_documents,
    split_labelled,
    split_sentences,
)
from minitransformer.corpora.files import guess_layout
from minitransformer.errors import InputError


@pytest.fixture
def write(tmp_path):
    def to_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


# sentences


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("It rained. We left! Why? No one knew.", ["It rained.", "We left!", "Why?", "No one knew."]),
        ('"Go!" she said. "Now."', ['"Go!" she said.', '"Now."']),
        ("Dr. J. R. Smith met St. Paul. They spoke.", ["Dr. J. R. Smith met St. Paul.", "They spoke."]),
        (
            "It cost 3.50 in all... and more. Then I. Then you.",
            ["It cost 3.50 in all... and more.", "Then I.", "Then you."],
        ),
        ("玄德曰：“汝来！”飞曰：“不去。”众皆笑。", ["玄德曰：“汝来！”", "飞曰：“不去。”", "众皆笑。"]),
        ("no punctuation at all", ["no punctuation at all"]),
        (" \t ", []),
    ],
)
def test_paragraphs_are_split_where_sentences_end(paragraph, sentences):
    assert split_sentences(paragraph) == sentences


@given(st.text(alphabet="ab .!?。A\"'I\n"))
def test_splitting_loses_nothing_but_space(paragraph):
    """Kills: text after the last full stop dropped; punctuation dropped."""
    assert "".join("".join(split_sentences(paragraph)).split()) == "".join(paragraph.split())


# the user's files


def test_a_sentence_a_line_and_a_blank_line_between_documents(write):
    """Kills: the last document lost without a final newline; several blank lines taken for empty documents."""
    path = write("a.txt", "\ufeffOne.\r\nTwo. And a half.\r\n\r\n \r\n\r\nThree.\nFour.")
    assert list(documents(path, layout="sentences")) == [["One.", "Two. And a half."], ["Three.", "Four."]]


def test_running_paragraphs_are_joined_and_split(write):
    path = write("a.txt", "One is long\nand wraps. Two\nas well.\n\nThree. Four.\n")
    assert list(documents(path, layout="paragraphs")) == [
        ["One is long and wraps.", "Two as well."],
        ["Three.", "Four."],
    ]


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("One.\nTwo.\n\nThree.\n", "sentences"),
        ("one\ntwo\nthree\n", "sentences"),
        ("One. Two. Three.\n\nFour. Five.\n", "paragraphs"),
        ("A long line that\nwraps. And another\none that wraps. So.\n", "paragraphs"),
        ("一。二。\n三。四。\n", "paragraphs"),
        ("一。\n二。\n", "sentences"),
    ],
)
def test_the_layout_is_guessed_from_where_sentences_end(write, text, layout):
    assert guess_layout(write("a.txt", text)) == layout


def test_a_folder_is_all_its_text_files_in_order(write, tmp_path):
    (tmp_path / "deep").mkdir()
    write("b.txt", "B.\n")
    write("a.txt", "A.\n")
    write("deep/c.txt", "C.\n")
    write("notes.md", "not me")
    assert list(documents(tmp_path)) == [["A."], ["B."], ["C."]]


def test_rows_of_tables_are_documents(write):
    """Kills: a quoted line break taken for a new row."""
    table = write("a.csv", 'text,label\n"One. Two,\nand more.",x\nThree.,y\n')
    assert list(documents(table)) == [["One.", "Two,\nand more."], ["Three."]]
    lines = write("a.jsonl", '{"body": "One. Two."}\n\n{"body": "Three."}\n')
    assert list(documents(lines, text_column="body")) == [["One.", "Two."], ["Three."]]


def test_labels_are_numbered_by_name_and_equal_texts_share_a_document(write):
    """Kills: labels numbered by appearance, so that training and test files disagree; a duplicate on both sides."""
    table = labelled(write("a.tsv", "text\tlabel\nb\t10\na\t9\nb\t9\n"))
    assert table == LabelledTexts(["b", "a", "b"], [1, 0, 0], ("9", "10"), [0, 1, 0])
    rows = [{"said": "x", "who": "spam", "talk": "t1"}, {"said": "y", "who": "ham", "talk": "t1"}]
    lines = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert labelled(lines, "said", "who", "talk") == LabelledTexts(["x", "y"], [1, 0], ("ham", "spam"), [0, 0])


def test_a_field_may_be_long(write):
    """Kills: the csv module's limit of 131,072 characters."""
    assert len(labelled(write("a.csv", f"text,label\n{'x' * 200_000},1\n")).texts[0]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt holds no text"),
        ("a.txt", b" \n\n\t\n", "a.txt holds no text"),
        ("a.txt", b"good\n\nb\xe4d\n", "a.txt is not UTF-8: byte 7 is 0xe4; save the file as UTF-8"),
        ("a.csv", b"", "a.csv holds no row"),
        ("a.csv", b"text,label\n", "a.csv holds no row"),
        ("a.csv", b"words,label\na,1\n", "a.csv line 2 has no column 'text'; its columns are: words, label"),
        ("a.csv", b"text,label\na,1\nb\n", "a.csv line 3 has no column 'label'"),
        ("a.csv", b"text,label\n ,1\n", "a.csv line 2: column 'text' is empty"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{text}\n', "a.jsonl line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": null, "label": 1}\n', "a.jsonl line 1 has no column 'text'"),
        ("a.jsonl", b'{"text": "a", "label": "\xff"}\n', "a.jsonl is not UTF-8: byte 24 is 0xff"),
    ],
)
def test_bad_files_are_named_with_the_place(write, name, content, message):
    """Kills: a traceback from the depths of a decoder."""
    path = write(name, content)
    with pytest.raises(InputError) as error:
        list(documents(path)) if name == "a.txt" else labelled(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_sources_that_are_not_there_are_named(tmp_path):
    for source in ("no/such/file.txt", "missing.txt", tmp_path / "missing"):
        with pytest.raises(InputError, match="no file or folder"):
            documents(source)
    with pytest.raises(InputError, match=r"no data set of documents is called 'kvj'; did you mean 'kjv'\?"):
        documents("kvj")
    with pytest.raises(InputError, match=r"no labelled data set is called 'kjv'; did you mean"):
        labelled("kjv")
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        list(documents(tmp_path))
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match="layout='verses' must be"):
        list(documents(tmp_path / "a.txt", layout="verses"))
    with pytest.raises(InputError, match="labels are read from such tables only"):
        labelled(tmp_path / "a.txt")


def test_the_fingerprint_changes_with_the_text(write, tmp_path):
    first = fingerprint(write("a.txt", "A."))
    assert first == fingerprint(write("b.txt", "A."))
    assert first != fingerprint(write("a.txt", "B."))
    in_folder = fingerprint(tmp_path)
    write("b.txt", "C.")
    assert in_folder != fingerprint(tmp_path)
    assert find("kjv").wheels[0].sha256 in fingerprint("kjv")


# splitting


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_a_split_shares_no_document_and_loses_none(count, held_out, seed):
    """Kills: a test document seen in training; a side without documents."""
    training, aside = split_documents(range(count), held_out, seed)
    assert sorted(training + aside) == list(range(count))
    assert training
    assert aside
    assert abs(len(aside) - held_out * count) <= 1
    assert (training, aside) == split_documents(range(count), held_out, seed)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda ids: len(set(ids)) > 1), st.integers(0, 99))
def test_a_labelled_split_keeps_documents_together(document_ids, seed):
    """Kills: a split by text, which puts halves of a document on both sides."""
    texts = [str(number) for number in range(len(document_ids))]
    table = LabelledTexts(texts, [0] * len(texts), ("only",), document_ids)
    training, aside = split_labelled(table, 0.3, seed)
    assert not set(training.document_ids) & set(aside.document_ids)
    assert sorted(training.texts + aside.texts, key=int) == texts
    assert aside.texts


@given(st.integers(2, 30), st.integers(0, 99))
def test_documents_and_their_labelled_texts_are_split_alike(count, seed):
    """Kills: fine-tuning tested on documents that were pretrained on."""
    rng = np.random.default_rng(seed)
    document_ids = [*range(count), *rng.integers(0, count, size=17).tolist()]
    table = LabelledTexts(["x"] * len(document_ids), [0] * len(document_ids), ("only",), document_ids)
    assert set(split_labelled(table, 0.2, seed)[1].document_ids) == set(split_documents(range(count), 0.2, seed)[1])


def test_impossible_splits_are_refused():
    with pytest.raises(InputError, match=r"1 document\(s\) can't be split"):
        split_documents(["one"])
    with pytest.raises(InputError, match=r"held_out=1\.0 must lie between 0 and 1"):
        split_documents(["one", "two"], held_out=1.0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"], [0, 0], ("x",), [0]), r"lengths \(1, 2, 1\)"),
        ((["a"], [1], ("x",), [0]), "label 1 has no name among 1"),
        ((["a"], [-1], ("x",), [0]), "label -1 has no name"),
    ],
)
def test_labelled_texts_must_fit_together(columns, message):
    with pytest.raises(InputError, match=message):
        LabelledTexts(*columns)


# the catalogue


def test_the_catalogue_is_pinned_and_licensed():
    names = [data_set.name for data_set in catalogue()]
    assert len(set(names)) == len(names)
    assert {"kjv", "shakespeare", "movie-reviews", "sms-spam", "sanguo", "synthetic"} <= set(names)
    for data_set in catalogue():
        assert data_set.description
        assert data_set.data_licence
        assert bool(data_set.wheels) != data_set.name.startswith("synthetic")
        for wheel in data_set.wheels:
            assert len(wheel.sha256) == 64
            assert wheel.file_name.startswith(f"{wheel.package.replace('-', '_')}-{wheel.version}-")
            assert wheel.licence
            assert wheel.size > 100_000


def test_the_documentation_lists_every_data_set_with_its_licences():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for data_set in catalogue():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{data_set.name}` |"))
        assert data_set.description in row
        assert data_set.data_licence in row
        assert all(wheel.licence in row for wheel in data_set.wheels)


def test_the_synthetic_sources_need_no_file():
    assert len(next(iter(documents("synthetic")))) == 12
    assert len(labelled("synthetic-topic").label_names) == 6
