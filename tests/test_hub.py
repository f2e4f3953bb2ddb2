"""Names from the hub: a folder first, then the cache, then a download, and one clear error offline."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from minitransformer import AutoModel, AutoTokenizer, BertConfig, BertModel, Tokenizer, hub
from minitransformer.errors import InputError

COMMIT, OLDER = "0123456789abcdef" * 2 + "01234567", "f" * 40
SMALL = BertConfig(vocab_size=7, hidden_size=6, num_hidden_layers=1, num_attention_heads=2, intermediate_size=5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of one's own, and no way to the network."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "hub"


def keep(cache: Path, name: str, commit: str = COMMIT, hidden_size: int = 6, revision: str = "main") -> Path:
    """A model and its tokenizer in a cache, in the library's layout: files by their contents, and links to them."""
    repository = cache / f"models--{name.replace('/', '--')}"
    model = BertModel(BertConfig(**{**vars(SMALL), "hidden_size": hidden_size}))
    whole = repository / "whole"
    model.save_pretrained(whole)
    Tokenizer.from_vocabulary(["land", "sea"]).save_pretrained(whole)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in whole.iterdir():
        blob = file.rename(repository / "blobs" / f"{commit[:3]}-{file.name}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    whole.rmdir()
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return snapshot


def test_a_name_is_found_in_the_cache_of_the_user(cache: Path) -> None:
    snapshot = keep(cache, "somebody/small-bert")
    assert hub.folder_of("somebody/small-bert") == snapshot
    assert AutoModel.from_pretrained("somebody/small-bert").config.hidden_size == 6
    assert BertModel.from_pretrained("somebody/small-bert").config.hidden_size == 6
    assert BertConfig.from_pretrained("somebody/small-bert").hidden_size == 6
    assert AutoTokenizer.from_pretrained("somebody/small-bert").tokenize("sea") == ["sea"]


def test_the_library_finds_the_same_folder(cache: Path) -> None:
    """The layout that these tests build is the one that huggingface_hub reads."""
    library = pytest.importorskip("huggingface_hub")
    keep(cache, "somebody/small-bert")
    for revision in ("main", COMMIT):
        theirs = library.snapshot_download(
            "somebody/small-bert", cache_dir=cache, revision=revision, local_files_only=True
        )
        assert hub.folder_of("somebody/small-bert", revision=revision) == Path(theirs)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_the_cache_can_be_elsewhere(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    snapshot = keep(tmp_path / "elsewhere", "somebody/bert")
    assert hub.folder_of("somebody/bert") == snapshot


def test_the_cache_is_by_default_where_the_library_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.cache_folder() == tmp_path / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "everybody"))
    assert hub.cache_folder() == tmp_path / "everybody" / "huggingface" / "hub"


def test_the_cache_can_be_given(tmp_path: Path) -> None:
    snapshot = keep(tmp_path / "given", "somebody/bert")
    assert hub.folder_of("somebody/bert", cache_dir=tmp_path / "given") == snapshot
    assert AutoTokenizer.from_pretrained("somebody/bert", cache_dir=tmp_path / "given").vocab_size == 7


def test_a_local_folder_comes_first(cache: Path, tmp_path: Path) -> None:
    keep(cache, "bert-base-uncased")
    local = tmp_path / "bert-base-uncased"
    local.mkdir()
    assert hub.folder_of("bert-base-uncased").resolve() == local


def test_a_revision_is_a_branch_or_a_commit(cache: Path) -> None:
    older = keep(cache, "somebody/bert", OLDER, hidden_size=4, revision="refs-of-old")
    newer = keep(cache, "somebody/bert", COMMIT)
    assert hub.folder_of("somebody/bert") == hub.folder_of("somebody/bert", revision=COMMIT) == newer
    assert hub.folder_of("somebody/bert", revision="refs-of-old") == older
    assert AutoModel.from_pretrained("somebody/bert", revision=OLDER).config.hidden_size == 4
    with pytest.raises(InputError, match="does not hold all of a model"):
        hub.folder_of("somebody/bert", revision="another")


@pytest.mark.parametrize("kept", ["bert-base-uncased", "google-bert/bert-base-uncased"])
@pytest.mark.parametrize("asked", ["bert-base-uncased", "google-bert/bert-base-uncased"])
def test_a_name_that_got_an_owner_later_is_found_under_both(kept: str, asked: str, cache: Path) -> None:
    snapshot = keep(cache, kept)
    assert hub.folder_of(asked) == snapshot


def test_a_snapshot_that_lacks_what_is_needed_is_not_taken(cache: Path) -> None:
    """Kills: a folder with a tokenizer alone, as AutoTokenizer leaves it, given for a model's."""
    snapshot = keep(cache, "somebody/bert")
    (snapshot / "model.safetensors").unlink()
    assert hub.folder_of("somebody/bert", hub.holds_tokenizer) == snapshot
    assert hub.folder_of("somebody/bert", hub.holds_config) == snapshot
    with pytest.raises(InputError, match="does not hold all of a model of this name"):
        hub.folder_of("somebody/bert")


