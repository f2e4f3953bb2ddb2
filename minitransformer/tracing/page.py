"""A trace as a page: each tensor with its shape, its equation and a picture, in the order of the data flow."""

from collections.abc import Iterable
from html import escape
from string import Template

import torch
from torch import Tensor

from minitransformer import plots
from minitransformer.equations import in_torch
from minitransformer.tracing.intermediate import Intermediate

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 "Helvetica Neue", Arial, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 80rem; }
h1 { font-size: 1.6rem; } .lead { color: #52606d; max-width: 50rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
$table
</body>
</html>
"""
)
STYLE = """<style>
.trace { border-collapse: collapse; } .trace td, .trace th { padding: 0.3rem 0.7rem; text-align: left; }
.trace td { border-bottom: 1px solid #e4e7eb; vertical-align: top; } .trace th { color: #52606d; font-size: 0.85rem; }
.trace code { font-size: 0.85rem; } .trace .formula { color: #52606d; display: block; white-space: pre-wrap; }
.trace .argument code, .trace .step code { color: #7b8794; } .trace small { color: #7b8794; display: block; }
.trace img { image-rendering: pixelated; width: 6rem; max-height: 6rem; border: 1px solid #d9e2ec; }
</style>"""
LEAD = (
    "Every tensor of one forward pass, in the order in which it is computed, with the equation that it belongs to. A "
    "picture shows the first example of a batch, and of several heads the first: blue is below zero, red above, and "
    "what is infinite is left out. What is grey is a step on the way, or was handed to an equation."
)
HEAD = "<tr><th>name</th><th>equation</th><th>shape</th><th>least … mean … largest</th><th></th></tr>"


def trace_page(traced: Iterable[Intermediate], title: str) -> str:
    """The whole page; it holds its pictures itself and needs no network."""
    return PAGE.substitute(title=escape(title), lead=LEAD, table=trace_table(traced))


def trace_table(traced: Iterable[Intermediate]) -> str:
    """The table alone, as notebooks show it."""
    return f'{STYLE}<table class="trace">{HEAD}{"".join(row(each) for each in traced)}</table>'


def row(found: Intermediate) -> str:
    """One tensor."""
    reads = f"<small>from {escape(', '.join(found.reads))}</small>" if found.reads else ""
    indent = f"padding-left: {0.7 + 1.1 * found.depth}rem"
    cells = (
        f'<td style="{indent}"><code>{escape(found.name)}</code>{reads}</td>',
        f"<td>{equation(found)}</td>",
        f"<td>{escape(found.shape)}<small>{escape(str(found.value.dtype).removeprefix('torch.'))}</small></td>",
        f"<td>{escape(found.summary)}</td>",
        f"<td>{picture(found)}</td>",
    )
    return f'<tr class="{found.kind}">{"".join(cells)}</tr>'


def equation(found: Intermediate) -> str:
    """The equation's tag, with the formula where its result stands."""
    if not found.equation:
        return ""
    formula = escape(in_torch()[found.equation].formula) if found.has_equation else ""
    return f'eq:{found.equation}<span class="formula">{formula}</span>'


def picture(found: Intermediate) -> str:
    """The first matrix of a tensor, as a small map."""
    values: Tensor = found.value.detach().cpu()
    if values.numel() <= 1:
        return ""
    while values.ndim > 2:
        values = values[0]
    numbers = values.to(torch.float64).numpy()
    return f'<img alt="values of {escape(found.name)}" src="{plots.small_map(numbers)}">'
