"""The small model as one file that needs no other: every equation in full, and one of them a mutant if asked for."""

import ast
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import FunctionType
from typing import Any

from minitransformer.errors import InputError
from minitransformer.laws.claims import CLAIMS, SYNONYMS
from minitransformer.laws.zoo import masked_lm
from minitransformer.laws.zoo.game import small_model
from minitransformer.laws.zoo.game.rewriting import (
    InOurWords,
    Plain,
    Renamed,
    definition,
    plain,
    set_docstring,
    text_of,
    written_out,
)
from minitransformer.laws.zoo.mutant import ZOO, Mutant
from minitransformer.objectives.masked_lm import IGNORED, mask_tokens

Function = Callable[..., Any]
Definitions = dict[str, ast.FunctionDef]

NAMES = {claim: name.replace("-", "_") for name, claim in SYNONYMS.items()}
"""The names of claims that are not called as they are."""

PARTS_OF_MASKING = {"our_fates": "draw_fates", "our_replacements": "draw_words"}
"""What the parts of `masking` in the zoo are called in the file."""

REPLACED_BY = {
    "selection": "select_tokens",
    "fates": "draw_fates",
    "replacing": "draw_words",
    "afterwards": "masking",
    "whole_masking": "masking",
}
"""Which function a mutant of masking stands for, by its decorator."""

OTHER_NAMES = {
    "SmallModel": ("WordGuesser", "TinyBert", "Encoder", "Reader", "Cloze", "MaskedModel", "GapFiller"),
    "SelfAttention": ("Heads", "Attention", "ManyHeads", "MixingLayer", "Lookup", "AttentionLayer", "Mixer"),
    "Block": ("Layer", "EncoderLayer", "TransformerBlock", "Stage", "EncoderBlock", "TransformerLayer", "Unit"),
    "loss_of": ("loss_on", "surprise", "batch_loss", "training_loss", "error_of", "price_of", "objective"),
    "hide_words": ("hide", "blank_out", "prepared", "with_gaps", "examples", "questions", "cover_words"),
    "make_step": ("update", "learn", "move", "improve", "descend", "apply_gradients", "next_step"),
}
"""What the classes and functions around the equations may be called: a seed draws one of each."""
SEEDS = 100

HEAD = '''"""{purpose}

Run it: `python model.py` trains for some seconds, and prints the loss. minitransformer is needed for the text.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from minitransformer.corpora.synthetic import SyntheticLanguage
from torch import Tensor, nn

IGNORED = {ignored}
"""The label of what is not asked for."""

# The equations
'''


def model_file(mutant: Mutant | None, seed: int = 0) -> str:
    """The small model as the text of one file, healthy or with a mutant in it, under the names that a seed draws.

    Raises: InputError for a mutant whose claim the model does not use.
    """
    definitions = dict(equations())
    if mutant is not None:
        name, node = mutated(mutant)
        definitions[name] = node
    purpose, template = template_parts()
    head = HEAD.format(purpose=purpose, ignored=IGNORED)
    text = "\n\n".join([head, *map(text_of, definitions.values()), template])
    return under_other_names(text, seed)


def debuggable_claims() -> list[str]:
    """The claims that the small model uses, in the order of its file.

    >>> "layer-norm" in debuggable_claims(), "word-vectors" in debuggable_claims()
    (True, False)
    """
    return [claim for name in equations() for claim in CLAIMS if name_of(claim) == name]


def debuggable() -> list[Mutant]:
    """The mutants that can be debugged, in an order that has nothing to do with that of the zoo."""
    claims = debuggable_claims()
    mutants = [mutant for mutant in ZOO if mutant.claim in claims]
    return sorted(mutants, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest())


def require_debuggable(mutant: Mutant) -> None:
    """Refuse a mutant of something that the small model does not use.

    Raises: InputError that names what it does use.
    """
    claims = debuggable_claims()
    if mutant.claim not in claims:
        raise InputError(
            f"{mutant.name} claims to be {mutant.claim}, which the small model does not use; "
            f"choose a mutant that claims to be {', '.join(claims)}"
        )


def name_of(claim: str) -> str:
    """The name that the function of a claim has in the file.

    >>> name_of("layer-norm"), name_of("attention")
    ('layer_norm', 'scaled_dot_product_attention')
    """
    return NAMES.get(claim, claim.replace("-", "_"))


# The equations that the small model uses


@cache
def equations() -> Definitions:
    """The definition of each function of ours that the small model uses, what it calls itself before it."""
    tree = ast.parse(inspect.getsource(small_model))
    found: Definitions = {}
    for name in names_used(tree):
        add_with_what_it_calls(vars(small_model).get(name), found)
    return found


def names_used(tree: ast.AST) -> Iterator[str]:
    """The names in a tree, in the order of its text."""
    if isinstance(tree, ast.Name):
        yield tree.id
    for child in ast.iter_child_nodes(tree):
        yield from names_used(child)


