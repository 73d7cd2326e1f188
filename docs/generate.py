"""Writes docs/formulas.md from the docstrings of the formulas: `python docs/generate.py`. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "formulas.md"
MODULES = (
    "step/weights", "step/optimizer", "step/operators", "step/norms", "step/activations",
    "step/attention", "step/block", "step/head", "step/memory",
    "step/entry", "step/tape", "step/setting", "step/precision", "step/sharding", "step/fsdp", "estimator/moment",
    "estimator/load", "estimator/phases", "estimator/tiers",
    "speed/work", "speed/products", "speed/traffic", "speed/card", "speed/efficiency", "speed/time",
    "calibrate/memory", "calibrate/throughput", "calibrate/edge", "calibrate/robust", "calibrate/conformal",
    "data/padding", "data/packing", "cost/hire", "cost/rate", "cost/work", "cost/spot", "cost/own", "cost/energy",
    "budget/bill", "budget/schedule", "budget/sensitivity",
)  # fmt: skip
"""In the order in which a person wants them: what stays, what a step takes, how it adds up; then its time."""
HEADER = """# Formulas

What every number of an estimate comes from: one section for each module, one entry for each formula, in the words
that stand beside the code. Written by `python docs/generate.py` from the docstrings; a test keeps it current.

Sizes are bytes unless a name says otherwise. A tensor takes a multiple of 512 bytes of the CUDA allocator, and
`allocated` in the code is that rounding. Counts may be arrays. Where no library is named, the versions are those of
the stack `hf-trainer` (`vramplan stacks hf-trainer`).
"""


def formulas() -> str:
    """The whole page."""
    return HEADER + "".join(section(name) for name in MODULES)


def section(name: str) -> str:
    """A module: what it is about, its constants, its formulas."""
    tree = ast.parse((ROOT / "vramplan" / f"{name}.py").read_text(encoding="utf-8"))
    title, _, rest = documented(tree).partition("\n")
    text = f"\n## {title.removesuffix('.')}\n\n`vramplan/{name}.py`\n{paragraphs(rest)}"
    found = [f"- `{constant}` — {oneline(meaning)}\n" for constant, meaning in constants(tree)]
    if found:
        text += "\n" + "".join(found)
    for function in functions(tree):
        text += f"\n### `{function.name}`\n{paragraphs(documented(function))}"
    return text


def documented(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return ast.get_docstring(node) or ""


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions with a docstring, those of classes after the module's own of the same place."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and documented(node):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef) and documented(item))


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Named numbers with the words below them; neighbours may share one text."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and is_number(node.value):
            names.append(ast.unparse(node))
        elif names and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield "`, `".join(names), cleandoc(str(node.value.value))
            names = []
        else:
            names = []


def is_number(value: ast.expr) -> bool:
    """Arithmetic on numbers (and units), or a pair of such."""
    parts = (ast.Constant, ast.BinOp, ast.Tuple, ast.Name, ast.operator, ast.expr_context)
    nodes = list(ast.walk(value))
    return all(
        isinstance(node, parts) and not (isinstance(node, ast.Constant) and isinstance(node.value, str))
        for node in nodes
    )


def paragraphs(text: str) -> str:
    """Lines as they stand; what is indented, as code."""
    if not text.strip():
        return ""
    lines: list[str] = []
    inside = False
    for line in text.strip("\n").splitlines():
        indented = line.startswith("    ")
        if indented != inside and line.strip():
            lines += ["```"] if inside else ["", "```"] if lines and lines[-1] else ["```"]
            inside = indented
        lines.append(line.removeprefix("    ") if inside else line)
    if inside:
        lines.append("```")
    return "\n" + "\n".join(lines) + "\n"


def oneline(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(formulas(), encoding="utf-8")
