"""What holds for any plan: more work never costs less, lines add up, the range holds what is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramplan.budget.build import budget
from vramplan.budget.scenario import Guess, Scenario

Read = Callable[..., Scenario]
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
COUNTS = st.decimals(0, 50, places=1)
SHARES = st.decimals(0, 2, places=2)


def with_numbers(plan: Scenario, **numbers: Decimal) -> Scenario:
    """Numbers of the first job and of the habits in place."""
    job, *rest = plan.jobs
    runs, habits = numbers.pop("runs"), {name: Guess(value=value) for name, value in numbers.items()}
    return replace(plan, jobs=(replace(job, runs=Guess(value=runs)), *rest), habits=replace(plan.habits, **habits))


@SHARED
@given(
    runs=COUNTS, failed_share=SHARES, idle_share=SHARES, more=st.sampled_from(["runs", "failed_share", "idle_share"])
)
def test_more_is_never_cheaper(
    scenario: Read, runs: Decimal, failed_share: Decimal, idle_share: Decimal, more: str
) -> None:
    numbers = {"runs": runs, "failed_share": failed_share, "idle_share": idle_share}
    plan = scenario(("deadline = 2026-11-30\n", ""))  # a deadline buys hours back
    less = budget(with_numbers(plan, **numbers))
    there = budget(with_numbers(plan, **(numbers | {more: numbers[more] + 1})))
    assert there.total.value >= less.total.value
    assert there.hours.value >= less.hours.value
    assert there.end and less.end and there.end >= less.end


@SHARED
@given(runs=COUNTS, failed_share=SHARES, idle_share=SHARES)
def test_lines_add_up_and_ranges_hold(
    scenario: Read, runs: Decimal, failed_share: Decimal, idle_share: Decimal
) -> None:
    found = budget(with_numbers(scenario(), runs=runs, failed_share=failed_share, idle_share=idle_share))
    assert sum(line.amount for _, line in found.lines) + found.contingency == found.total.value
    for line in (line for _, line in found.lines):
        assert line.unit_price is not None
        assert abs(line.quantity * line.unit_price - line.amount) <= Decimal("0.005")
    for ends in (found.subtotal, found.total, *(job.usd for job in found.jobs if job.usd)):
        assert ends.low <= ends.value <= ends.high
    for swing in found.swings:
        assert found.subtotal.low <= max(swing.usd_at_low, swing.usd_at_high)
        assert found.subtotal.high + 1 >= swing.usd_at_high


@pytest.mark.parametrize("cards", [("l40s",), ("h100",), ("l40s", "h100")])
def test_a_choice_never_costs_more(scenario: Read, cards: tuple[str, ...]) -> None:
    plan = scenario()
    free = budget(plan).subtotal.value
    assert free <= budget(replace(plan, limits=replace(plan.limits, gpus=cards))).subtotal.value
