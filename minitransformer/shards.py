"""A corpus tokenised once into memory-mapped files, so that it may be larger than memory."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from minitransformer.errors import InputError
from minitransformer.tokenizer import Tokenizer

LAYOUT_VERSION = 1
SENTENCES_AT_ONCE = 4096
TOKENS_PER_SHARD = 2**22


@dataclass(frozen=True)
class Shard:
    """One piece of a corpus: three memory-mapped arrays, of which the operating system reads what is looked at.

    Sentence s is `tokens[sentence_starts[s] : sentence_starts[s + 1]]`; document d has the sentences from
    `document_starts[d]` to `document_starts[d + 1]`.
    """

    tokens: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray


class Shards(Sequence[list[np.ndarray]]):
    """A tokenised corpus: a sequence of documents, each a list of arrays of ids, one per sentence.

    Open one with `Shards.build` or `Shards.open`. It may be shared by forked workers, and sent to spawned ones: it only
    reads, and what is sent is the name of the folder.
    """

    def __init__(self, folder: Path, documents: Int[np.ndarray, " documents"] | None = None) -> None:
        self.folder = folder
        self.contents = read_index(folder)
        self.shards = [open_shard(folder, number) for number in range(self.contents["shards"])]
        counts = [len(shard.document_starts) - 1 for shard in self.shards]
        self.documents = np.arange(sum(counts)) if documents is None else documents
        self.shard_of = np.repeat(np.arange(len(counts)), counts)[self.documents]
        self.number_in_shard = np.concatenate([np.arange(count) for count in counts])[self.documents]

    @classmethod
    def open(cls, folder: str | Path) -> "Shards":
        """Open a folder that `build` made.

        Raises: InputError if the folder holds no whole corpus, or one of another layout.
        """
        return cls(Path(folder))

    @classmethod
    def build(
        cls,
        folder: str | Path,
        documents: Iterable[Iterable[str]],
        tokenizer: Tokenizer,
        source: str = "",
        tokens_per_shard: int = TOKENS_PER_SHARD,
        progress: bool = False,
    ) -> "Shards":
        """Tokenise documents into a folder, or open it if it was built from the same `source` and tokenizer.

        Memory holds one shard at a time. The folder is filled beside its place and renamed last: an interrupted build
        leaves nothing. `source` is any text that changes with the documents, such as `corpora.fingerprint`; empty means
        always build. A document without tokens stays, empty, so that numbers of documents keep their meaning.

        Raises: InputError if the documents hold no token, or the folder can't be written or isn't ours to replace.
        """
        folder = Path(folder)
        fingerprint = f"{source}:{tokenizer.fingerprint()}" if source else ""
        if fingerprint and is_built(folder) and read_index(folder)["fingerprint"] == fingerprint:
            return cls.open(folder)
        if folder.exists() and not is_built(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise InputError(f"{folder} is there and holds something else; choose another folder for the shards")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
                staged = Path(staging) / "shards"
                staged.mkdir()
                write_shards(staged, documents, tokenizer, fingerprint, tokens_per_shard, progress)
                put_in_place(staged, folder, Path(staging) / "replaced")
        except OSError as error:
            raise InputError(f"folder {folder} can't be written ({error.strerror}); choose another") from error
        return cls.open(folder)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, document: int) -> list[np.ndarray]:  # type: ignore[override]
        shard, number = self.find(document)
        starts = shard.sentence_starts[shard.document_starts[number] : shard.document_starts[number + 1] + 1]
        return [shard.tokens[start:stop] for start, stop in itertools.pairwise(starts)]

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path, np.ndarray]]:
        return Shards, (self.folder, self.documents)

    def find(self, document: int) -> tuple[Shard, int]:
        """Give the shard that holds a document, and the document's number in it."""
        return self.shards[self.shard_of[document]], int(self.number_in_shard[document])

    def span(self, document: int, start: int, stop: int) -> np.ndarray:
        """Give the tokens from `start` to `stop` of a document, counted from its beginning across its sentences."""
        shard, number = self.find(document)
        first = shard.sentence_starts[shard.document_starts[number]]
        return shard.tokens[first + start : first + stop]

    def sentence_lengths(self) -> Iterator[np.ndarray]:
        """Yield for each document how many tokens each of its sentences has."""
        for document in range(len(self)):
            shard, number = self.find(document)
            yield np.diff(shard.sentence_starts[shard.document_starts[number] : shard.document_starts[number + 1] + 1])

    def select(self, documents: Iterable[int]) -> "Shards":
        """Give some of the documents, in this order, without copying anything."""
        return Shards(self.folder, self.documents[np.fromiter(documents, dtype=np.int64)])

    @property
    def token_count(self) -> int:
        """How many tokens the documents have."""
        return sum(int(lengths.sum()) for lengths in self.sentence_lengths())

    @property
    def cls_token_id(self) -> int:
        """The id of [CLS] of the tokenizer the corpus was built with."""
        return int(self.contents["cls_token_id"])

    @property
    def sep_token_id(self) -> int:
        """The id of [SEP] of the tokenizer the corpus was built with."""
        return int(self.contents["sep_token_id"])


