"""A corpus tokenised once into files that are read part by part, so that it may be larger than memory."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from minitransformer.errors import InputError
from minitransformer.stored import Numbers, Stored, read_parts
from minitransformer.tokenizer import Tokenizer

LAYOUT_VERSION = 2
SENTENCES_AT_ONCE = 4096
TOKENS_PER_SHARD = 2**25
COUNTS_FILE = "token_counts.npy"


@dataclass(frozen=True)
class Shard:
    """One piece of a corpus: sentence s is `tokens[sentence_starts[s] : sentence_starts[s + 1]]`."""

    tokens: Stored
    sentence_starts: Stored


@dataclass(frozen=True)
class Documents:
    """Where each document begins among the sentences and tokens of the whole corpus, and where the last one ends."""

    sentences: np.ndarray
    tokens: np.ndarray


class Layout(NamedTuple):
    """Where some documents lie: the shard of each, and its sentences and tokens as they are numbered there."""

    shard_of: Numbers
    first: Numbers
    last: Numbers
    """After its last sentence."""
    begin: Numbers
    end: Numbers

    @property
    def n_sentences(self) -> Numbers:
        """How many sentences each has."""
        return np.asarray(self.last - self.first)

    @property
    def n_tokens(self) -> Numbers:
        """How many tokens each has."""
        return np.asarray(self.end - self.begin)


class Shards(Sequence[list[np.ndarray]]):
    """A tokenised corpus: a sequence of documents, each a list of arrays of ids, one per sentence.

    Open one with `Shards.build` or `Shards.open`: neither reads more than an index, however large the corpus. It may be
    shared by forked workers, and sent to spawned ones: it only reads, and what is sent is the name of the folder.
    """

    def __init__(self, folder: Path, documents: Numbers | None = None) -> None:
        self.folder = folder
        self.contents = read_index(folder)
        sizes = np.array(self.contents["shards"], dtype=np.int64)  # sentences and tokens
        self.first_sentences, self.first_tokens = starts_of(sizes[:, 0]), starts_of(sizes[:, 1])
        self.shards = [open_shard(folder, number) for number in range(len(sizes))]
        self.begins = open_documents(folder)
        self.documents, self.starts = documents, self.begins.tokens
        self.n_documents, self.token_count = len(self.starts) - 1, int(self.first_tokens[-1])
        self.n_without_text, self.n_alone = self.contents["without_text"], self.contents["alone"]
        if documents is not None:
            layout = self.layout(np.arange(len(documents)))
            self.starts = starts_of(layout.n_tokens)
            self.n_documents, self.token_count = len(documents), int(self.starts[-1])
            self.n_without_text = int((layout.n_sentences == 0).sum())
            self.n_alone = int(layout.n_tokens[layout.n_sentences == 1].sum())

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
                encoded = shown(encode_documents(documents, tokenizer), documents, progress)
                specials = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
                known = {"fingerprint": fingerprint, **specials}
                write_shards(staged, in_shards(encoded, tokens_per_shard), tokenizer.vocab_size, known)
                put_in_place(staged, folder, Path(staging) / "replaced")
        except OSError as error:
            raise InputError(f"folder {folder} can't be written ({error.strerror}); choose another") from error
        return cls.open(folder)

    def __len__(self) -> int:
        return self.n_documents

    def __getitem__(self, document: int) -> list[np.ndarray]:  # type: ignore[override]
        layout = self.layout(np.array([range(len(self))[document]]))
        starts = self.sentence_starts(layout.shard_of, layout.first, layout.last) - layout.begin
        tokens = self.tokens(layout.shard_of, layout.begin, layout.end)
        return [tokens[start:stop] for start, stop in itertools.pairwise(starts)]

    def __reduce__(self) -> tuple[type["Shards"], tuple[Path, Numbers | None]]:
        return Shards, (self.folder, self.documents)

    def document(self, document: int) -> np.ndarray:
        """All tokens of a document, one after another."""
        layout = self.layout(np.array([document]))
        return self.tokens(layout.shard_of, layout.begin, layout.end)

    def in_corpus(self, documents: Numbers) -> Numbers:
        """The numbers that documents have in the whole corpus, given those among the selected ones."""
        return documents if self.documents is None else self.documents[documents]

    def document_at(self, places: Numbers) -> Numbers:
        """Which document holds each token, counted as if the documents selected stood one after another."""
        return holding(self.starts, places)

    def layout(self, documents: Numbers) -> Layout:
        """Where documents lie."""
        numbers = self.in_corpus(documents)
        begin, end = self.begins.tokens[numbers], self.begins.tokens[numbers + 1]
        first, last = self.begins.sentences[numbers], self.begins.sentences[numbers + 1]
        shard_of = np.minimum(holding(self.first_tokens, begin), len(self.shards) - 1)
        sentences, tokens = self.first_sentences[shard_of], self.first_tokens[shard_of]
        return Layout(shard_of, first - sentences, last - sentences, begin - tokens, end - tokens)

    def sentence_starts(self, shard_of: Numbers, first: Numbers, last: Numbers) -> Numbers:
        """Where sentences start in their shards, for each shard from a first one to the one after a last one."""
        return read_parts([shard.sentence_starts for shard in self.shards], shard_of, first, last + 1)

    def tokens(self, shard_of: Numbers, starts: Numbers, stops: Numbers) -> np.ndarray:
        """The tokens of shards, for each shard from a start to a stop."""
        return read_parts([shard.tokens for shard in self.shards], shard_of, starts, stops)

    def spans(self, documents: Numbers, starts: Numbers, stops: Numbers) -> np.ndarray:
        """The tokens from each start to its stop of a document, counted from its beginning across its sentences."""
        layout = self.layout(documents)
        return self.tokens(layout.shard_of, layout.begin + starts, layout.begin + stops)

    def sentence_lengths(self) -> Iterator[np.ndarray]:
        """Yield for each document how many tokens each of its sentences has."""
        layout = self.layout(np.arange(len(self)))
        starts = self.sentence_starts(layout.shard_of, layout.first, layout.last)
        of_documents = itertools.pairwise(starts_of(layout.n_sentences + 1).tolist())
        return (np.diff(starts[first:last]) for first, last in of_documents)

    def select(self, documents: Iterable[int]) -> "Shards":
        """Give some of the documents, in this order; nothing is copied but their numbers and where they begin."""
        return Shards(self.folder, self.in_corpus(np.fromiter(documents, dtype=np.int64)))

    def with_text(self) -> "Shards":
        """Give the documents that have tokens."""
        if not self.n_without_text:
            return self
        layout = self.layout(np.arange(len(self)))
        return self.select(np.flatnonzero(layout.first < layout.last).tolist())

    def token_counts(self, vocab_size: int) -> Numbers:
        """How often each token occurs; for a whole corpus this was counted when it was built."""
        if self.documents is None:
            counted = np.load(self.folder / COUNTS_FILE, allow_pickle=False)
            return np.pad(counted, (0, max(0, vocab_size - len(counted))))
        counts = np.zeros(vocab_size, dtype=np.int64)
        for document in range(len(self)):
            counts += np.bincount(self.document(document), minlength=vocab_size)
        return counts

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
    """Open the arrays of a shard.

    Raises: InputError if one is missing or damaged.
    """
    try:
        return Shard(*(Stored(array_file(folder, number, entry.name)) for entry in fields(Shard)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"shard {number} of {folder} is missing or damaged; delete the folder and build again"
        ) from error


def open_documents(folder: Path) -> Documents:
    """Memory-map where the documents begin.

    Raises: InputError if that is missing or damaged.
    """
    try:
        files = (folder / f"documents.{entry.name}.npy" for entry in fields(Documents))
        return Documents(*(np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for file in files))
    except (OSError, ValueError) as error:
        raise InputError(f"the documents of {folder} are missing or damaged; delete it and build again") from error


def array_file(folder: Path, number: int, name: str) -> Path:
    """Name the file of an array.

    >>> array_file(Path("corpus"), 3, "tokens").name
    '00003.tokens.npy'
    """
    return folder / f"{number:05d}.{name}.npy"


@dataclass(frozen=True)
class TokenisedDocuments:
    """The ids of some documents one after another, how many each sentence has, and how many sentences each document."""

    tokens: np.ndarray
    sentence_lengths: Numbers
    sentence_counts: Numbers

    def __len__(self) -> int:
        return len(self.sentence_counts)

    @property
    def ends(self) -> Numbers:
        """How many tokens there are up to each document's end."""
        return np.asarray(starts_of(self.sentence_lengths)[np.cumsum(self.sentence_counts)])

    @property
    def lengths(self) -> Numbers:
        """How many tokens each document has."""
        return np.diff(self.ends, prepend=0)

    def parted(self, count: int) -> tuple["TokenisedDocuments", "TokenisedDocuments"]:
        """The first so many documents, and the rest."""
        sentence = int(self.sentence_counts[:count].sum())
        token = int(self.sentence_lengths[:sentence].sum())
        cuts = (token, sentence, count)
        parts = zip(vars(self).values(), cuts, strict=True)
        first, rest = zip(*((array[:cut], array[cut:]) for array, cut in parts), strict=True)
        return TokenisedDocuments(*first), TokenisedDocuments(*rest)

    @classmethod
    def joined(cls, parts: Sequence["TokenisedDocuments"]) -> "TokenisedDocuments":
        """Several together."""
        return cls(*(np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(cls)))


