"""Hold the whole zoo against the catalogue, write the matrix, and fail where a mutant lives or a law is idle."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from minitransformer.laws.zoo.matrix import claims_without_mutants, matrix_page, survey
from minitransformer.laws.zoo.mutant import ZOO


def with_progress_bar(judged: Iterable[Any]) -> "tqdm[Any]":
    """Show how many mutants have been judged."""
    return tqdm(judged, unit="mutant", desc="zoo", total=len(ZOO))


def main(arguments: Sequence[str]) -> int:
    """Write the matrix to a path, and say whether all is well: 0, or 1 where a mutant lives or a law is idle."""
    if len(arguments) != 1:
        print("usage: python -m minitransformer.laws.zoo PAGE.md", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    found = survey(with_progress_bar, processes=os.cpu_count() or 1)
    Path(arguments[0]).write_text(matrix_page(found), encoding="utf-8")
    print(
        f"{len(found.killed_by)} mutants, {found.n_laws} laws, {len(found.survivors)} survivors, "
        f"{len(found.idle_laws)} idle laws, {found.n_shape_only} pass a test of shape, {found.seconds:.0f} s"
    )
    for name in found.survivors:
        print(f"no law kills {name}")
    for law in found.idle_laws:
        print(f"no mutant is killed by {law}")
    for claim in claims_without_mutants():
        print(f"no mutant claims to be {claim}, so its laws were not asked")
    return 1 if found.survivors or found.idle_laws else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
