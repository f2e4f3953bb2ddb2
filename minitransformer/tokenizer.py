"""Text to ids and back: WordPiece, trained on the user's corpus or loaded from a folder, in Hugging Face's files."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from minitransformer import hub
from minitransformer.encoding import (
    LONGEST_IMAGINABLE,
    TRUNCATIONS,
    BatchEncoding,
    choose,
    columns_of,
    filled,
    first_of_each,
    in_columns,
    in_rows,
    in_tensors,
    length_to_fill,
    require_texts,
)
from minitransformer.errors import InputError
from minitransformer.vocabulary import Vocabulary
from minitransformer.wordpiece import SPECIALS, build_backend, build_normalizer, learn_vocabulary

NO_LIMIT = int(1e30)
"""The `model_max_length` of a folder that names none, as in Hugging Face."""


class Tokenizer(Vocabulary):
    """A WordPiece tokenizer with BERT's special tokens.

    Make one with `Tokenizer.train`, `Tokenizer.from_vocabulary` or `Tokenizer.from_pretrained`.

    Source: Devlin et al. 2019, §3, and Wu et al. 2016, §4.1. The splitting into pieces is that of the published BERT
    (greedy, longest match first). The training procedure was never published; ours is that of the `tokenizers` library,
    which merges the most frequent pair of pieces, as byte-pair encoding does.

    >>> tokenizer = Tokenizer.from_vocabulary(["play", "##ing", "##s", "!"])
    >>> tokenizer.tokenize("Playing plays!")
    ['play', '##ing', 'play', '##s', '!']
    """

    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    is_fast = True

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        lowercase: bool = True,
        special_tokens: dict[str, str] | None = None,
        model_max_length: int = 512,
    ) -> None:
        backend.no_truncation()  # a loaded file may carry both; every call says for itself
        backend.no_padding()
        super().__init__(backend, special_tokens)
        self.lowercase = lowercase
        self.model_max_length = model_max_length
        self.padding_side = self.truncation_side = "right"

    @classmethod
    def train(
        cls, documents: Iterable[Iterable[str]], vocab_size: int = 4096, lowercase: bool = True, progress: bool = False
    ) -> "Tokenizer":
        """Learn a vocabulary from documents, in one pass; memory grows with the different words, not with the text.

        Give training documents only: a vocabulary that has seen held-out text has seen its words.

        Raises: InputError if `vocab_size` leaves no room beside the special tokens, or there is no text.

        >>> Tokenizer.train([["to be or not to be"]], vocab_size=30).tokenize("to be")
        ['to', 'be']
        """
        sentences = (sentence for document in documents for sentence in document)
        return cls.from_vocabulary(learn_vocabulary(sentences, vocab_size, lowercase, progress), lowercase)

    @classmethod
    def from_vocabulary(cls, tokens: Sequence[str], lowercase: bool = True) -> "Tokenizer":
        """Make a tokenizer of known pieces; the special tokens come first unless they are among them.

        Raises: InputError if a token is listed twice.

        >>> Tokenizer.from_vocabulary(["sea"]).convert_tokens_to_ids(["[PAD]", "[MASK]", "sea"])
        [0, 4, 5]
        """
        listed = [*(token for token in SPECIALS.values() if token not in set(tokens)), *tokens]
        vocabulary = {token: number for number, token in enumerate(listed)}
        if len(vocabulary) < len(listed):
            twice = next(token for number, token in enumerate(listed) if vocabulary[token] != number)
            raise InputError(f"token {twice!r} is listed twice in the vocabulary; each token needs one id")
        return cls(build_backend(vocabulary, lowercase), lowercase)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        do_lower_case: bool | None = None,
        model_max_length: int | None = None,
        cache_dir: str | Path | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "Tokenizer":
        """Load the tokenizer of a folder, or of a hub name, in Hugging Face's layout: `tokenizer.json`, or `vocab.txt`.

        Raises: InputError if the folder holds neither, or a file that isn't what its name says.
        """
        folder = hub.folder_of(folder, hub.holds_tokenizer, cache_dir, revision, local_files_only)
        settings = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
        specials = {role: token_text(settings[role]) for role in SPECIALS if settings.get(role) is not None}
        lowercase = bool(settings.get("do_lower_case", True)) if do_lower_case is None else do_lower_case
        limit = int(settings.get("model_max_length") or NO_LIMIT) if model_max_length is None else model_max_length
        if (folder / "tokenizer.json").is_file():
            backend = load_backend(folder / "tokenizer.json")
            if do_lower_case is not None:
                backend.normalizer = build_normalizer(do_lower_case)
            return cls(backend, lowercase, specials, limit)
        if not (folder / "vocab.txt").is_file():
            raise InputError(f"folder {folder} holds no tokenizer.json and no vocab.txt; give a tokenizer's folder")
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        vocabulary = {token: number for number, token in enumerate(lines) if token or number < len(lines) - 1}
        return cls(build_backend(vocabulary, lowercase, SPECIALS | specials), lowercase, specials, limit)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the files that `from_pretrained`, here and in `transformers`, reads; each replaced as a whole.

        Raises: InputError if the folder can't be written.
        """
        folder = Path(folder)
        settings = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "tokenize_chinese_chars": True,
            "strip_accents": None,
            "model_max_length": self.model_max_length,
            **self.special_tokens,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "tokenizer.json", self.backend.to_str(pretty=True))
            write_whole(folder / "vocab.txt", "".join(f"{token}\n" for token in self.tokens))
            write_whole(folder / "special_tokens_map.json", json.dumps(self.special_tokens, indent=2))
            write_whole(folder / "tokenizer_config.json", json.dumps(settings, indent=2))
        except OSError as error:
            raise InputError(f"folder {folder} can't be written ({error.strerror}); choose another") from error
        return folder

    def fingerprint(self) -> str:
        """Give a text that differs whenever the tokenizer does."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def tokenize(self, text: str) -> list[str]:
        """Split a text into pieces, without special tokens."""
        return list(self.backend.encode(text, add_special_tokens=False).tokens)

    def encode(self, text: str, text_pair: str | None = None, add_special_tokens: bool = True, **options: Any) -> Any:
        """Give the ids of a text, or of a pair: [CLS] A [SEP] B [SEP]; `options` are those of a call.

        >>> Tokenizer.from_vocabulary(["land", "sea"]).encode("sea", "land")
        [2, 6, 3, 5, 3]
        """
        return self(text, text_pair, add_special_tokens, **options)["input_ids"]

    def encode_sentences(self, sentences: Sequence[str]) -> list[list[int]]:
        """Give the ids of many sentences at once, without special tokens."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(sentences, add_special_tokens=False)]

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        """Turn ids back into text; spaces before punctuation and capital letters lost in encoding stay lost.

        >>> Tokenizer.from_vocabulary(["play", "##ing"]).decode([2, 5, 6, 3], skip_special_tokens=True)
        'playing'
        """
        numbers = [ids] if isinstance(ids, int) or getattr(ids, "ndim", 1) == 0 else ids
        return str(self.backend.decode([int(number) for number in numbers], skip_special_tokens=skip_special_tokens))

    def batch_decode(self, rows: Iterable[Any], skip_special_tokens: bool = False) -> list[str]:
        """Turn rows of ids back into texts."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
    ) -> BatchEncoding:
        """Encode a text, or a batch with one row per text, with Hugging Face's arguments and results.

        `padding`: True pads to the longest row, "max_length" to `max_length`. `truncation`: True shortens the longer
        text first, "only_first" and "only_second" one of both. Without `max_length` the tokenizer's own limit counts.

        Raises: InputError if the pairs don't match the texts, a length or setting can't be, or rows differ in length
        where tensors are asked for.

        >>> batch = Tokenizer.from_vocabulary(["land", "sea"])(["sea", "land sea"], padding=True)
        >>> batch.attention_mask
        [[1, 1, 1, 0], [1, 1, 1, 1]]
        """
        is_alone = isinstance(text, str) or (is_split_into_words and isinstance(next(iter(text), ""), str))
        texts, pairs = in_rows(text, text_pair, is_alone)
        limit = self.model_max_length if max_length is None else max_length
        if truncation is None and max_length is not None and not padding:
            truncation = "longest_first"  # as in Hugging Face
        shortened = self.shortening(truncation, limit, stride)
        encodings = self.encode_rows(texts, pairs, shortened, add_special_tokens, is_split_into_words)
        origins = list(range(len(encodings)))
        if return_overflowing_tokens:
            origins = [number for number, row in enumerate(encodings) for _ in (row, *row.overflowing)]
            encodings = [part for row in encodings for part in (row, *row.overflowing)]
        length = length_to_fill([len(row.ids) for row in encodings], padding, limit, pad_to_multiple_of)
        for row in encodings:
            row.pad(length or 0, direction=self.padding_side, pad_id=self.pad_token_id, pad_token=self.pad_token)
        wanted = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        columns = columns_of(encodings, [name for name, is_wanted in wanted.items() if is_wanted])
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = origins
        elif is_alone and return_tensors is None:
            columns = first_of_each(columns)
        return BatchEncoding(in_tensors(columns, return_tensors), encodings)

    def shortening(self, truncation: bool | str | None, limit: int, stride: int) -> dict[str, Any] | None:
        """What the backend is told about texts that are too long; nothing where they may be."""
        strategy = choose("truncation", truncation, TRUNCATIONS)
        if strategy is None or limit > LONGEST_IMAGINABLE:
            return None
        return {"max_length": limit, "stride": stride, "strategy": strategy, "direction": self.truncation_side}

    def encode_rows(
        self,
        texts: Sequence[Any],
        pairs: Sequence[Any] | None,
        truncation: Mapping[str, Any] | None,
        add_special_tokens: bool,
        is_split_into_words: bool,
    ) -> list[tokenizers.Encoding]:
        """Encode one row per text, shortened as `truncation` says."""
        if not texts or (pairs is not None and len(pairs) != len(texts)):
            raise InputError(f"{len(texts)} texts and {len(pairs or [])} pairs don't match; give at least one, paired")
        require_texts([*texts, *(pairs or [])], is_split_into_words)
        if truncation is not None:
            smallest = 3 if pairs is None else 5  # [CLS], [SEP], and a token of each segment
            if truncation["max_length"] < smallest:
                raise InputError(
                    f"max_length={truncation['max_length']} must be at least {smallest} to truncate; give a longer one"
                )
            self.backend.enable_truncation(**truncation)
        try:
            return list(
                self.backend.encode_batch(
                    texts if pairs is None else list(zip(texts, pairs, strict=True)),
                    is_pretokenized=is_split_into_words,
                    add_special_tokens=add_special_tokens,
                )
            )
        except Exception as error:  # the library raises a bare Exception
            raise InputError(f"the texts can't be encoded with {dict(truncation or {})}: {error}") from error
        finally:
            self.backend.no_truncation()

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool = True,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Fill rows that were encoded before, alone or together, up to one length; columns of other names stay.

        Raises: InputError if there are no `input_ids`, or rows differ in length where tensors are asked for.

        >>> Tokenizer.from_vocabulary(["sea"]).pad({"input_ids": [[2, 3], [2, 5, 3]]})["input_ids"]
        [[2, 3, 0], [2, 5, 3]]
        """
        columns = in_columns(encoded_inputs)
        is_alone = bool(columns["input_ids"]) and isinstance(columns["input_ids"][0], int)
        if is_alone:
            columns = {name: [column] for name, column in columns.items()}
        if return_attention_mask:
            columns.setdefault("attention_mask", [[1] * len(row) for row in columns["input_ids"]])
        lengths = [len(row) for row in columns["input_ids"]]
        length = length_to_fill(lengths, padding, max_length or self.model_max_length, pad_to_multiple_of)
        fillings = {"input_ids": self.pad_token_id, "token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1}
        for name in fillings.keys() & columns.keys():
            columns[name] = [filled(row, length, fillings[name], self.padding_side) for row in columns[name]]
        if is_alone and return_tensors is None:
            columns = first_of_each(columns)
        return BatchEncoding(in_tensors(columns, return_tensors))


class AutoTokenizer:
    """The tokenizer of any family, from its folder: ours is one class, and always the fast one."""

    def __init__(self) -> None:
        raise InputError("AutoTokenizer opens a tokenizer's folder; call AutoTokenizer.from_pretrained(folder)")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, use_fast: bool = True, **options: Any) -> Tokenizer:  # noqa: ARG003 - people's code says it
        """Load the tokenizer of a folder or a hub name; `options` are those of `Tokenizer.from_pretrained`.

        Raises: InputError if there is none.
        """
        return Tokenizer.from_pretrained(folder, **options)


def load_backend(file: Path) -> tokenizers.Tokenizer:
    """Load a `tokenizer.json`, saying so in one line if it isn't one."""
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is not a tokenizer file ({reason}); save or fetch it again") from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object, or nothing where there is no file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}); save or fetch it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold a JSON object; save or fetch it again")
    return content


def token_text(token: str | dict[str, Any]) -> str:
    """Give the text of a special token, which older files store with its settings.

    >>> token_text({"content": "[PAD]", "lstrip": False})
    '[PAD]'
    """
    return str(token["content"]) if isinstance(token, dict) else token


def write_whole(file: Path, text: str) -> None:
    """Write a file beside its place and rename it, so that nobody ever reads half of it."""
    handle, staged = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as content:
            content.write(text)
        Path(staged).chmod(0o644)  # mkstemp lets only the owner read
        Path(staged).replace(file)
    finally:
        Path(staged).unlink(missing_ok=True)