def write_shards(folder: Path, shards: Iterable[TokenisedDocuments], vocab_size: int, known: dict[str, Any]) -> None:
    """Write the arrays shard by shard, then how often each token occurs, and the index that makes them a corpus.

    `known` are the entries of the index that say where the documents come from: their fingerprint, and the ids of [CLS]
    and [SEP].

    Raises: InputError if the documents hold no token.
    """
    sizes: list[tuple[int, int]] = []
    token_counts = np.zeros(vocab_size, dtype=np.int64)
    without_text = alone = 0
    with (
        appending(folder / "documents.sentences.npy") as sentences,
        appending(folder / "documents.tokens.npy") as tokens,
    ):
        for shard in shards:
            before = np.array(sizes, dtype=np.int64).reshape(-1, 2).sum(axis=0)
            sentences.write((before[0] + starts_of(shard.sentence_counts)[:-1]).tobytes())
            tokens.write((before[1] + shard.ends - shard.lengths).tobytes())
            write_array(array_file(folder, len(sizes), "tokens"), shard.tokens)
            write_array(array_file(folder, len(sizes), "sentence_starts"), starts_of(shard.sentence_lengths))
            sizes.append((len(shard.sentence_lengths), len(shard.tokens)))
            token_counts += np.bincount(shard.tokens, minlength=vocab_size)
            without_text += int((shard.sentence_counts == 0).sum())
            alone += int(shard.lengths[shard.sentence_counts == 1].sum())
        for file, total in zip((sentences, tokens), np.array(sizes, dtype=np.int64).sum(axis=0), strict=True):
            file.write(total.tobytes())
    if not token_counts.any():
        raise InputError("the documents hold no token to learn from; check that the files hold text")
    write_array(folder / COUNTS_FILE, token_counts)
    counted = {"shards": sizes, "without_text": without_text, "alone": alone}
    contents = json.dumps({"layout": LAYOUT_VERSION, **known, **counted}, indent=2)
    (folder / "index.json").write_text(contents, encoding="utf-8")


