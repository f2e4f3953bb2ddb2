"""Code into code: functions of ours in plain PyTorch, and mutants in their words, so that only the mistake differs.

Checks of the input are left away, and so are decorators, shapes and sources. What a mutant calls beyond the functions
of the model is written out in its place.
"""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from textwrap import dedent
from typing import Any

Function = Callable[..., Any]
SHAPED = ("Float", "Float64", "Int", "Bool", "Num", "Real")
CHECKS = ("require_", "check_")
AXES_IN_A_NAME = re.compile(r"(?<=[a-z])_[A-Z]+$")
LONGEST_LINE = 110
THE_CALL = "the call"
"""A name that no code has, for the place of a call."""


# Functions of ours in plain PyTorch


def definition(function: Function) -> ast.FunctionDef:
    """The definition of a function, without what is wrapped around it, as a tree."""
    (node,) = ast.parse(dedent(inspect.getsource(inspect.unwrap(function)))).body
    assert isinstance(node, ast.FunctionDef)
    return node


def plain(node: ast.FunctionDef) -> ast.FunctionDef:
    """A definition without decorators, shapes, dropout and checks of its input, its docstring up to the sources."""
    node = Plain().visit(node)
    node.decorator_list = []
    set_docstring(node, claim_in(ast.get_docstring(node) or ""))
    return node


class Plain(ast.NodeTransformer):
    """Leaves away what the small model has no use for."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Turn `Float[Tensor, "B L"]` into `Tensor`."""
        self.generic_visit(node)
        is_shaped = isinstance(node.value, ast.Name) and node.value.id in SHAPED
        return ast.Name("Tensor") if is_shaped else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Turn `Tensor | Tensor` into `Tensor`."""
        self.generic_visit(node)
        is_twice = isinstance(node.op, ast.BitOr) and ast.unparse(node) == "Tensor | Tensor"
        return node.left if is_twice else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Leave a call away that only checks."""
        is_check = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(CHECKS)
        return None if is_check else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Leave an error away."""
        self.generic_visit(node)
        return None if isinstance(node.body[0], ast.Raise) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Leave dropout away, and the name of an axis that stands first."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "dropout":
            return node.args[0]
        if not node.args and node.keywords and node.keywords[0].arg == "dim":
            node.args = [node.keywords.pop(0).value]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Write the one alias out, and leave the axes in the name of a local away."""
        if node.id == "Generator":
            return parsed("torch.Generator | None")
        node.id = AXES_IN_A_NAME.sub("", node.id)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Leave the rate of dropout away, which is the last argument where there is one."""
        self.generic_visit(node)
        if node.args and node.args[-1].arg == "dropout_rate":
            node.args.pop()
            node.defaults.pop()
        return node


def claim_in(docstring: str) -> str:
    """What a docstring claims: all before the sources, errors and examples, and nothing about dropout.

    >>> claim_in("Do it.\\n\\nIt is done.\\n\\nSource: lore.")
    'Do it.\\n\\nIt is done.'
    """
    paragraphs = docstring.split("\n\n")
    ends = [place for place, text in enumerate(paragraphs) if text.startswith(("Source:", "Raises:", ">>>"))]
    claimed = paragraphs[: min(ends, default=len(paragraphs))]
    return "\n\n".join(text for text in claimed if not text.startswith("Dropout"))


def set_docstring(node: ast.FunctionDef, docstring: str) -> None:
    """Put a docstring in the place of the one that is there."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    indented = "\n".join(f"    {line}" if line else "" for line in docstring.splitlines())
    text = indented.strip() + ("\n    " if "\n" in docstring else "")
    node.body = [ast.Expr(ast.Constant(text)), *body]


# Mutants in the words of ours


class Renamed(ast.NodeTransformer):
    """Names in place of others."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Exchange one name."""
        node.id = self.names.get(node.id, node.id)
        return node


