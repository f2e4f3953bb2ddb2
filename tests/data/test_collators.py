"""Collators: transformers' names, their padding, and masks that depend on an example and its seed alone."""

import pickle
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from minitransformer import batches
from minitransformer.batches import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
    MaskedLanguageCollator,
    default_data_collator,
)
from minitransformer.errors import InputError
from minitransformer.laws import check
from minitransformer.objectives.masked_lm import (
    draw_by_seeds,
    mask_as_drawn,
    mask_tokens,
)
from minitransformer.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is the second opinion: pip install it")

WORDS = [f"word{number}" for number in range(40)]
PIECES = [f"##piece{number}" for number in range(20)]
OURS = Tokenizer.from_vocabulary([*WORDS, *PIECES])
FIRST_WORD, FIRST_PIECE, END = 5, 45, 65
CLS, SEP, MASK = 2, 3, 4


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same vocabulary in transformers' hands."""
    return transformers.AutoTokenizer.from_pretrained(OURS.save_pretrained(tmp_path_factory.mktemp("tokenizer")))


class LeftTokenizer:
    """The least that a collator asks of a tokenizer, and padding at the beginning."""

    pad_token_id, mask_token_id, padding_side = 0, MASK, "left"
    all_special_ids = (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return END

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(OURS.tokens)}


# Masks that depend on an example and its seed alone

rows = st.lists(st.integers(1, END - 1), min_size=0, max_size=12)
any_seed = st.integers(0, 2**63 - 1)


def text_of(batch: dict[str, torch.Tensor], row: int) -> tuple[list[int], list[int]]:
    """The masked ids and the labels of one row, without its padding."""
    real = batch["attention_mask"][row].bool()
    assert (batch["labels"][row][~real] == -100).all()
    return batch["input_ids"][row][real].tolist(), batch["labels"][row][real].tolist()


@given(st.lists(st.tuples(rows, any_seed), min_size=1, max_size=7), st.data())
def test_what_becomes_of_an_example_does_not_depend_on_its_batch(
    seeded: list[tuple[list[int], int]], data: st.DataObject
) -> None:
    """Kills: one stream for a batch; draws for padding; a word that begins in the padding before it."""
    whole_words = data.draw(st.booleans())
    alone = DataCollatorForLanguageModeling(OURS, whole_word_mask=whole_words, mlm_probability=0.4)
    expected = [text_of(alone([{"input_ids": ids}], [seed]), 0) for ids, seed in seeded]
    order = data.draw(st.permutations(range(len(seeded))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(seeded)))) | {0, len(seeded)})
    for first, last in pairwise(cuts):
        part = order[first:last]
        collate: Any = DataCollatorForLanguageModeling(
            data.draw(st.sampled_from([OURS, LeftTokenizer()])),
            whole_word_mask=whole_words,
            mlm_probability=0.4,
            pad_to_multiple_of=data.draw(st.sampled_from([None, 2, 7, 16])),
        )
        fillings = [data.draw(st.integers(0, 3)) for _ in part]
        examples = [
            {"input_ids": seeded[place][0] + [0] * extra, "attention_mask": [1] * len(seeded[place][0]) + [0] * extra}
            for place, extra in zip(part, fillings, strict=True)
        ]
        batch = collate(examples, seeds=[seeded[place][1] for place in part])
        assert [text_of(batch, row) for row in range(len(part))] == [expected[place] for place in part]


@given(st.lists(st.tuples(rows, any_seed), min_size=1, max_size=5), st.integers(0, 4), st.booleans())
def test_our_own_collator_and_that_of_transformers_name_mask_alike(
    seeded: list[tuple[list[int], int]], extra: int, whole_words: bool
) -> None:
    examples, seeds = [{"input_ids": ids} for ids, _ in seeded], [seed for _, seed in seeded]
    length = max(len(ids) for ids, _ in seeded) + extra
    ours = MaskedLanguageCollator(OURS, whole_words=whole_words, length=length)(examples, seeds)
    named = DataCollatorForLanguageModeling(OURS, whole_word_mask=whole_words)(examples, seeds)
    assert [text_of(ours, row) for row in range(len(seeds))] == [text_of(named, row) for row in range(len(seeds))]


