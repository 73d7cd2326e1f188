"""`from vramplan import ...`, whatever was imported before."""

from __future__ import annotations

import pytest

import vramplan
from vramplan import Answer, Gpu, Model, Recipe, VramplanError, estimate


def test_three_lines() -> None:
    answer = estimate("llama-70b", "a100-80", Recipe(method="qlora", batch=2))
    assert isinstance(answer, Answer)
    assert [(e.recipe.method, e.recipe.batch) for e in answer.estimates] == [("qlora", 2)]


def test_objects_in_place_of_names() -> None:
    named = estimate("llama-8b", "h100")
    assert isinstance(named.model, Model)
    assert isinstance(named.gpu, Gpu)
    assert estimate(named.model, named.gpu) == named
    assert [e.recipe.method for e in named.estimates] == ["full", "lora", "qlora"]


def test_errors() -> None:
    with pytest.raises(VramplanError, match="nearest"):
        estimate("lama-70b")
    with pytest.raises(AttributeError, match="nonsense"):
        vramplan.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_listed() -> None:
    assert set(vramplan.__all__) <= set(dir(vramplan))
