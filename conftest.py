"""Shapes are checked in every test, and docstring examples know the libraries they speak about."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

PACKAGE = Path(__file__).parent / "minitransformer"
# The laws are given anyone's functions, and hypothesis's strategies, whose types cannot be checked.
CHECKED = [f"minitransformer.{path.stem}" for path in PACKAGE.iterdir() if path.stem not in ("__init__", "laws")]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
# Triton compiles functions from their source, so they can't be wrapped, nor imported where it is not installed.
collect_ignore = [str(PACKAGE / "kernels" / "triton_attention.py")]


@pytest.fixture(autouse=True)
def names_for_docstring_examples(doctest_namespace: dict[str, object]) -> None:
    """Give examples the two libraries they speak about."""
    doctest_namespace["np"] = np
    doctest_namespace["torch"] = torch
