"""Suites: files of cells (TOML). Lists in a block multiply, so that a few lines are a factorial design.

    title = "..."                what the suite is for
    needs = "cuda"               left out where it runs on the CPU too
    [defaults]                   keys of every block below
    [[cells]]                    model, stack and layers, every knob of a recipe, and how to measure (Cell)
    model = ["llama-8b", "qwen-7b"]
    seq_len = [512, 2048]        four cells, the last key turning fastest

Cells stand in the order in which they are worth having: a run that is cut short has done the best ones.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from vramplan.errors import InvalidValueError, UnknownNameError, VramplanError
from vramplan.files import read_text
from vramplan.recipe import Recipe

from .cells import Cell

FOLDER = files("vramplan_bench") / "suites"
LARGEST_FILE_BYTES = 4 * 2**20
_KNOBS = frozenset(field.name for field in fields(Recipe))
_OWN = frozenset(field.name for field in fields(Cell)) - {"recipe"}
_HEAD = ("title", "needs", "defaults", "cells")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Cells in the order in which they are worth having."""

    name: str
    title: str
    needs_cuda: bool
    cells: tuple[Cell, ...]


def suite_names() -> tuple[str, ...]:
    """Suites that come with the package."""
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in FOLDER.iterdir() if entry.name.endswith(".toml")))


def is_suite(name: str) -> bool:
    """Does this mean a suite (one that is shipped, or a file of one), and not a model?"""
    return name in suite_names() or name.endswith(".toml")


@cache
def load_suite(name: str) -> Suite:
    """A suite by name or file. Raises VramplanError, which names file, block and key."""
    if name.endswith(".toml"):
        text, where = read_text(name, "a suite", LARGEST_FILE_BYTES), name
    elif name in suite_names():
        text, where = (FOLDER / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml"
    else:
        raise UnknownNameError("suite", name, suite_names(), hint="vramplan bench list")
    return parse_suite(text, where)


def parse_suite(text: str, where: str) -> Suite:
    """The suite that `text` describes."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise VramplanError(f"{where}: {error}") from None
    _known(values, _HEAD, where)
    if values.get("needs") not in (None, "cuda"):
        raise InvalidValueError(f"{where}, needs", values["needs"], '"cuda", or left out')
    blocks = values.get("cells")
    if not isinstance(blocks, list) or not blocks:
        raise VramplanError(f"{where}: no [[cells]]")
    cells = [
        cell
        for number, block in enumerate(blocks, 1)
        for cell in _expand({**values.get("defaults", {}), **block}, f"{where}, block {number}")
    ]
    return Suite(
        name=Path(where).stem,
        title=str(values.get("title", "")),
        needs_cuda=values.get("needs") == "cuda",
        cells=tuple(dict.fromkeys(cells)),
    )


def _expand(block: Mapping[str, Any], where: str) -> Iterator[Cell]:
    """Every combination of the block's lists."""
    _known(block, (*_KNOBS, *_OWN), where)
    if "model" not in block:
        raise VramplanError(f"{where}: no model")
    lists = [value if isinstance(value, list) else [value] for value in block.values()]
    for values in product(*lists):
        chosen = dict(zip(block, values, strict=True))
        try:
            recipe = Recipe(**{key: value for key, value in chosen.items() if key in _KNOBS})
            yield Cell(recipe=recipe, **{key: value for key, value in chosen.items() if key in _OWN})
        except VramplanError as error:
            raise VramplanError(f"{where}: {error}") from None
        except TypeError as error:
            raise VramplanError(f"{where}: a value of the wrong type ({error})") from None


def _known(values: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in names:
            raise UnknownNameError(f"key of {where}:", key, names)
