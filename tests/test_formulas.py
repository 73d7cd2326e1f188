"""docs/formulas.md is what the docstrings say, and every public formula has one."""

from __future__ import annotations

import ast
import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load() -> ModuleType:
    spec = spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load()


def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        generate.PAGE.write_text(generate.formulas(), encoding="utf-8")
    assert generate.PAGE.read_text(encoding="utf-8") == generate.formulas(), "run `python docs/generate.py`"


def test_no_module_of_the_step_is_left_out() -> None:
    found = {f"step/{path.stem}" for path in (ROOT / "vramplan" / "step").glob("[!_]*.py")}
    assert found <= set(generate.MODULES)


@pytest.mark.parametrize("name", generate.MODULES)
def test_every_public_formula_is_documented(name: str) -> None:
    tree = ast.parse((ROOT / "vramplan" / f"{name}.py").read_text(encoding="utf-8"))
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare
