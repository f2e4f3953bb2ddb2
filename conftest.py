"""What every docstring's example may use without importing it."""

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def names_for_docstring_examples(doctest_namespace: dict[str, object]) -> None:
    """Give examples the two libraries they speak about."""
    doctest_namespace["np"] = np
    doctest_namespace["torch"] = torch
