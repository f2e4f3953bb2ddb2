"""Text to ids and back: WordPiece, trained on the user's corpus or loaded from a folder, in Hugging Face's files."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from jaxtyping import Int
from torch import Tensor

from minitransformer.errors import InputError
from minitransformer.wordpiece import CONTINUES_WORD, SPECIALS, build_backend, learn_vocabulary


class Tokenizer:
    """A WordPiece tokenizer with BERT's special tokens.

    Make one with `Tokenizer.train`, `Tokenizer.from_vocabulary` or `Tokenizer.from_pretrained`.

    Source: Devlin et al. 2019, §3, and Wu et al. 2016, §4.1. The splitting into pieces is that of the published BERT
    (greedy, longest match first). The training procedure was never published; ours is that of the `tokenizers` library,
    which merges the most frequent pair of pieces, as byte-pair encoding does.

    >>> tokenizer = Tokenizer.from_vocabulary(["play", "##ing", "##s", "!"])
    >>> tokenizer.tokenize("Playing plays!")
    ['play', '##ing', 'play', '##s', '!']
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, lowercase: bool = True, special_tokens: dict[str, str] | None = None
    ) -> None:
        backend.no_truncation()  # a loaded file may carry both; every call says for itself
        backend.no_padding()
        self.backend = backend
        self.lowercase = lowercase
        self.special_tokens = SPECIALS | (special_tokens or {})
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [token for token in self.special_tokens.values() if token not in vocabulary]
        if missing:
            raise InputError(f"the vocabulary lacks the special tokens {missing}; add them, or name the ones it has")
        self.id_of_role = {role: vocabulary[token] for role, token in self.special_tokens.items()}

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
    def from_pretrained(cls, folder: str | Path) -> "Tokenizer":
        """Load the tokenizer of a folder in Hugging Face's layout: `tokenizer.json`, or `vocab.txt`.

        Raises: InputError if the folder holds neither, or a file that isn't what its name says.
        """
        folder = Path(folder)
        settings = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
        specials = {role: token_text(settings[role]) for role in SPECIALS if settings.get(role) is not None}
        lowercase = bool(settings.get("do_lower_case", True))
        if (folder / "tokenizer.json").is_file():
            return cls(load_backend(folder / "tokenizer.json"), lowercase, specials)
        if not (folder / "vocab.txt").is_file():
            raise InputError(f"folder {folder} holds no tokenizer.json and no vocab.txt; give a tokenizer's folder")
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        vocabulary = {token: number for number, token in enumerate(lines) if token or number < len(lines) - 1}
        return cls(build_backend(vocabulary, lowercase, SPECIALS | specials), lowercase, specials)

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
            "model_max_length": 512,
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

    @property
    def tokens(self) -> list[str]:
        """All tokens in the order of their ids."""
        vocabulary = self.backend.get_vocab(with_added_tokens=True)
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def pad_token_id(self) -> int:
        """The id of [PAD], which fills a row up to the batch's length."""
        return self.id_of_role["pad_token"]

    @property
    def unk_token_id(self) -> int:
        """The id of [UNK], which stands for a word the vocabulary can't spell."""
        return self.id_of_role["unk_token"]

    @property
    def cls_token_id(self) -> int:
        """The id of [CLS], which begins every row."""
        return self.id_of_role["cls_token"]

    @property
    def sep_token_id(self) -> int:
        """The id of [SEP], which ends every segment."""
        return self.id_of_role["sep_token"]

    @property
    def mask_token_id(self) -> int:
        """The id of [MASK], which hides a word."""
        return self.id_of_role["mask_token"]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of all special tokens, ascending: those named by a role, and any other the file marks as special."""
        marked = {number for number, token in self.backend.get_added_tokens_decoder().items() if token.special}
        return tuple(sorted(marked | set(self.id_of_role.values())))

    @property
    def continuation_ids(self) -> tuple[int, ...]:
        """The ids of pieces that continue a word.

        >>> Tokenizer.from_vocabulary(["play", "##ing"]).continuation_ids
        (6,)
        """
        return tuple(number for number, token in enumerate(self.tokens) if token.startswith(CONTINUES_WORD))

    def fingerprint(self) -> str:
        """Give a text that differs whenever the tokenizer does."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def tokenize(self, text: str) -> list[str]:
        """Split a text into pieces, without special tokens."""
        return list(self.backend.encode(text, add_special_tokens=False).tokens)

    def encode(self, text: str, text_pair: str | None = None, add_special_tokens: bool = True) -> list[int]:
        """Give the ids of a text, or of a pair: [CLS] A [SEP] B [SEP].

        >>> Tokenizer.from_vocabulary(["land", "sea"]).encode("sea", "land")
        [2, 6, 3, 5, 3]
        """
        return list(self.backend.encode(text, text_pair, add_special_tokens=add_special_tokens).ids)

    def encode_sentences(self, sentences: Sequence[str]) -> list[list[int]]:
        """Give the ids of many sentences at once, without special tokens."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(sentences, add_special_tokens=False)]

    def decode(self, ids: Iterable[int] | Int[Tensor, " L"], skip_special_tokens: bool = False) -> str:
        """Turn ids back into text; spaces before punctuation and capital letters lost in encoding stay lost.

        >>> Tokenizer.from_vocabulary(["play", "##ing"]).decode([2, 5, 6, 3], skip_special_tokens=True)
        'playing'
        """
        return str(self.backend.decode([int(number) for number in ids], skip_special_tokens=skip_special_tokens))

    def convert_ids_to_tokens(self, ids: Iterable[int] | Int[Tensor, " L"]) -> list[str]:
        """Name each id.

        Raises: InputError if an id is not in the vocabulary.
        """
        named = [(int(number), self.backend.id_to_token(int(number))) for number in ids]
        for number, token in named:
            if token is None:
                raise InputError(f"id {number} names no token; ids must lie between 0 and {self.vocab_size - 1}")
        return [str(token) for _, token in named]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Number each token; one that isn't in the vocabulary gets the id of [UNK]."""
        numbers = (self.backend.token_to_id(token) for token in tokens)
        return [self.unk_token_id if number is None else int(number) for number in numbers]

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        padding: bool | str = True,
        truncation: bool = False,
        max_length: int | None = None,
    ) -> dict[str, Tensor]:
        """Give a batch of one row per text as tensors under Hugging Face's names.

        `padding`: True pads to the longest row, "max_length" to `max_length`. `truncation` shortens the longer segment
        first.

        Raises: InputError if the pairs don't match the texts, truncation has no length, or rows differ in length and
        aren't padded.

        >>> batch = Tokenizer.from_vocabulary(["land", "sea"])(["sea", "land sea"])
        >>> batch["attention_mask"].tolist()
        [[1, 1, 1, 0], [1, 1, 1, 1]]
        """
        encodings = self.encode_rows(text, text_pair, max_length if truncation else None, truncation)
        longest = max(len(encoding.ids) for encoding in encodings)
        length = max_length if padding == "max_length" and max_length else longest
        if not padding and any(len(encoding.ids) != longest for encoding in encodings):
            raise InputError("padding=False needs texts of equal length; pass padding=True")
        columns: dict[str, list[list[int]]] = {"input_ids": [], "token_type_ids": [], "attention_mask": []}
        for encoding in encodings:
            filling = max(0, length - len(encoding.ids))
            columns["input_ids"].append(encoding.ids + [self.pad_token_id] * filling)
            columns["token_type_ids"].append(encoding.type_ids + [0] * filling)
            columns["attention_mask"].append([1] * len(encoding.ids) + [0] * filling)
        return {name: torch.tensor(rows, dtype=torch.long) for name, rows in columns.items()}

    def encode_rows(
        self, text: str | Sequence[str], text_pair: str | Sequence[str] | None, max_length: int | None, truncation: bool
    ) -> list[tokenizers.Encoding]:
        """Encode one row per text, shortened to `max_length` if one is given."""
        texts = [text] if isinstance(text, str) else list(text)
        pairs = [text_pair] if isinstance(text_pair, str) else text_pair if text_pair is None else list(text_pair)
        if not texts or (pairs is not None and len(pairs) != len(texts)):
            raise InputError(f"{len(texts)} texts and {len(pairs or [])} pairs don't match; give at least one, paired")
        smallest = 3 if pairs is None else 5  # [CLS], [SEP], and a token of each segment
        if truncation and (max_length is None or max_length < smallest):
            raise InputError(f"max_length={max_length} must be at least {smallest} to truncate; give a longer one")
        if max_length is not None:
            self.backend.enable_truncation(max_length, strategy="longest_first")
        try:
            return list(self.backend.encode_batch(texts if pairs is None else list(zip(texts, pairs, strict=True))))
        finally:
            self.backend.no_truncation()


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