@contextmanager
def appending(file: Path) -> Iterator[BinaryIO]:
    """Write an array of whole numbers part by part, and say at its beginning how long it has become."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int64)), "fortran_order": False}
    with file.open("wb") as content:
        np.lib.format.write_array_header_1_0(content, {**header, "shape": (0,)})
        begin = content.tell()
        yield content
        count = (content.tell() - begin) // np.dtype(np.int64).itemsize
        content.seek(0)
        np.lib.format.write_array_header_1_0(content, {**header, "shape": (count,)})
        content.flush()
        os.fsync(content.fileno())


def shown(
    encoded: Iterable[TokenisedDocuments], documents: Iterable[Iterable[str]], progress: bool
) -> Iterator[TokenisedDocuments]:
    """Pass documents on, and show how many there were."""
    total = len(documents) if isinstance(documents, Sequence) else None
    with tqdm(total=total, desc="Tokenising", unit=" documents", disable=not progress) as bar:
        for some in encoded:
            bar.update(len(some))
            yield some


def encode_documents(documents: Iterable[Iterable[str]], tokenizer: Tokenizer) -> Iterator[TokenisedDocuments]:
    """Yield the documents tokenised, a few thousand sentences at a time."""
    waiting: list[list[str]] = []
    sentences = 0
    for document in documents:
        waiting.append(list(document))
        sentences += len(waiting[-1])
        if sentences >= SENTENCES_AT_ONCE:
            yield encode_together(waiting, tokenizer)
            waiting, sentences = [], 0
    yield encode_together(waiting, tokenizer)


def encode_together(documents: list[list[str]], tokenizer: Tokenizer) -> TokenisedDocuments:
    """Encode the sentences of many documents in one call, which uses all cores.

    Sentences without a token are left out.
    """
    encoded = tokenizer.encode_sentences([sentence for document in documents for sentence in document])
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    kind = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    tokens = np.fromiter(itertools.chain.from_iterable(encoded), dtype=kind, count=int(lengths.sum()))
    document_of = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    counts = np.bincount(document_of[lengths > 0], minlength=len(documents))
    return TokenisedDocuments(tokens, lengths[lengths > 0], counts)


def in_shards(encoded: Iterable[TokenisedDocuments], tokens_per_shard: int) -> Iterator[TokenisedDocuments]:
    """Gather documents until they have the tokens of a shard, and go on with the next one."""
    gathered: list[TokenisedDocuments] = []
    room = tokens_per_shard
    for some in encoded:
        left = some
        while len(left.tokens) >= room:
            full, left = left.parted(int(np.searchsorted(left.ends, room)) + 1)
            yield TokenisedDocuments.joined([*gathered, full])
            gathered, room = [], tokens_per_shard
        gathered.append(left)
        room -= len(left.tokens)
    if sum(map(len, gathered)):
        yield TokenisedDocuments.joined(gathered)


def starts_of(lengths: Numbers) -> Numbers:
    """Where things of some lengths start if they stand one after another, and where the last one stops.

    >>> starts_of(np.array([3, 2])).tolist()
    [0, 3, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths)])


def holding(starts: Numbers, places: Numbers) -> Numbers:
    """Which of several things that stand one after another holds each place: the last that starts at it or before.

    >>> holding(np.array([0, 3, 3, 5]), np.array([2, 3])).tolist()
    [0, 2]
    """
    return np.asarray(np.searchsorted(starts, places, side="right") - 1)


def write_array(file: Path, array: np.ndarray) -> None:
    """Write an array and make sure that it is on the disk."""
    with file.open("wb") as content:
        np.lib.format.write_array(content, array, allow_pickle=False)
        content.flush()
        os.fsync(content.fileno())


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
