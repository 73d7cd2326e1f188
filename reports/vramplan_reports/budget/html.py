"""A budget as one self-contained page: the decision first, then what it rests on."""

from __future__ import annotations

from vramplan.budget.result import Budget

from ..page.chart import Chart
from ..page.markup import Html, el, join
from ..page.skeleton import page
from . import words
from .grounds import assumptions, commands, measured, sources
from .job_section import job_sections
from .money_sections import costs, lines, sensitivity


def render(budget: Budget) -> str:
    """The page. The same budget gives the same bytes."""
    charts: list[Chart] = []
    sections = [
        ("cost", "What it costs", costs(budget, charts)),
        ("sensitivity", "What moves the cost", sensitivity(budget, charts)),
        ("jobs", "Jobs", job_sections(budget, charts)),
        ("lines", "Cost lines", lines(budget)),
    ]
    if budget.measured is not None:
        sections.append(("measured", "Measured against predicted", measured(budget.measured, charts)))
    sections += [
        ("assumptions", "Assumptions", assumptions(budget)),
        ("sources", "Sources", sources(budget)),
        ("again", "The same again", commands(budget)),
    ]
    return page(
        title=f"{budget.scenario.name}: budget",
        header=_header(budget),
        sections=[section for section in sections if section[2]],
        footer=el("p", words.footer(budget)),
        charts=charts,
    )


def _header(budget: Budget) -> Html:
    plan = budget.scenario
    by = f", {plan.owner}" if plan.owner else ""
    boxes = (
        el("div", el("dt", fact.title), el("dd", fact.figure, class_="figure"), el("dd", fact.detail),
           class_=fact.tone if fact.tone in ("good", "warn", "bad") else None)
        for fact in words.facts(budget)
    )  # fmt: skip
    return join(
        el("h1", plan.name),
        el("p", f"Budget of {words.day(plan.date)}{by}. Money in USD.", class_="byline"),
        el("p", plan.summary) if plan.summary else "",
        el("p", words.decision(budget), class_=f"decision {words.decision_tone(budget)}"),
        el("dl", *boxes, class_="facts"),
        el("ul", *(el("li", note) for note in budget.notes), class_="notes warn") if budget.notes else "",
    )
