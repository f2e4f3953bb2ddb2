"""How hard hypothesis tries, and under which kernels a test runs."""

import os
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings

from minitransformer import kernels

# A kernel is chosen once for all examples of a test, so the fixture need not run anew for each of them.
once_per_test = [HealthCheck.function_scoped_fixture]
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=once_per_test)
settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None, suppress_health_check=once_per_test)
settings.register_profile("deep", max_examples=5_000, deadline=None, suppress_health_check=once_per_test)
# Tensors are tiny here: threads would cost more than they bring.
torch.set_num_threads(1)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture(params=("equations", "fused"))
def kernels_in_use(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test twice: through the written equations, and through their fused twins; where it says so, by tiles."""
    with kernels.use(request.param):
        yield request.param


@pytest.fixture(scope="session")
def imported_before_forking() -> None:
    """Import what PyTorch and transformers import at their first use: else each child of `check` does so by itself."""
    import torch._dynamo  # noqa: F401 - imported for what it leaves in memory
    import transformers.models.bert.modeling_bert
    import transformers.models.t5.modeling_t5  # noqa: F401 - likewise


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Run as users do, without the checks of annotations that come before a function's own errors in tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