class InOurWords(ast.NodeTransformer):
    """Calls of functions of the model in place of PyTorch's own, which would stand out."""

    def __init__(self, target: str) -> None:
        self.target = target

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Write a transpose out."""
        self.generic_visit(node)
        return parsed(f"({ast.unparse(node.value)}).transpose(-2, -1)") if node.attr == "mT" else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Exchange one call."""
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if called in ("F.cross_entropy", "torch.nn.functional.cross_entropy"):
            return self.cross_entropy(node)
        if called == "shares" and self.is_scaled_scores(node.args[0]):
            return self.attention_weights(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("softmax", "log_softmax"):
            return node if node.func.attr == self.target else self.softmax(node.func, node.args)
        return node

    def softmax(self, method: ast.Attribute, axis: list[ast.expr]) -> ast.AST:
        """Turn `x.softmax(-1)` into `softmax(x)`."""
        is_last = not axis or ast.unparse(axis[0]) == "-1"
        return ast.Call(ast.Name(method.attr), [method.value, *([] if is_last else axis)], [])

    def cross_entropy(self, node: ast.Call) -> ast.AST:
        """Turn PyTorch's cross entropy into that of the next lower function of the model; ours has its classes last."""
        logits, target = (without_method(argument, ("movedim", "flatten")) for argument in node.args)
        options = {option.arg: option for option in node.keywords}
        if self.target != "cross_entropy":
            return ast.Call(ast.Name("cross_entropy"), [logits, target], node.keywords)
        smoothing = [options["label_smoothing"]] if "label_smoothing" in options else []
        each = ast.Call(ast.Name("token_cross_entropy"), [logits, target], smoothing)
        return each if "reduction" in options else ast.Call(ast.Attribute(each, "mean"), [], [])

    def is_scaled_scores(self, node: ast.expr) -> bool:
        """Whether a score is the one that attention weights are made of, in a function that may call these."""
        is_score = isinstance(node, ast.Call) and ast.unparse(node.func) == "scaled_scores"
        return is_score and self.target == "scaled_dot_product_attention"

    def attention_weights(self, node: ast.Call) -> ast.AST:
        """Turn `shares(scaled_scores(query, key, scale), rule)` into `attention_weights(query, key, rule, scale)`."""
        score, *rule = node.args
        assert isinstance(score, ast.Call)
        query, key, *scale = score.args
        return ast.Call(ast.Name("attention_weights"), [query, key, *rule, *scale], [])


def without_method(node: ast.expr, methods: Sequence[str]) -> ast.expr:
    """The tensor before a method was called on it.

    >>> ast.unparse(without_method(parsed("x.flatten(0, -2)"), ("flatten",)))
    'x'
    """
    is_called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods
    return node.func.value if is_called else node  # type: ignore[attr-defined] # known from the line before


# Helpers written out in the place of their call


def written_out(statements: Sequence[ast.stmt], helpers: Mapping[str, ast.FunctionDef]) -> list[ast.stmt]:
    """Statements with the bodies of their helpers in the place of the calls."""
    found: list[ast.stmt] = []
    for statement in statements:
        found += statement_written_out(statement, helpers)
    return without_repeated_tests(found)


def statement_written_out(statement: ast.stmt, helpers: Mapping[str, ast.FunctionDef]) -> list[ast.stmt]:
    """One statement with the helpers that it calls before it, or around it."""
    call = first_call(statement, helpers)
    if call is None:
        return [statement]
    if isinstance(statement, ast.If | ast.With | ast.For):
        statement.body = written_out(statement.body, helpers)
        return [statement]
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.IfExp):
        choice = statement.value
        branch = ast.If(choice.test, written_out([ast.Return(choice.body)], helpers), [])
        return [branch, *written_out([ast.Return(choice.orelse)], helpers)]
    is_returned = isinstance(statement, ast.Return)
    before, body = bound(helpers[ast.unparse(call.func)], call, is_returned)
    before = written_out(before, helpers)
    if isinstance(statement, ast.Return):
        outer = exchanged(statement, call, ast.Name(THE_CALL))
        return [*before, *written_out([returned_within(each, outer) for each in body], helpers)]
    *body, last = body
    assert not any(isinstance(each, ast.If) for each in body), "only a helper without branches can be assigned"
    assert isinstance(last, ast.Return)
    assert last.value is not None
    return [*before, *body, *assigned(exchanged(statement, call, last.value), helpers)]


def first_call(statement: ast.stmt, helpers: Mapping[str, ast.FunctionDef]) -> ast.Call | None:
    """The first call of a helper in a statement, or none."""
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call) and ast.unparse(node.func) in helpers]
    return calls[0] if calls else None


def bound(helper: ast.FunctionDef, call: ast.Call, is_returned: bool) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The body of a helper for one call, and the assignments to its parameters that come before.

    Where nothing comes after the call, parameters are assigned, else the arguments stand in their place, as do names,
    and the arguments of a helper of one expression. `*args` stand for arguments that bear the same names.
    """
    parameters = [parameter.arg for parameter in helper.args.args]
    given: dict[str, ast.expr] = {}
    if not any(isinstance(argument, ast.Starred) for argument in call.args):
        defaults = helper.args.defaults
        given = dict(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))
    plainly = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
    given |= dict(zip(parameters, plainly, strict=False))
    given |= {option.arg: option.value for option in call.keywords if option.arg}
    body = deepcopy(helper.body[1:])
    is_in_place = len(body) == 1 or not is_returned
    in_place = {name: value for name, value in given.items() if is_in_place or is_plain(value)}
    body = Decided().visit(Substituted(in_place).visit(ast.Module(body, []))).body
    before: list[ast.stmt] = [
        ast.Assign([ast.Name(name)], value, lineno=0) for name, value in given.items() if name not in in_place
    ]
    return before, body


def is_plain(value: ast.expr) -> bool:
    """Whether a value is a name, a text or nothing, and needs no name of its own."""
    return isinstance(value, ast.Name) or (isinstance(value, ast.Constant) and isinstance(value.value, str | None))


class Decided(ast.NodeTransformer):
    """Leaves a test away whose answer is written in it, such as `"mean" == "none"`."""

    def visit_If(self, node: ast.If) -> Any:
        """Keep the branch that is taken."""
        self.generic_visit(node)
        answer = known_answer(node.test)
        return node if answer is None else node.body if answer else node.orelse

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Keep the value that is chosen."""
        self.generic_visit(node)
        answer = known_answer(node.test)
        return node if answer is None else node.body if answer else node.orelse