def add_with_what_it_calls(function: Any, found: Definitions) -> None:
    """Add a function of ours to the definitions, and before it what it calls; anything else adds nothing."""
    if not is_ours(function) or written_name(function) in found:
        return
    node, names = own_definition(function)
    for called in names_used(node):
        add_with_what_it_calls(names.get(called), found)
    node = Renamed({called: written_name(names[called]) for called in names if is_ours(names[called])}).visit(node)
    node.name = written_name(function)
    found[node.name] = node


def is_ours(thing: Any) -> bool:
    """Whether something is a function of this package, and not one of the small model itself."""
    module = getattr(thing, "__module__", "") or ""
    is_function = isinstance(thing, FunctionType) and thing.__name__ != "dropout"
    return is_function and module.startswith("minitransformer") and module != small_model.__name__


def own_definition(function: Function) -> tuple[ast.FunctionDef, dict[str, Any]]:
    """The definition of a function as it stands in the file, and what its names mean."""
    if function is not mask_tokens:
        return plain(definition(function)), inspect.unwrap(function).__globals__
    (node,) = [each for each in ast.walk(definition(masked_lm.masking)) if getattr(each, "name", "") == "mask"]
    assert isinstance(node, ast.FunctionDef)
    set_docstring(node, ast.get_docstring(plain(definition(mask_tokens))) or "")
    parts = {"select": "select_tokens", "fates": "our_fates", "replace": "our_replacements"}
    return plain(Renamed(parts).visit(node)), vars(masked_lm)


def written_name(function: Function) -> str:
    """The name that a function of ours has in the file."""
    claims = [claim for claim, ours in CLAIMS.items() if ours is function]
    return name_of(claims[0]) if claims else PARTS_OF_MASKING.get(function.__name__, function.__name__)


# The mutant


def mutated(mutant: Mutant) -> tuple[str, ast.FunctionDef]:
    """The name of the function that a mutant stands for, and its definition with the head and the docstring of ours.

    Raises: InputError for a mutant whose claim the model does not use.
    """
    require_debuggable(mutant)
    decorated = definition(mutant.function)
    decorators = [decorator.id for decorator in decorated.decorator_list if isinstance(decorator, ast.Name)]
    name = REPLACED_BY[decorators[0]] if decorators else name_of(mutant.claim)
    healthy = equations()[name]
    body = decorated.body[1:]
    if decorators == ["afterwards"]:
        masked = "masked_ids, labels = mask_tokens(input_ids, maskable, *args, **options)"
        body = [*ast.parse(masked).body, *body]
    meanings = inspect.unwrap(mutant.function).__globals__
    in_our_words = InOurWords(name)
    body = [in_our_words.visit(Plain().visit(statement)) for statement in body]
    names, helpers = names_and_helpers(body, meanings, in_our_words)
    body = [Renamed(names).visit(statement) for statement in written_out(body, helpers)]
    node = ast.FunctionDef(name, healthy.args, [healthy.body[0], *body], [], healthy.returns)
    return name, node


def names_and_helpers(
    body: Sequence[ast.stmt], meanings: dict[str, Any], in_our_words: InOurWords
) -> tuple[dict[str, str], Definitions]:
    """What a mutant calls, directly or not: functions of the model by their names there, and others to write out."""
    names = {"F": "nn.functional"}
    helpers: Definitions = {}
    waiting = [(body, meanings)]
    while waiting:
        statements, meanings = waiting.pop()
        called = {name for statement in statements for name in names_used(statement) if is_ours(meanings.get(name))}
        for name in called - helpers.keys() - names.keys():
            function = meanings[name]
            written = written_name(function)
            if written == in_our_words.target:
                helpers[name] = equations()[written]
            elif written in equations():
                names[name] = written
            else:
                helpers[name] = in_our_words.visit(plain(definition(function)))
                waiting.append((helpers[name].body, inspect.unwrap(function).__globals__))
    return names, helpers


# The rest of the file


@cache
def template_parts() -> tuple[str, str]:
    """The first line of the small model, and its text from the settings on."""
    text = inspect.getsource(small_model)
    return (small_model.__doc__ or "").strip(), re.sub("  # type: ignore.*", "", text[text.index("SEED = ") :])


def under_other_names(text: str, seed: int) -> str:
    """The file with the names and the seed of its training that a seed draws."""
    for name, others in OTHER_NAMES.items():
        text = re.sub(rf"\b{name}\b", others[drawn(seed, name, len(others))], text)
    return text.replace("SEED = 0", f"SEED = {drawn(seed, 'SEED', SEEDS)}", 1)


def drawn(seed: int, what: str, count: int) -> int:
    """A number below `count` that a seed draws for one thing."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:8], "big") % count
