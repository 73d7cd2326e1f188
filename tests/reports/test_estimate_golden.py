"""How an answer is written, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from vramplan.estimator.result import Answer
from vramplan_reports import estimate, explain, markdown, terminal

Golden = Callable[[str, str], None]
ANSWERS = ("comparison", "without_card", "nothing_fits", "one_method")


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> Answer:
    found: Answer = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("answer", ANSWERS, indirect=True)
def test_estimate_table(answer: Answer, golden: Golden, request: pytest.FixtureRequest) -> None:
    text = terminal.render(estimate.sheet((answer,)), width=80, color=False)
    golden(f"reports/estimate-{request.node.callspec.params['answer']}.txt", text)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_estimate_in_colour(comparison: Answer, golden: Golden) -> None:
    golden("reports/estimate-colour.txt", terminal.render(estimate.sheet((comparison,)), width=80, color=True))


def test_estimate_markdown(comparison: Answer, golden: Golden) -> None:
    golden("reports/estimate.md", markdown.render(estimate.sheet((comparison,))))


def test_estimate_json(comparison: Answer, without_card: Answer, golden: Golden) -> None:
    golden("reports/estimate.json", json.dumps(estimate.document((comparison,)), indent=2) + "\n")
    both = estimate.document((comparison, without_card))
    assert [document["gpu"] is None for document in both["answers"]] == [False, True]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_explain_table(one_method: Answer, golden: Golden, width: int) -> None:
    text = terminal.render(explain.sheet((one_method,)), width=width, color=False)
    golden(f"reports/explain-{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


def test_explain_markdown(one_method: Answer, golden: Golden) -> None:
    golden("reports/explain.md", markdown.render(explain.sheet((one_method,))))
