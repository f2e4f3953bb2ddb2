"""Text of the user's own: plain text, JSON lines and tables, read line by line so that a file may outgrow memory."""

import csv
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from minitransformer.corpora.documents import SENTENCE_END, Document, LabelledTexts, ends_sentence, split_sentences
from minitransformer.errors import InputError

LAYOUTS = ("sentences", "paragraphs")
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}
LINES_LOOKED_AT = 1000


def read_documents(path: Path, layout: str | None = None, text_column: str = "text") -> Iterator[Document]:
    """Yield the documents of a text file, of a folder of text files, or of the rows of a `.jsonl`, `.csv` or `.tsv`.

    In a text file a blank line ends a document. `layout="sentences"`: each line is a sentence. `layout="paragraphs"`:
    the lines of a document are running text, joined and split into sentences. Without a layout the first lines decide,
    see `guess_layout`. Each row of a table is one document of running text.

    Raises: InputError if the file is missing, empty, not UTF-8, or a row has no text.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise InputError(f"folder {path} holds no .txt file; give a folder of text files, or one file")
        for file in files:
            yield from read_documents(file, layout)
    elif is_table(path):
        for _, row in read_rows(path, (text_column,)):
            yield split_sentences(row[text_column])
    else:
        yield from read_text(path, layout or guess_layout(path))


def read_text(path: Path, layout: str) -> Iterator[Document]:
    """Yield the documents of a plain text file: runs of lines between blank lines."""
    if layout not in LAYOUTS:
        raise InputError(f"layout={layout!r} must be 'sentences' or 'paragraphs'; leave it out to have it guessed")
    lines = (line.strip() for line in read_lines(path))
    empty = True
    for has_text, block in itertools.groupby(lines, key=bool):
        if has_text:
            empty = False
            sentences = list(block)
            yield sentences if layout == "sentences" else split_sentences(" ".join(sentences))
    if empty:
        raise InputError(f"{path} holds no text; put one sentence on a line and a blank line between documents")


def guess_layout(path: Path) -> str:
    """Guess that lines are running text when more of them have a sentence end inside than are one whole sentence.

    Only the first 1,000 lines with text are looked at. Lines without any punctuation count as sentences.
    """
    inside = whole = 0
    lines = (line.strip() for line in read_lines(path))
    for line in itertools.islice(filter(None, lines), LINES_LOOKED_AT):
        ends = [match for match in SENTENCE_END.finditer(line + " ") if ends_sentence(line, match)]
        if any(match.end() < len(line) for match in ends):
            inside += 1
        elif ends:
            whole += 1
    return "paragraphs" if inside > whole else "sentences"


def read_labelled(
    path: Path, text_column: str = "text", label_column: str = "label", document_column: str | None = None
) -> LabelledTexts:
    """Read texts and labels from a `.jsonl`, `.csv` or `.tsv` file.

    Label names are sorted, numerically if all are whole numbers, and numbered from 0. Rows of one document share the
    value in `document_column`; without it each different text is its own document, so that a split never puts equal
    texts on both sides.

    Raises: InputError if a column is missing, a text or label is empty, or the file is not such a table.
    """
    if not is_table(path):
        raise InputError(f"{path} is not a .jsonl, .csv or .tsv file; labels are read from such tables only")
    columns = [text_column, label_column, *([document_column] if document_column else [])]
    rows = [row for _, row in read_rows(path, tuple(columns))]
    names = sorted({row[label_column] for row in rows}, key=label_order)
    number = {name: label for label, name in enumerate(names)}
    documents = [row[document_column or text_column] for row in rows]
    document_number = {document: index for index, document in enumerate(dict.fromkeys(documents))}
    return LabelledTexts(
        texts=[row[text_column] for row in rows],
        labels=[number[row[label_column]] for row in rows],
        label_names=tuple(names),
        document_ids=[document_number[document] for document in documents],
    )


def label_order(name: str) -> tuple[bool, int, str]:
    """Order label names: whole numbers by value, before words.

    >>> sorted(["10", "spam", "9"], key=label_order)
    ['9', '10', 'spam']
    """
    is_number = name.removeprefix("-").isdecimal()
    return not is_number, int(name) if is_number else 0, name


def is_table(path: Path) -> bool:
    """Say whether the file's name is that of a table.

    >>> is_table(Path("reviews.csv"))
    True
    """
    return path.suffix in TABLE_SUFFIXES or path.suffix in (".jsonl", ".ndjson")


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and row of a table, each asked-for column checked to be there and to hold text."""
    rows = read_delimited(path, TABLE_SUFFIXES[path.suffix]) if path.suffix in TABLE_SUFFIXES else read_json_lines(path)
    empty = True
    for line, row in rows:
        empty = False
        for column in columns:
            if row.get(column) is None:
                has = ", ".join(str(name) for name in row)
                raise InputError(f"{path} line {line} has no column {column!r}; its columns are: {has}")
            if not str(row[column]).strip():
                raise InputError(f"{path} line {line}: column {column!r} is empty; fill it or delete the row")
        yield line, {column: str(row[column]).strip() for column in columns}
    if empty:
        raise InputError(f"{path} holds no row; give a header and at least one row, or one JSON object a line")


def read_delimited(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield line number and row of a `.csv` or `.tsv` file with a header."""
    csv.field_size_limit(2**31 - 1)  # a document may be longer than the module's 128 KiB
    reader = csv.DictReader(read_lines(path), delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, {name: value for name, value in row.items() if name is not None}
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num} is not a table row ({error}); check its quotes") from error


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield line number and object of a file with one JSON object a line."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number} is not JSON ({error.msg}); write one object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} is not a JSON object; write {{'text': ..., 'label': ...}}")
        yield number, row


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their line ends.

    Raises: InputError if the file can't be read, or a byte isn't UTF-8; the message has the byte's offset.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for line in file:
                yield line.decode("utf-8-sig" if offset == 0 else "utf-8")
                offset += len(line)
    except UnicodeDecodeError as error:
        position = offset + error.start
        message = f"{path} is not UTF-8: byte {position} is 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise InputError(message) from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the name and the permissions") from error


def file_fingerprint(path: Path) -> str:
    """Hash the bytes of a file, or of all text files of a folder, so that a change is noticed.

    Raises: InputError if a file can't be read.
    """
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        except OSError as error:
            raise InputError(f"{file} can't be read ({error.strerror}); check the name and the permissions") from error
    return digest.hexdigest()