def mask_with_seeds(
    input_ids: torch.Tensor,
    maskable: torch.Tensor,
    mask_token_id: int,
    replacements: torch.Tensor,
    probability: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    continues_word: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with seeds that follow each other, as bad seeds do."""
    first = int(torch.randint(2**62, (), generator=generator))
    draws = draw_by_seeds(maskable, len(replacements), first + np.arange(len(input_ids)))
    shares = (probability, mask_share, random_share)
    return mask_as_drawn(input_ids, maskable, mask_token_id, replacements, draws, *shares, continues_word)


@pytest.mark.usefixtures("without_shape_checks")
def test_masks_drawn_row_by_row_keep_every_law_of_masking() -> None:
    """Kills: rows alike because their seeds are; a rounding shared by all; the last replacement never drawn."""
    report = check(mask_with_seeds, "masking", max_examples=30)
    assert report.passed, f"{report}"
    assert not report.not_judged


def test_every_bit_of_a_seed_counts() -> None:
    """Kills: seeds handed to torch as they are, which looks at 32 bits of them."""
    collate = DataCollatorForLanguageModeling(OURS)
    example = {"input_ids": [CLS, *range(FIRST_WORD, END), SEP] * 3}
    batch = collate([example] * 64, seeds=[1 << bit for bit in range(64)])
    assert len({tuple(text_of(batch, row)[1]) for row in range(64)}) == 64


def test_other_seeds_hide_other_words_and_no_seeds_draw_anew() -> None:
    collate = DataCollatorForLanguageModeling(OURS)
    example = [{"input_ids": [CLS, *range(FIRST_WORD, END), SEP]}]
    assert len({tuple(text_of(collate(example, [seed]), 0)[1]) for seed in range(20)}) == 20
    assert len({tuple(text_of(collate(example), 0)[1]) for _ in range(20)}) == 20


def test_without_seeds_a_batch_is_masked_as_the_objective_masks_it() -> None:
    ids = torch.arange(FIRST_WORD, END).repeat(3, 1)
    collate = MaskedLanguageCollator(OURS, generator=torch.Generator().manual_seed(8))
    batch = collate([{"input_ids": row} for row in ids])
    replacements, generator = torch.arange(5, END), torch.Generator().manual_seed(8)
    masked_ids, labels = mask_tokens(ids, ids > MASK, MASK, replacements, generator=generator)
    assert torch.equal(batch["input_ids"], masked_ids)
    assert torch.equal(batch["labels"], labels)


def test_the_seed_of_a_collator_repeats_its_batches_but_not_one_batch() -> None:
    example = [{"input_ids": [CLS, *range(FIRST_WORD, END), SEP]}]
    first, again = (DataCollatorForLanguageModeling(OURS, seed=3) for _ in range(2))
    drawn = [first(example)["labels"].tolist() for _ in range(3)]
    assert drawn == [again(example)["labels"].tolist() for _ in range(3)]
    assert drawn[0] != drawn[1]


def test_there_is_a_seed_for_each_example() -> None:
    with pytest.raises(InputError, match="1 seeds don't match 2 examples; give one for each"):
        DataCollatorForLanguageModeling(OURS)([{"input_ids": [7]}, {"input_ids": [8]}], seeds=[1])


def test_a_collator_travels_to_another_process() -> None:
    collate = pickle.loads(pickle.dumps(DataCollatorForWholeWordMask(OURS, seed=1)))  # noqa: S301 - as spawned workers do
    examples = [{"input_ids": list(range(FIRST_WORD, END))}]
    here = DataCollatorForWholeWordMask(OURS, seed=1)(examples)
    assert torch.equal(collate(examples)["labels"], here["labels"])


# Padding, with transformers as the second opinion


@st.composite
def tokenised(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Examples as a tokenizer gives them: lists, arrays or tensors, some of them with more than the ids."""
    extras = draw(st.sets(st.sampled_from(["attention_mask", "token_type_ids", "special_tokens_mask"])))
    label = draw(st.sampled_from([None, "label", "labels", "label_ids", "next_sentence_label"]))
    kind = draw(st.sampled_from([list, np.asarray, torch.tensor]))
    examples = []
    for _ in range(draw(st.integers(1, 5))):
        ids = draw(st.lists(st.integers(1, END - 1), min_size=1, max_size=9))
        example = {"input_ids": kind(ids), **{name: kind([1 - (i % 2) for i in ids]) for name in sorted(extras)}}
        if label:
            example[label] = draw(st.integers(0, 3))
        examples.append(example)
    return examples


def assert_same_batch(found: dict[str, torch.Tensor], expected: Any) -> None:
    """Equal to what transformers makes, to the type; a mask of real tokens may be added."""
    assert set(found) - {"attention_mask"} == {name for name in expected if expected[name] is not None} - {
        "attention_mask"
    }
    for name, tensor in found.items():
        if name in expected:
            assert tensor.dtype == expected[name].dtype, name
            assert torch.equal(tensor, expected[name]), name


multiples = {"pad_to_multiple_of": st.sampled_from([None, 1, 4, 8])}
paddings = st.one_of(
    st.fixed_dictionaries({"padding": st.sampled_from([True, "longest"]), **multiples}),
    st.fixed_dictionaries({"padding": st.just("max_length"), "max_length": st.sampled_from([9, 12, 13]), **multiples}),
)
sides = st.sampled_from(["right", "left"])


def copied(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(example) for example in examples]


@given(tokenised(), paddings, sides)
def test_padding_is_that_of_transformers(
    theirs: Any, examples: list[dict[str, Any]], options: dict[str, Any], side: str
) -> None:
    """Kills: the wrong side; special tokens claimed to be text; a length that isn't a multiple."""
    theirs.padding_side = side
    expected = transformers.DataCollatorWithPadding(theirs, **options)(copied(examples))
    assert_same_batch(DataCollatorWithPadding(theirs, **options)(examples), expected)
    if side == "right":
        assert_same_batch(DataCollatorWithPadding(OURS, **options)(examples), expected)


@given(tokenised(), paddings, sides, st.sampled_from(["label", "labels"]), st.sampled_from([-100, 7]))
def test_labels_of_tokens_are_padded_as_transformers_pads_them(
    theirs: Any, examples: list[dict[str, Any]], options: dict[str, Any], side: str, name: str, filling: int
) -> None:
    theirs.padding_side = side
    examples = [
        {**{field: example[field] for field in example if "label" not in field}, name: example["input_ids"]}
        for example in examples
    ]
    options = {**options, "label_pad_token_id": filling}
    expected = dict(transformers.DataCollatorForTokenClassification(theirs, **options)(copied(examples)))
    expected["labels"] = expected.pop(name)  # transformers keeps the name "label", which no model reads
    assert_same_batch(DataCollatorForTokenClassification(theirs, **options)(examples), expected)


class Shifter:
    """A model that makes its decoder's inputs of labels."""

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        return labels.roll(1, dims=1).masked_fill(labels == -100, 0)


@given(tokenised(), paddings, sides, st.data())
def test_labels_that_are_sequences_are_padded_as_transformers_pads_them(
    theirs: Any, examples: list[dict[str, Any]], options: dict[str, Any], side: str, data: st.DataObject
) -> None:
    theirs.padding_side = side
    answers = st.none() if data.draw(st.booleans()) else st.lists(st.integers(5, 60), min_size=1, max_size=9)
    examples = [
        {**{field: example[field] for field in example if "label" not in field}, "labels": data.draw(answers)}
        for example in examples
    ]
    model = data.draw(st.sampled_from([None, Shifter(), torch.nn.Linear(1, 1)]))
    expected = transformers.DataCollatorForSeq2Seq(theirs, model=model, **options)(copied(examples))
    assert_same_batch(DataCollatorForSeq2Seq(theirs, model=model, **options)(examples), expected)


@given(st.data(), paddings, sides, st.integers(1, 3), st.integers(1, 4))
def test_choices_are_padded_as_transformers_pads_them(
    theirs: Any, data: st.DataObject, options: dict[str, Any], side: str, n_choices: int, n_examples: int
) -> None:
    """Kills: choices and examples exchanged; choices of one example padded for themselves."""
    theirs.padding_side = side
    row = st.lists(st.integers(5, 60), min_size=1, max_size=9)
    examples = []
    for _ in range(n_examples):
        ids = data.draw(st.lists(row, min_size=n_choices, max_size=n_choices))
        masks = [[1] * len(choice) for choice in ids]
        examples.append({"input_ids": ids, "attention_mask": masks, "label": data.draw(st.integers(0, n_choices - 1))})
    expected = transformers.DataCollatorForMultipleChoice(theirs, **options)(copied(examples))
    assert_same_batch(DataCollatorForMultipleChoice(theirs, **options)(examples), expected)


@given(tokenised(), st.sampled_from([list, np.asarray, torch.tensor]), st.integers(1, 5), st.booleans())
def test_examples_of_one_length_are_stacked_as_transformers_stacks_them(
    examples: list[dict[str, Any]], kind: Any, length: int, has_fractions: bool
) -> None:
    label = {"label_ids": kind([0.0, 1.0])} if has_fractions else {"label": 2}
    alike = [
        {"input_ids": kind([number, *range(length)]), "text": "left out", "nothing": None, **label}
        for number in range(len(examples))
    ]
    if has_fractions and kind is np.asarray:
        expected = transformers.default_data_collator([{**example, "label_ids": [0.0, 1.0]} for example in alike])
    else:
        expected = transformers.default_data_collator(copied(alike))
    assert_same_batch(default_data_collator(alike), expected)


@given(tokenised(), sides, st.sampled_from([None, 4, 8]))
def test_the_labels_of_a_causal_model_are_those_of_transformers(
    theirs: Any, examples: list[dict[str, Any]], side: str, multiple: int | None
) -> None:
    """Kills: labels shifted already; padding asked for."""
    theirs.padding_side = side
    examples = [
        {name: value for name, value in example.items() if "label" not in name and name != "attention_mask"}
        for example in examples
    ]
    options = {"mlm": False, "pad_to_multiple_of": multiple}
    expected = transformers.DataCollatorForLanguageModeling(theirs, **options)(copied(examples))
    found = DataCollatorForLanguageModeling(theirs, **options)(examples)
    assert_same_batch(found, expected)
    assert torch.equal(found["attention_mask"], expected["attention_mask"])


def test_a_token_that_pads_elsewhere_is_asked_for_where_it_is_text() -> None:
    """Kills: the end of the text never learned, where a tokenizer pads with it."""
    tokenizer = SimpleNamespace(pad_token_id=SEP)
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([[7, 8, SEP], [9, SEP]])
    assert batch["labels"].tolist() == [[7, 8, SEP], [9, SEP, -100]]


def test_a_tokenizer_without_a_padding_token_serves_where_nothing_is_padded() -> None:
    collate = DataCollatorForLanguageModeling(SimpleNamespace(pad_token_id=None), mlm=False)
    assert collate([[7, 8], [9, 6]])["labels"].tolist() == [[7, 8], [9, 6]]
    with pytest.raises(InputError, match=r"example 1 has 1 tokens, and 2 are needed, but the tokenizer has no padding"):
        collate([[7, 8], [9]])


def test_a_tokenizer_that_only_pads_is_asked_to(theirs: Any) -> None:
    theirs.padding_side = "right"
    options = {"padding": "max_length", "max_length": 5}
    collate = DataCollatorWithPadding(SimpleNamespace(pad=theirs.pad), **options)
    examples = [{"input_ids": [7], "label": 1}, {"input_ids": [8, 9], "label": 0}]
    assert_same_batch(collate(examples), DataCollatorWithPadding(OURS, **options)(examples))


def test_a_field_that_is_not_known_to_run_along_the_tokens_is_stacked() -> None:
    """Kills: the labels of several classes padded, because an example happens to have as many tokens."""
    examples = [{"input_ids": [7, 8], "labels": [0.0, 1.0]}, {"input_ids": [9, 6], "labels": [1.0, 1.0]}]
    batch = DataCollatorWithPadding(OURS, pad_to_multiple_of=8)(examples)
    assert batch["labels"].tolist() == [[0.0, 1.0], [1.0, 1.0]]


# Masked words, for the tokenizers of transformers


@pytest.fixture(scope="module")
def crowd() -> list[dict[str, Any]]:
    ids = [CLS, *range(FIRST_WORD, FIRST_WORD + 20), SEP]
    return [{"input_ids": ids, "special_tokens_mask": [1, *[0] * 20, 1]} for _ in range(2000)]


@pytest.mark.parametrize("with_seeds", [False, True])
def test_words_are_hidden_in_the_shares_given_and_special_tokens_never(
    theirs: Any, crowd: list[dict[str, Any]], with_seeds: bool, assert_rate: Any
) -> None:
    theirs.padding_side = "right"
    collate = DataCollatorForLanguageModeling(theirs, seed=0)
    batch = collate(crowd, seeds=range(2000) if with_seeds else None)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    ids, labels = batch["input_ids"], batch["labels"]
    asked = labels != -100
    assert not asked[:, [0, -1]].any()
    assert asked.sum(1).tolist() == [3] * 2000, "15 % of 20 words"
    total, kept_by_luck = int(asked.sum()), 0.1 / (END - FIRST_WORD)
    assert_rate(int((ids == MASK).sum()), total, 0.8)
    assert_rate(int((ids == labels).sum()), total, 0.1 + kept_by_luck)
    assert_rate(int((asked & (ids != MASK) & (ids != labels)).sum()), total, 0.1 - kept_by_luck)
    assert (ids[asked] >= MASK).all(), "no replacement is special"


@pytest.mark.parametrize("with_offsets", [False, True])
@pytest.mark.parametrize("name", ["DataCollatorForWholeWordMask", "DataCollatorForLanguageModeling"])
def test_whole_words_are_hidden_whole(theirs: Any, with_offsets: bool, name: str) -> None:
    theirs.padding_side = "right"
    texts = ["word1piece2piece3 word4 word5piece6 " * 5, "word7 word8piece9"]
    encoded = theirs(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    fields = ["input_ids", "special_tokens_mask", *(["offset_mapping"] if with_offsets else [])]
    examples = [{field: encoded[field][row] for field in fields} for row in range(2)]
    options = {} if name == "DataCollatorForWholeWordMask" else {"whole_word_mask": True}
    collate = getattr(batches, name)(theirs, mlm_probability=0.4, **options)
    for seed in range(50):
        asked = collate(examples, seeds=[seed, seed + 1])["labels"] != -100
        words = asked[0, 1:31].reshape(5, 6)
        assert (words[:, 0] == words[:, 1]).all()
        assert (words[:, 0] == words[:, 2]).all()
        assert (words[:, 4] == words[:, 5]).all()
        assert asked[1, 2] == asked[1, 3]
        assert 0 < words.sum() < 30


def test_whole_words_of_a_tokenizer_that_marks_no_pieces_need_their_places(theirs: Any) -> None:
    class Unmarked(LeftTokenizer):
        padding_side = "right"

        def get_vocab(self) -> dict[str, int]:
            return {f"unmarked{number}": number for number in range(END)}

    collate = DataCollatorForWholeWordMask(Unmarked())
    with pytest.raises(InputError, match="return_offsets_mapping=True and keep the field offset_mapping"):
        collate([{"input_ids": [7, 8]}])
    offsets = np.array([[0, 2], [2, 4], [5, 6]])
    labels = collate([{"input_ids": [7, 8, 9], "offset_mapping": offsets}], seeds=[0])["labels"]
    assert labels[0].tolist() in ([7, 8, -100], [-100, -100, 9])


# Rows of data sets


def test_rows_of_a_dataset_train_in_every_format(theirs: Any) -> None:
    datasets = pytest.importorskip("datasets")
    theirs.padding_side = "right"
    ids = [[CLS, 7, 8, SEP], [CLS, 9, SEP], [CLS, *range(10, 18), SEP]]
    table = datasets.Dataset.from_dict(
        {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "label": [0, 1, 1]}
    )
    expected = DataCollatorWithPadding(theirs)([table[row] for row in range(3)])
    assert expected["labels"].tolist() == [0, 1, 1]
    for form in (None, "numpy", "torch"):
        rows_of_form = table.with_format(form)
        for batch in DataLoader(rows_of_form, batch_size=3, collate_fn=DataCollatorWithPadding(theirs)):
            assert_same_batch(batch, expected)
        masked = DataCollatorForLanguageModeling(theirs)([rows_of_form[row] for row in range(3)], seeds=[1, 2, 3])
        assert set(masked) == {"input_ids", "attention_mask", "labels"}


def test_the_label_of_a_pair_is_kept_beside_the_hidden_words() -> None:
    examples = [{"input_ids": [CLS, 7, 8, SEP, 9, SEP], "next_sentence_label": label} for label in (1, 0)]
    assert DataCollatorForLanguageModeling(OURS)(examples)["next_sentence_label"].tolist() == [1, 0]


# Errors


def collates(collate: Any, *examples: Any) -> Any:
    return lambda: collate(list(examples))


with_padding = DataCollatorWithPadding(OURS)
tags = DataCollatorForTokenClassification(OURS)
answers = DataCollatorForSeq2Seq(OURS, padding="max_length", max_length=4)
choices = DataCollatorForMultipleChoice(OURS)
ERRORS = {
    "no example": (collates(with_padding), "no example to collate; a batch needs at least one"),
    "no dict": (collates(with_padding, 7), "example 0 is of the type int; give a dict of fields"),
    "no ids": (
        collates(with_padding, {"text": 0}),
        r"example 0 has no field 'input_ids', only \['text'\]; turn its text into ids first",
    ),
    "a field is lacking": (
        collates(with_padding, {"input_ids": [5], "label": 1}, {"input_ids": [5]}),
        "example 1 has no field 'label', but example 0 has; give all the same fields",
    ),
    "a field too many": (
        collates(with_padding, {"input_ids": [5]}, {"input_ids": [5], "label": 1}),
        "example 0 has no field 'label', but example 1 has; give all the same fields",
    ),
    "two kinds of labels": (
        collates(with_padding, {"input_ids": [5], "label": 1, "labels": 1}),
        "field 'label' of example 0 stands beside 'labels'; keep one of the two",
    ),
    "a text": (
        collates(with_padding, {"input_ids": [5], "text": "a sea"}),
        r"field 'text' of example 0 is 'a sea'; give numbers, .* leave the field out, as in dataset.remove_columns",
    ),
    "ragged": (
        collates(with_padding, {"input_ids": [5], "spans": [[1], [2, 3]]}),
        r"field 'spans' of example 0 is \[\[1\], \[2, 3\]\]; give numbers, in rows of equal length",
    ),
    "a batch for a row": (
        collates(with_padding, {"input_ids": [[5, 6]]}),
        r"field 'input_ids' of example 0 has the shape \(1, 2\); give one row of ids",
    ),
    "unequal labels": (
        collates(with_padding, {"input_ids": [5], "labels": [1]}, {"input_ids": [5, 6], "labels": [1, 2]}),
        r"field 'labels' of example 1 has the shape \(2,\), and that of example 0 \(1,\); pad them alike",
    ),
    "a mask of another length": (
        collates(with_padding, {"input_ids": [5, 6], "attention_mask": [1]}),
        r"field 'attention_mask' of example 0 has 1 value\(s\), and there are 2 tokens; give one for each token",
    ),
    "unequal rows": (
        collates(DataCollatorWithPadding(OURS, padding=False), {"input_ids": [5, 6]}, {"input_ids": [5]}),
        "field 'input_ids' of example 1 has 1 tokens, and another example 2, but padding=False; pass padding=True",
    ),
    "rows that are too long": (
        collates(DataCollatorWithPadding(OURS, "max_length", 2), {"input_ids": [5]}, {"input_ids": [5, 6, 7]}),
        "field 'input_ids' of example 1 has 3 tokens, more than max_length=2; truncate when you tokenise",
    ),
    "default rows": (
        collates(default_data_collator, {"input_ids": [5]}, {"input_ids": [5, 6]}),
        r"field 'input_ids' of example 1 has the shape \(2,\), and that of example 0 \(1,\); pad them alike",
    ),
    "labels for fewer tokens": (
        collates(tags, {"input_ids": [5], "labels": [1]}, {"input_ids": [5, 6], "labels": [1]}),
        r"field 'labels' of example 1 has 1 value\(s\), and there are 2 tokens; give one for each token",
    ),
    "one label for tokens": (
        collates(tags, {"input_ids": [5], "labels": 1}),
        r"field 'labels' of example 0 has a single value\(s\)",
    ),
    "answers that are too long": (
        collates(answers, {"input_ids": [5], "labels": [5, 6, 7, 8, 9]}),
        r"field 'labels' of example 0 has the shape \(5,\); give one row of ids, no longer than 4",
    ),
    "other choices": (
        collates(choices, {"input_ids": [[5], [6]]}, {"input_ids": [[5]]}),
        r"field 'input_ids' of example 1 is \[\[5\]\]; give a row for each choice, and as many choices",
    ),
    "no choices": (collates(choices, {"input_ids": 5}), "field 'input_ids' of example 0 is 5; give a row for each"),
    "a choice that doesn't fit": (
        collates(choices, {"input_ids": [[5], [6]], "attention_mask": [[1], [1, 1]]}),
        r"with each of the 2 choices counted as an example: field 'attention_mask' of example 1 has 2 value\(s\)",
    ),
    "a wrong padding": (
        lambda: DataCollatorWithPadding(OURS, padding="shortest"),
        r"padding='shortest' must be True \(\"longest\"\), \"max_length\", or False",
    ),
    "a wrong multiple": (
        lambda: DataCollatorForLanguageModeling(OURS, pad_to_multiple_of=0),
        "pad_to_multiple_of=0 must be at least 1, or None",
    ),
    "no length": (
        collates(DataCollatorWithPadding(SimpleNamespace(pad_token_id=0), padding="max_length"), {"input_ids": [5]}),
        'padding="max_length" needs max_length; the tokenizer names none. Give max_length=128, say',
    ),
    "other tensors": (
        lambda: DataCollatorWithPadding(OURS, return_tensors="np"),
        r"return_tensors='np' must be \"pt\"",
    ),
    "no tokenizer": (lambda: DataCollatorWithPadding(7), "tokenizer is of the type int; give one with pad_token_id"),
    "no mask": (
        lambda: DataCollatorForLanguageModeling(SimpleNamespace(pad_token_id=0)),
        "mlm=True needs a tokenizer with a mask token; pass mlm=False to guess the next words",
    ),
    "no special tokens": (
        lambda: DataCollatorForLanguageModeling(SimpleNamespace(pad_token_id=0, mask_token_id=4)),
        "tokenizer is of the type SimpleNamespace, which doesn't name its special tokens",
    ),
    "no words to hide": (
        lambda: DataCollatorForLanguageModeling(OURS, mlm=False, whole_word_mask=True),
        "whole_word_mask=True hides words, and mlm=False hides none",
    ),
    "a wrong probability": (
        lambda: DataCollatorForLanguageModeling(OURS, mlm_probability=1.5),
        r"mlm_probability=1\.5 must lie above 0 and at most 1",
    ),
    "wrong shares": (
        lambda: DataCollatorForLanguageModeling(OURS, mask_replace_prob=0.95),
        r"mask_replace_prob=0\.95 and random_replace_prob=0\.1 must be at least 0 and together at most 1",
    ),
}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("wrong", ERRORS)
def test_what_does_not_fit_is_named_with_a_remedy(wrong: str) -> None:
    call, message = ERRORS[wrong]
    with pytest.raises(InputError, match=message):
        call()


def test_settings_that_would_change_nothing_any_more_cannot_be_set() -> None:
    collate = DataCollatorForLanguageModeling(OURS)
    with pytest.raises(AttributeError, match="cannot assign"):
        collate.mlm_probability = 0.5  # type: ignore[misc]


@settings(max_examples=20)
@given(tokenised())
def test_the_examples_are_left_alone(examples: list[dict[str, Any]]) -> None:
    before = [{name: np.asarray(value).tolist() for name, value in example.items()} for example in examples]
    for collate in (DataCollatorWithPadding(OURS), DataCollatorForLanguageModeling(OURS, mlm_probability=1.0)):
        collate(examples)
    assert [{name: np.asarray(value).tolist() for name, value in example.items()} for example in examples] == before
