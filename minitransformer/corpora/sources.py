"""The one door to text: a data set's name or a path in, documents or labelled texts out."""

from collections.abc import Iterator
from pathlib import Path

from minitransformer.corpora.documents import Document, LabelledTexts
from minitransformer.corpora.fetching import fetch
from minitransformer.corpora.files import file_fingerprint, read_documents, read_labelled
from minitransformer.corpora.packages import catalogue, find
from minitransformer.corpora.readers import DOCUMENT_READERS, LABEL_READERS
from minitransformer.corpora.synthetic import SyntheticLanguage
from minitransformer.errors import InputError

SYNTHETIC_DOCUMENTS = 2000


def documents(source: str | Path, layout: str | None = None, text_column: str = "text") -> Iterator[Document]:
    """Yield the documents of a named data set (fetched if need be) or of the user's file or folder.

    Raises: InputError if there is no such data set or file, or a document's text can't be read.

    >>> next(documents("synthetic"))[0].split()[0] in {"this", "that", "these", "those"}
    True
    """
    if is_path(source):
        return with_text(read_documents(Path(source), layout, text_column))
    name = find(str(source), "documents").name
    if name == "synthetic":
        return SyntheticLanguage().documents(SYNTHETIC_DOCUMENTS, seed=0)
    return with_text(DOCUMENT_READERS[name](fetch(name)))


def labelled(
    source: str | Path, text_column: str = "text", label_column: str = "label", document_column: str | None = None
) -> LabelledTexts:
    """Give the labelled texts of a named data set (fetched if need be) or of the user's table.

    Raises: InputError if there is no such data set or file, or a text or label is missing.

    >>> labelled("synthetic-topic").label_names[:2]
    ('sea', 'farm')
    """
    if is_path(source):
        return read_labelled(Path(source), text_column, label_column, document_column)
    name = find(str(source), "labelled").name
    if name == "synthetic-topic":
        return SyntheticLanguage().labelled(SYNTHETIC_DOCUMENTS, seed=0)
    return LABEL_READERS[name](fetch(name))


def fingerprint(source: str | Path) -> str:
    """Give a text that changes whenever the source does: to know whether prepared files are still good.

    >>> fingerprint("synthetic")
    'synthetic'
    """
    if is_path(source):
        return file_fingerprint(Path(source))
    return ":".join([str(source), *(wheel.sha256 for wheel in find(str(source)).wheels[:1])])


def is_path(source: str | Path) -> bool:
    """Say whether the source means a file or folder: names of data sets come first.

    Raises: InputError if it looks like a path and nothing is there.
    """
    if str(source) in {data_set.name for data_set in catalogue()}:
        return False
    path = Path(source)
    if path.exists():
        return True
    if isinstance(source, Path) or path.suffix or len(path.parts) > 1:
        raise InputError(f"no file or folder {source}; check the name, or give the name of a data set")
    return False


def with_text(documents: Iterator[Document]) -> Iterator[Document]:
    """Leave out empty sentences, and documents without any."""
    for document in documents:
        if sentences := [sentence for sentence in document if sentence.strip()]:
            yield sentences