def is_built(folder: Path) -> bool:
    """Say whether a folder holds shards."""
    return (folder / "index.json").is_file()


def read_index(folder: Path) -> dict[str, Any]:
    """Read what the folder holds.

    Raises: InputError if there is no index, or one of another layout.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"folder {folder} holds no tokenised corpus; build it with Shards.build") from error
    if not isinstance(index, dict) or index.get("layout") != LAYOUT_VERSION:
        raise InputError(f"folder {folder} was made by another version; delete it and build it again")
    return index


def open_shard(folder: Path, number: int) -> Shard:
    """Memory-map the three arrays of a shard.

    Raises: InputError if one is missing or damaged.
    """
    try:
        names = ("tokens", "sentence_starts", "document_starts")
        files = [array_file(folder, number, name) for name in names]
        return Shard(*(np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for file in files))
    except (OSError, ValueError) as error:
        raise InputError(
            f"shard {number} of {folder} is missing or damaged; delete the folder and build again"
        ) from error


def array_file(folder: Path, number: int, name: str) -> Path:
    """Name the file of an array.

    >>> array_file(Path("corpus"), 3, "tokens").name
    '00003.tokens.npy'
    """
    return folder / f"{number:05d}.{name}.npy"


@dataclass(frozen=True)
class TokenisedDocument:
    """The ids of a document's sentences one after another, and how many each sentence has."""

    tokens: np.ndarray
    sentence_lengths: list[int]


def write_shards(
    folder: Path,
    documents: Iterable[Iterable[str]],
    tokenizer: Tokenizer,
    fingerprint: str,
    tokens_per_shard: int,
    progress: bool,
) -> None:
    """Write the arrays shard by shard, then the index that makes them a corpus."""
    shard: list[TokenisedDocument] = []
    shard_tokens = tokens = written = 0
    encoded = encode_documents(documents, tokenizer)
    total = len(documents) if isinstance(documents, Sequence) else None
    for document in tqdm(encoded, "Tokenising", total, unit=" documents", disable=not progress):
        shard.append(document)
        shard_tokens += len(document.tokens)
        if shard_tokens >= tokens_per_shard:
            write_shard(folder, written, shard)
            tokens, written, shard, shard_tokens = tokens + shard_tokens, written + 1, [], 0
    if shard:
        write_shard(folder, written, shard)
        tokens, written = tokens + shard_tokens, written + 1
    if not tokens:
        raise InputError("the documents hold no token to learn from; check that the files hold text")
    contents = {"layout": LAYOUT_VERSION, "fingerprint": fingerprint, "shards": written}
    contents |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    (folder / "index.json").write_text(json.dumps(contents, indent=2), encoding="utf-8")


def encode_documents(documents: Iterable[Iterable[str]], tokenizer: Tokenizer) -> Iterator[TokenisedDocument]:
    """Yield the documents tokenised, a few thousand sentences at a time."""
    waiting: list[list[str]] = []
    sentences = 0
    for document in documents:
        waiting.append(list(document))
        sentences += len(waiting[-1])
        if sentences >= SENTENCES_AT_ONCE:
            yield from encode_together(waiting, tokenizer)
            waiting, sentences = [], 0
    yield from encode_together(waiting, tokenizer)


def encode_together(documents: list[list[str]], tokenizer: Tokenizer) -> Iterator[TokenisedDocument]:
    """Encode the sentences of many documents in one call, which uses all cores, and part them again.

    Sentences without a token are left out.
    """
    encoded = iter(tokenizer.encode_sentences([sentence for document in documents for sentence in document]))
    kind = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    for document in documents:
        sentences = [ids for ids in (next(encoded) for _ in document) if ids]
        tokens = np.fromiter(itertools.chain.from_iterable(sentences), dtype=kind)
        yield TokenisedDocument(tokens, [len(sentence) for sentence in sentences])


def write_shard(folder: Path, number: int, documents: list[TokenisedDocument]) -> None:
    """Write the three arrays of one shard and make sure they are on the disk."""
    lengths = [length for document in documents for length in document.sentence_lengths]
    sentence_counts = [len(document.sentence_lengths) for document in documents]
    arrays = {
        "tokens": np.concatenate([document.tokens for document in documents]),
        "sentence_starts": np.cumsum([0, *lengths], dtype=np.int64),
        "document_starts": np.cumsum([0, *sentence_counts], dtype=np.int64),
    }
    for name, array in arrays.items():
        with array_file(folder, number, name).open("wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def put_in_place(staged: Path, folder: Path, replaced: Path) -> None:
    """Rename the finished folder to its place; what stood there moves aside and goes with the staging folder."""
    if folder.exists():
        folder.rename(replaced)
    try:
        staged.rename(folder)
    except OSError:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
