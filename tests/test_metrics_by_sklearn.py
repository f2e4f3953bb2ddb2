"""scikit-learn's own tests of its metrics of classes, run against ours.

The source of the installed tests is compiled with our functions in the place of theirs. Its words are theirs: where a
test asks which text an error or a warning has, here it only asks for the error or the warning. Every test that calls a
function of ours is run, but for those left out below, each with its reason.
"""

import ast
import importlib.util
from collections.abc import Iterator
from inspect import Parameter, signature
from pathlib import Path
from types import ModuleType

import pytest
import sklearn.metrics

from minitransformer import metrics

OURS = sorted(set(metrics.__all__) & set(sklearn.metrics.__all__))
LEFT_OUT = {
    "test_classification_metric_division_by_zero_nan_validation": "is of theirs: a scorer in several processes",
    "test_confusion_matrix_array_api": "is of a feature that ours lack: arrays of other libraries stay theirs",
    "test_log_loss_y_pred_deprecation": "is of an old name of an argument of theirs",
}


def source_of_theirs() -> str:
    """The tests that are installed with scikit-learn, with our class of warnings."""
    found = importlib.util.find_spec("sklearn.metrics.tests.test_classification")
    text = Path(found.origin).read_text(encoding="utf-8")
    return text.replace("sklearn.exceptions", "minitransformer.metrics")


class WithoutTheirWords(ast.NodeTransformer):
    """Asks for an error or a warning of that kind, whatever it says."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if ast.unparse(node.func) in ("pytest.raises", "pytest.warns", "warnings.filterwarnings"):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in ("match", "message")]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        said = [part.value for part in ast.walk(node) if isinstance(part, ast.Attribute) and part.attr == "message"]
        if not said:
            return node
        return ast.parse(f"{ast.unparse(said[0])}.category is UndefinedMetricWarning", mode="eval").body


def is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test")


def is_about_ours(test: ast.stmt) -> bool:
    return any(isinstance(node, ast.Name) and node.id in OURS for node in ast.walk(test))


def with_ours(text: str) -> Iterator[ast.stmt]:
    """Their statements, with our functions in the place of theirs, and without the tests that are about neither."""
    statements = WithoutTheirWords().visit(ast.parse(text)).body
    last_import = max(i for i, node in enumerate(statements) if isinstance(node, ast.ImportFrom))
    yield from statements[: last_import + 1]
    yield from ast.parse(f"from minitransformer.metrics import {', '.join(OURS)}").body
    for node in statements[last_import + 1 :]:
        if not is_test(node) or (is_about_ours(node) and node.name not in LEFT_OUT):
            yield node


def theirs_of_ours() -> ModuleType:
    tree = ast.Module(list(with_ours(source_of_theirs())), type_ignores=[])
    module = ModuleType("test_classification_of_ours")
    exec(compile(ast.fix_missing_locations(tree), "test_classification_of_ours.py", "exec"), vars(module))  # noqa: S102
    return module


THEIRS = theirs_of_ours()
TESTS = {name: test for name, test in vars(THEIRS).items() if name.startswith("test_")}
globals().update(TESTS)
# Their tests let warnings pass that they don't ask for.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def global_random_seed() -> int:
    return 42


def test_their_tests_are_many_and_call_our_functions() -> None:
    assert all(getattr(THEIRS, name) is getattr(metrics, name) for name in OURS)
    assert len(OURS) == 11
    assert len(TESTS) >= 60


@pytest.mark.parametrize("name", OURS)
def test_arguments_have_their_names_order_and_defaults(name: str) -> None:
    ours, theirs = (dict(signature(getattr(module, name)).parameters) for module in (metrics, sklearn.metrics))
    if name == "log_loss":
        theirs.pop("y_pred")  # the old name of y_proba, which here is not given a default to make room for it
        theirs["y_proba"] = theirs["y_proba"].replace(default=Parameter.empty)
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]