def known_answer(test: ast.expr) -> bool | None:
    """The answer to whether two constants are the same, and None for any other question.

    >>> known_answer(parsed("'mean' == 'none'")), known_answer(parsed("reduction == 'none'"))
    (False, None)
    """
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq | ast.Is):
        return None
    sides = [test.left, *test.comparators]
    values = [side.value for side in sides if isinstance(side, ast.Constant)]
    return values[0] == values[1] if len(values) == len(sides) else None


class Substituted(ast.NodeTransformer):
    """Expressions in the place of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Exchange one name."""
        return deepcopy(self.values.get(node.id, node))


def exchanged(tree: Any, old: ast.AST, new: ast.AST) -> Any:
    """A tree with one node in the place of another."""

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return new if node is old else self.generic_visit(node)

    return Exchange().visit(tree)


def returned_within(statement: ast.stmt, outer: ast.Return) -> ast.stmt:
    """A statement of a helper in which everything returned becomes what the caller makes of it and returns."""
    if isinstance(statement, ast.If):
        statement.body = [returned_within(each, outer) for each in statement.body]
    if not isinstance(statement, ast.Return) or statement.value is None:
        return statement
    choice = statement.value
    if isinstance(choice, ast.IfExp):
        return ast.Return(ast.IfExp(choice.test, around(outer, choice.body), around(outer, choice.orelse)))
    return ast.Return(around(outer, choice))


def around(outer: ast.Return, value: ast.expr) -> ast.expr:
    """What a caller makes of a value."""
    found: ast.expr = Substituted({THE_CALL: value}).visit(deepcopy(outer)).value
    return found


def assigned(statement: ast.stmt, helpers: Mapping[str, ast.FunctionDef]) -> list[ast.stmt]:
    """An assignment to several names as one for each; `_` needs none."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Tuple):
        return statement_written_out(statement, helpers)
    (names,) = statement.targets
    assert isinstance(names, ast.Tuple)
    pairs = zip(names.elts, statement.value.elts, strict=True)
    return [ast.Assign([name], value, lineno=0) for name, value in pairs if ast.unparse(name) != "_"]


def without_repeated_tests(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements without those that a test can't reach, since the same test has returned before."""
    found: list[ast.stmt] = []
    returned: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Return):
            test = ast.unparse(statement.test)
            if test in returned:
                continue
            returned.add(test)
        found.append(statement)
    return found


# Trees as text


def parsed(expression: str) -> ast.expr:
    """An expression as a tree."""
    return ast.parse(expression, mode="eval").body


def text_of(node: ast.FunctionDef) -> str:
    """A definition as text, with a long head on lines of its own and double quotes."""
    body = ast.unparse(ast.fix_missing_locations(node)).splitlines()[1:]
    assert node.returns is not None
    parameters, returns = list(parameters_of(node.args)), ast.unparse(node.returns)
    head = [f"def {node.name}({', '.join(parameters)}) -> {returns}:"]
    if len(head[0]) > LONGEST_LINE:
        head = [f"def {node.name}(", *(f"    {parameter}," for parameter in parameters), f") -> {returns}:"]
    return with_double_quotes("\n".join([*head, *body, ""]))


def parameters_of(arguments: ast.arguments) -> Iterator[str]:
    """Each parameter as text."""
    first_default = len(arguments.args) - len(arguments.defaults)
    for place, parameter in enumerate(arguments.args):
        default = f" = {ast.unparse(arguments.defaults[place - first_default])}" if place >= first_default else ""
        yield ast.unparse(parameter) + default


def with_double_quotes(code: str) -> str:
    """Code with its strings in double quotes.

    >>> with_double_quotes("x = 'mean'")
    'x = "mean"'
    """
    tokens = [
        token._replace(string=f'"{token.string[1:-1]}"')
        if token.type == tokenize.STRING and token.string.startswith("'") and '"' not in token.string
        else token
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
    ]
    return tokenize.untokenize(tokens)