OFFLINE = (
    "there is no folder bert-base-uncased, and {cache} does not hold all of a model of this name; {why}; on a machine "
    "that is online run `hf download bert-base-uncased --local-dir FOLDER`, and give FOLDER in place of the name"
)


@pytest.mark.parametrize("opens", [AutoModel, AutoTokenizer, BertModel, BertConfig, Tokenizer])
def test_offline_one_error_says_how_to_get_a_folder(opens: Any, cache: Path) -> None:
    with pytest.raises(InputError) as refusal:
        opens.from_pretrained("bert-base-uncased")
    assert str(refusal.value) == OFFLINE.format(cache=cache, why="HF_HUB_OFFLINE=1 allows no download")


class Library:
    """What huggingface_hub does, without a network."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    def snapshot_download(self, name: str, **options: Any) -> str:
        self.asked.append((name, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a library in the place of huggingface_hub, and take away what forbids to ask it."""

    def with_answer(answer: Any) -> Library:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        library = Library(answer)
        real = importlib.import_module
        monkeypatch.setattr(hub, "import_module", lambda name: library if name == "huggingface_hub" else real(name))
        monkeypatch.setattr(hub, "find_spec", lambda name: object())
        return library

    return with_answer


def test_online_only_what_is_needed_is_fetched_into_the_cache(online: Any, cache: Path, tmp_path: Path) -> None:
    library = online(keep(tmp_path / "fetched", "somebody/bert"))
    assert AutoModel.from_pretrained("somebody/bert", revision="v2").config.hidden_size == 6
    ((name, options),) = library.asked
    assert (name, options["revision"], options["cache_dir"]) == ("somebody/bert", "v2", cache)
    assert "model.safetensors" in options["allow_patterns"]
    assert not [pattern for pattern in options["allow_patterns"] if "bin" in pattern or "*" in pattern]


def test_what_is_kept_is_not_asked_for_again(online: Any, cache: Path) -> None:
    library = online(RuntimeError("nobody should ask"))
    keep(cache, "somebody/bert")
    AutoModel.from_pretrained("somebody/bert")
    assert library.asked == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no route to host\nand a long story"), "no route to host"),
        (RuntimeError("404: no such model"), "404: no such model"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_download_that_fails_is_the_same_error(error: Exception, reason: str, online: Any, cache: Path) -> None:
    online(error)
    with pytest.raises(InputError) as refusal:
        AutoModel.from_pretrained("bert-base-uncased")
    assert str(refusal.value) == OFFLINE.format(cache=cache, why=f"the download failed ({reason})")


def test_a_model_that_is_a_pickle_on_the_hub_is_refused(online: Any, tmp_path: Path) -> None:
    online(tmp_path)
    with pytest.raises(InputError, match=r"somebody/bert on the hub lacks what is needed of .* a pickle"):
        AutoModel.from_pretrained("somebody/bert")


@pytest.mark.parametrize(
    ("variable", "value"), [("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "yes"), ("TRANSFORMERS_OFFLINE", "TRUE")]
)
def test_nobody_is_asked_where_that_is_forbidden(
    variable: str, value: str, online: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = online(RuntimeError("nobody should ask"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable}={value} allows no download"):
        AutoModel.from_pretrained("somebody/bert")
    monkeypatch.delenv(variable)
    with pytest.raises(InputError, match="local_files_only=True allows no download"):
        AutoModel.from_pretrained("somebody/bert", local_files_only=True)
    assert library.asked == []


def test_without_the_library_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="huggingface_hub, which could download it, is not installed"):
        AutoModel.from_pretrained("somebody/bert")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "~/nowhere", "three/parts/here", "a b"])
def test_what_can_only_be_a_folder_is_not_looked_for_elsewhere(name: str, online: Any) -> None:
    library = online(RuntimeError("nobody should ask"))
    with pytest.raises(InputError, match=r"there is no folder .*; give a local folder that holds config\.json"):
        hub.folder_of(name)
    assert library.asked == []


def test_a_path_is_a_folder_and_nothing_else(cache: Path) -> None:
    keep(cache, "somebody/bert")
    with pytest.raises(InputError, match="there is no folder somebody/bert; give a local folder"):
        hub.folder_of(Path("somebody/bert"))


def test_a_file_in_place_of_a_folder_is_no_name(cache: Path, tmp_path: Path) -> None:
    keep(cache, "bert")
    (tmp_path / "bert").write_bytes(b"")
    with pytest.raises(InputError, match="there is no folder bert; give a local folder"):
        hub.folder_of("bert")
