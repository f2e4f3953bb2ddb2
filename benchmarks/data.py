"""How fast batches come from a corpus of 2 GB, how long it takes to begin, and what it keeps in memory.

    python benchmarks/data.py

The corpus is generated: ids as frequent as words are (Zipf), in sentences and documents, written as shards. Ours reads
it as the trainer does: shuffled, made into pairs, masked with a seed for each example, padded. `datasets` reads rows
that are pairs already, from a memory-mapped file of its own, shuffled too, and `DataCollatorForLanguageModeling` of
`transformers` masks and pads them; the fastest of its formats counts. Both in one process on one thread, in turns.

What is measured in memory: "anonymous" is what the process has made, and "resident" also counts the pages of the files
that it looks at. Those belong to the operating system, which keeps them as long as nobody needs the room.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import torch
import transformers
import tyro
from results import FOLDER, Results, Row
from tables import in_short
from torch.utils.data import DataLoader
from turns import Side, in_turns, rate, ratio, spread

from minitransformer import batches
from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.shards import TOKENS_PER_SHARD, Shards, TokenisedDocuments, write_shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer.order import Order
from minitransformer.trainer.reading import Collation, UpdatesOfPass, count_tokens, in_workers

VOCABULARY = 30_522
SPECIALS = 5
MAX_LENGTH = 128
MEGABYTE = 10**6
ROOM_BESIDE = 1.3
"""What the files take, by what the tokens take: the starts of sentences and documents stand beside them."""
FORMS = {"lists": None, "numpy": "numpy", "torch": "torch"}
"""In which form `datasets` gives its rows."""
SAME_SHARE = 0.03
"""By which the shares of words that are asked for may differ: each side draws its own."""


@dataclass(frozen=True)
class Measurement:
    """How to measure."""

    megabytes: int = 2000
    """Of tokens, two bytes each."""
    seconds: float = 5.0
    """Of reading, for memory."""
    turns: int = 5
    """How often each side reads, for a second or longer, and how often else is measured what takes no memory."""
    batch_size: int = 256
    """Pairs at once."""
    folder: Path = FOLDER
    """Where the corpus is put, and the results."""
    keep: bool = False
    """Leave the corpus there."""
    quick: bool = False
    """Tiny sizes: whether it runs, not how fast."""
    only: str = ""
    """What a process of its own is asked for, with the corpus in this folder."""


# The corpus


def generate(folder: Path, n_tokens: int, tokens_per_shard: int, seed: int = 0) -> None:
    """Write shards of documents of 5 to 34 sentences of 5 to 44 words."""
    folder.mkdir(parents=True)
    known = {"fingerprint": "", "cls_token_id": 2, "sep_token_id": 3}
    write_shards(folder, documents_of_ids(n_tokens, tokens_per_shard, seed), VOCABULARY, known)


def documents_of_ids(n_tokens: int, tokens_per_shard: int, seed: int) -> Iterator[TokenisedDocuments]:
    """The documents of each shard; word r comes as often as 1 / r."""
    rng = np.random.default_rng(seed)
    ranks = np.arange(1, VOCABULARY - SPECIALS + 1)
    quantiles = np.searchsorted(np.cumsum(1 / ranks) / (1 / ranks).sum(), (np.arange(2**16) + 0.5) / 2**16)
    id_of = (SPECIALS + quantiles).astype(np.uint16)
    for first in range(0, n_tokens, tokens_per_shard):
        wanted = min(tokens_per_shard, n_tokens - first)
        lengths = rng.integers(5, 45, size=wanted // 20 + 50)
        counts = rng.integers(5, 35, size=len(lengths) // 5)
        n_documents = int(
            np.searchsorted(np.cumsum(lengths)[np.cumsum(counts)[np.cumsum(counts) < len(lengths)]], wanted)
        )
        counts = counts[: max(2, n_documents)]
        lengths = lengths[: counts.sum()]
        yield TokenisedDocuments(id_of[rng.integers(0, 2**16, size=lengths.sum(), dtype=np.uint16)], lengths, counts)


def require_room(folder: Path, n_bytes: float) -> None:
    """Stop with one line if the disk is too full."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        sys.exit(f"{folder} has room for {free / 1e9:.1f} GB and needs {n_bytes / 1e9:.1f}; give another --folder")


# Ours


def tokenizer() -> Tokenizer:
    """Words without a meaning, as many as the corpus has."""
    return Tokenizer.from_vocabulary([f"w{number}" for number in range(VOCABULARY - SPECIALS)])


