"""The kernel for GPUs, in Triton's interpreter: what it reads and passes back, and what it leaves to others."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from minitransformer import attention, kernels, reference
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import LAYER, SUM, as_array, assert_close, assert_same

ROOT = Path(__file__).parents[1]
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is made for Linux on x86_64 only")


@needs_triton
@pytest.mark.equation("tiled-attention", "tiled-attention-gradient", "online-softmax")
def test_the_kernels_of_triton_agree_with_the_reference(tmp_path: Path, without_shape_checks: None) -> None:
    """What Triton's kernels read and pass back agrees with the reference; what they don't know goes to others."""
    file = tmp_path / "found.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "interpreted_triton.py"), str(file)]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with safe_open(file, "pt") as opened:
        found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no dictionary
        refusal = opened.metadata()["refusal"]
    cases = sorted({name.split(": ")[0] for name in found if ": " in name})
    assert len(cases) == 4
    for name in cases:
        arrays = [as_array(found[f"{name}: {part}"]) for part in ("query", "key", "value", "rule")]
        upstream = as_array(found[f"{name}: upstream"])
        size = 20 * max(float(abs(array).max()) for array in arrays)
        expected = reference.attention.scaled_dot_product_attention(*arrays)
        assert_close(found[f"{name}: read"], expected, SUM, size, what=f"{name}: what is read")
        gradients = reference.attention.attention_gradient(upstream, *arrays)
        for part, expected in zip(("for query", "for key", "for value"), gradients, strict=True):
            assert_close(found[f"{name}: {part}"], expected, LAYER, size * abs(upstream).sum(), what=f"{name}: {part}")
    query, key, value = (found[f"all keys: {part}"] for part in ("query", "key", "value"))
    with kernels.use("tiled"):
        some = torch.ones(21, 37, dtype=torch.bool).tril(9)
        assert_close(found["one head"], attention.scaled_dot_product_attention(query[0], key[0], value[0]), SUM)
        assert_same(found["any rule"], attention.scaled_dot_product_attention(query, key, value, some))
        torch.manual_seed(5)
        assert_same(found["dropout"], attention.scaled_dot_product_attention(query, key, value, dropout_rate=0.5))
    assert_same(found["softmax"], torch.softmax(query, -1))
    assert refusal == (
        "query is on device='cpu', and kind='triton' computes on GPUs; "
        "move the model there, or use kernels.use('fused')"
    )


def test_without_triton_the_remedy_is_named_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "minitransformer.kernels.triton_attention", raising=False)
    before = kernels.active()
    with pytest.raises(InputError, match=r"kind='triton' needs Triton, which is not installed; .* pip install triton"):
        kernels.use("triton")
    assert kernels.active() == before
