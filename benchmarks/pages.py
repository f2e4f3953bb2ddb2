"""The tables on pages, written anew from results: no figure is copied by hand.

    python benchmarks/pages.py --take runs/bench    keep the newest results, and write the pages
    python benchmarks/pages.py --check              end with 1 if a page does not say what the results say

On a page, what stands between `<!-- results: NAME -->` and `<!-- end of results -->` is that of the benchmark NAME.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from results import Results

from minitransformer import files
from minitransformer.errors import InputError

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "results"
"""The results that the pages show."""
SECTION = re.compile(r"(<!-- results: (?P<name>\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True)
class Pages:
    """What to do."""

    take: Path | None = None
    """A folder whose results replace those that are kept."""
    check: bool = False
    """Only say which pages are stale."""


def main(pages: Pages) -> int:
    """Take, then write or check."""
    if pages.take is not None:
        take(pages.take, KEPT)
    stale = [page for page in pages_with_results(ROOT) if is_stale(page, KEPT)]
    for page in stale:
        if pages.check:
            print(f"{page.relative_to(ROOT)} is stale; run python benchmarks/pages.py", file=sys.stderr)
        else:
            files.write_text(page, written_anew(page.read_text("utf-8"), KEPT))
            print(f"wrote {page.relative_to(ROOT)}")
    return int(pages.check and bool(stale))


def pages_with_results(root: Path) -> Iterator[Path]:
    """All pages that show results."""
    for page in (root / "README.md", root / "benchmarks" / "README.md", *sorted((root / "docs").glob("*.md"))):
        if page.is_file() and SECTION.search(page.read_text("utf-8")):
            yield page


def is_stale(page: Path, kept: Path) -> bool:
    """Whether a page says anything but the results."""
    text = page.read_text("utf-8")
    return written_anew(text, kept) != text


def written_anew(text: str, kept: Path) -> str:
    r"""A page with the results put in.

    >>> print(written_anew("<!-- results: none -->\n<!-- end of results -->", Path("nowhere")))
    <!-- results: none -->
    <BLANKLINE>
    Not measured yet.
    <BLANKLINE>
    <!-- end of results -->
    """
    return SECTION.sub(lambda found: f"{found[1]}\n{shown(kept / (found['name'] + '.json'))}\n\n{found[3]}", text)


def shown(path: Path) -> str:
    """What a page shows of a file of results.

    Raises: InputError for a file that cannot be read.
    """
    return Results.read(path).page() if path.is_file() else "Not measured yet."


def take(source: Path, kept: Path) -> None:
    """Keep the newest results of the benchmarks that a page shows, with their pictures.

    Raises: InputError if there is none of them in the folder.
    """
    named = {found["name"] for page in pages_with_results(ROOT) for found in SECTION.finditer(page.read_text("utf-8"))}
    taken = [source / f"{name}.json" for name in sorted(named) if (source / f"{name}.json").is_file()]
    if not taken:
        raise InputError(f"{source} holds none of the results {', '.join(sorted(named))}; run make bench first")
    for path in taken:
        for file in (path, path.with_suffix(".png")):
            if file.is_file():
                files.make_folder(kept)
                shutil.copyfile(file, kept / file.name)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Pages)))