def our_batches(shards: Shards, batch_size: int, words: Tokenizer) -> Iterator[dict[str, Any]]:
    """Batches as the trainer reads them."""
    pairs = NextSentencePairs(shards, MAX_LENGTH)
    updates = Order(len(pairs), batch_size, seed=0).updates(0, len(pairs))
    collation = Collation(MaskedLanguageCollator(words), seed=0)
    for update in in_workers(UpdatesOfPass(pairs, collation, updates, 1, batch_size), 0):
        yield update.micro_batches[0].batch


def memory() -> dict[str, float]:
    """What this process has in memory, in MB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 / MEGABYTE for name in ("VmRSS", "RssAnon")}


def read_alone(measurement: Measurement) -> Row:
    """In a process of its own: how long it takes to begin, and how memory grows over some seconds of reading."""
    words = tokenizer()
    list(islice(our_batches_of_examples(words, measurement.batch_size), 3))  # what is allocated once, is
    before = memory()
    begin = partial(first_batch, Path(measurement.only), measurement.batch_size, words)
    start_up = in_turns({"ours": begin}, measurement.turns, warmups=0)["ours"]
    batches = our_batches(Shards.open(measurement.only), measurement.batch_size, words)
    most, n_tokens, started = before, 0, time.perf_counter()
    while time.perf_counter() - started < measurement.seconds:
        n_tokens += sum(count_tokens(batch) for batch in islice(batches, 5))
        most = {name: max(most[name], now) for name, now in memory().items()}
    return {
        "start-up, ms": spread([1000 * seconds for seconds in start_up]),
        "read meanwhile, million tokens": f"{n_tokens / 1e6:,.0f}",
        "resident at first, MB": f"{before['VmRSS']:,.0f}",
        "resident grows by, MB": f"{most['VmRSS'] - before['VmRSS']:,.1f}",
        "anonymous grows by, MB": f"{most['RssAnon'] - before['RssAnon']:,.1f}",
    }


def first_batch(corpus: Path, batch_size: int, words: Tokenizer) -> None:
    """Open a corpus, and read until there is a batch."""
    next(our_batches(Shards.open(corpus), batch_size, words))


def our_batches_of_examples(words: Tokenizer, batch_size: int) -> Iterator[dict[str, Any]]:
    """Batches of made-up examples, to begin with."""
    row = torch.arange(SPECIALS, SPECIALS + MAX_LENGTH)
    collate = MaskedLanguageCollator(words)
    while True:
        yield collate([{"input_ids": row, "token_type_ids": row * 0}] * batch_size, seeds=range(batch_size))


def in_a_process(measurement: Measurement, corpus: Path) -> Row:
    """Ask a fresh process."""
    given = {"seconds": measurement.seconds, "batch-size": measurement.batch_size, "turns": measurement.turns}
    options = [f"--{name}={value}" for name, value in {"only": corpus, **given}.items()]
    options += ["--quick"] if measurement.quick else []
    found = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)  # noqa: S603
    return dict(json.loads(found.stdout))


# Theirs


def their_batches(rows: Path, form: str | None, batch_size: int) -> Iterator[dict[str, Any]]:
    """Rows of a memory-mapped file, shuffled, and masked by the collator of `transformers`."""
    specials = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "mask", "cls", "sep")}
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend, **specials)
    data = datasets.Dataset.from_file(str(rows)).with_format(form)
    collate = transformers.DataCollatorForLanguageModeling(words)
    loader = DataLoader(data, batch_size=batch_size, shuffle=True, collate_fn=collate)
    while True:
        yield from loader


def write_rows(file: Path, shards: Shards, n_rows: int) -> None:
    """Our pairs as rows of a file that `datasets` maps."""
    examples = NextSentencePairs(shards, MAX_LENGTH).__getitems__(range(n_rows))
    kinds = {"input_ids": pyarrow.list_(pyarrow.int32()), "token_type_ids": pyarrow.list_(pyarrow.int8())}
    columns = {
        name: pyarrow.array([example[name].numpy() for example in examples], type=kind) for name, kind in kinds.items()
    }
    columns["next_sentence_label"] = pyarrow.array([int(example["next_sentence_label"]) for example in examples])
    table = pyarrow.table(columns)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)


def check_same_work(results: Results, ours: dict[str, Any], theirs: dict[str, Any], name: str) -> None:
    """Whether both give the same columns, and ask for about the same share of words."""
    results.check(f"{name}: columns", len(set(ours) ^ set(theirs)), 0)
    shares = [
        float((batch["labels"] != -100).sum() / (batch["input_ids"] >= SPECIALS).sum()) for batch in (ours, theirs)
    ]
    results.check(f"{name}: shares of words that are asked for", abs(shares[0] - shares[1]), SAME_SHARE)


# Tokenising


def texts(n_words: int, seed: int = 0) -> list[list[str]]:
    """Documents of made-up words of which the frequent ones are short, as in a language."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfw"))
    words = ["".join(rng.choice(letters, size=int(2 + np.log2(rank + 1) / 2))) for rank in range(20_000)]
    ranks = (len(words) ** rng.random(n_words)).astype(int) - 1
    sentences = [" ".join(words[rank] for rank in part) for part in np.array_split(ranks, max(1, n_words // 20))]
    return [sentences[first : first + 20] for first in range(0, len(sentences), 20)]


def tokenising(folder: Path, n_words: int, turns: int) -> str:
    """How fast text becomes shards, on all cores."""
    documents = texts(n_words)
    words = Tokenizer.train(documents[: max(10, len(documents) // 5)], vocab_size=4096)
    built: list[Shards] = []

    def build() -> None:
        built.append(Shards.build(folder / f"tokenised-{len(built)}", documents, words))

    seconds = in_turns({"build": build}, turns, warmups=0)["build"]
    return (
        f"Text becomes shards at {in_short(rate(built[0].token_count / 1e6, seconds))} million tokens/s on all cores."
    )


# The whole


def main(measurement: Measurement) -> None:
    """Generate the corpus, check, measure, and leave nothing of the corpus."""
    torch.set_num_threads(1)
    if measurement.quick:
        batches.datasets.DRAWN_BEFOREHAND = 0  # a tiny corpus is read as a large one
        quick = {"megabytes": 2, "seconds": 0.5, "turns": 1, "batch_size": 32}
        measurement = replace(measurement, **quick)  # type: ignore[arg-type]
    if measurement.only:
        print(json.dumps(read_alone(measurement)))
        return
    require_room(measurement.folder, measurement.megabytes * MEGABYTE * ROOM_BESIDE)
    folder = Path(tempfile.mkdtemp(dir=measurement.folder, prefix="corpus-"))
    try:
        results = measure(measurement, folder)
    finally:
        if not measurement.keep:
            shutil.rmtree(folder)
    results.finish(measurement.folder)


def measure(measurement: Measurement, folder: Path) -> Results:
    """Generate the corpus in a folder, and measure one thing after another."""
    results = Results("data", "Reading a large corpus: ours over datasets with transformers' collator")
    large, small, rows = folder / "large", folder / "small", folder / "rows.arrow"
    n_bytes = measurement.megabytes * MEGABYTE
    for corpus, size in ((large, n_bytes), (small, n_bytes // 10)):
        generate(corpus, size // 2, min(TOKENS_PER_SHARD, size // 8))
    write_rows(rows, Shards.open(large), 1000 if measurement.quick else 50_000)
    for row in rows_of_reading(results, measurement, large, rows):
        results.add(**row)
    alone = [
        {"corpus, MB": size, **in_a_process(measurement, corpus)}
        for size, corpus in ((measurement.megabytes // 10, small), (measurement.megabytes, large))
    ]
    results.tabulate(f"A process of its own, which reads for {measurement.seconds:g} seconds:", alone)
    n_words = 10_000 if measurement.quick else 1_000_000
    results.note(f"Reading is on one thread. {tokenising(folder, n_words, measurement.turns)}")
    return results


def rows_of_reading(results: Results, measurement: Measurement, corpus: Path, rows: Path) -> list[Row]:
    """Check and read with all sides in turns; a turn tells the seconds of a million tokens."""
    reading = {
        "ours": our_batches(Shards.open(corpus), measurement.batch_size, tokenizer()),
        **{name: their_batches(rows, form, measurement.batch_size) for name, form in FORMS.items()},
    }
    first = {name: next(of_side) for name, of_side in reading.items()}
    for name in FORMS:
        check_same_work(results, first["ours"], first[name], name)
    results.require_checks()
    least = 0.2 if measurement.quick else 1.0
    sides: dict[str, Side] = {name: partial(seconds_a_million, of_side, least) for name, of_side in reading.items()}
    seconds = in_turns(sides, measurement.turns)
    return [
        {
            "beside": f"datasets, rows as {name}",
            "theirs, million tokens/s": rate(1, seconds[name]),
            "ours, million tokens/s": rate(1, seconds["ours"]),
            "ours over theirs": ratio(seconds[name], seconds["ours"]),
        }
        for name in FORMS
    ]


def seconds_a_million(of_side: Iterator[dict[str, Any]], least: float) -> float:
    """Read for some seconds at least, and give those of a million tokens."""
    n_tokens, started = 0, time.perf_counter()
    while time.perf_counter() - started < least:
        n_tokens += count_tokens(next(of_side))
    return 1e6 * (time.perf_counter() - started) / n_tokens


if __name__ == "__main__":
    main(tyro.cli(Measurement))
