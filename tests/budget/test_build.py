"""Budgets of a small world, reckoned by hand: 36M tokens at 1,000 a second are 10 hours of an L40S at 1.00 USD."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from vramplan.budget.build import budget
from vramplan.budget.result import Range
from vramplan.budget.scenario import Scenario
from vramplan.budget.sensitivity import combined
from vramplan.errors import VramplanError
from vramplan_reports.budget import html

from . import conftest

Read = Callable[..., Scenario]
D = Decimal


def test_lines_by_hand(scenario: Read) -> None:
    tune, refresh = budget(scenario()).jobs
    assert [(line.label, line.quantity, line.amount) for line in tune.lines] == [
        ("training", D("20.0000"), D("20.00")),
        ("runs done again", D("2.0000"), D("2.00")),
    ]
    # 3.6M tokens are an hour; three times; a tenth of it again
    assert [(line.label, line.quantity, line.amount) for line in refresh.lines] == [
        ("training", D("3.0000"), D("3.00")),
        ("runs done again", D("0.3000"), D("0.30")),
    ]
    for line in (*tune.lines, *refresh.lines):
        assert (line.unit, line.unit_price, line.price_date) == ("h of one l40s", D("1.00"), date(2026, 10, 1))


def test_totals_by_hand(scenario: Read) -> None:
    found = budget(scenario())
    assert found.subtotal.value == D("22.00") + D("3.30") + D("20.00")
    assert found.contingency == D("4.53")
    assert found.total.value == D("49.83")
    assert sum(line.amount for _, line in found.lines) + found.contingency == found.total.value
    assert found.hours.value == D("25.3")
    assert found.affordable == "yes"


def test_searches_and_idle_hours(scenario: Read) -> None:
    searching = 'tokens = "36M"\nsweep_runs = 5\nsweep_share = 0.2'
    plan = scenario(('tokens = "36M"', searching), ("[habits]", "[habits]\nidle_share = 0.5"))
    tune = budget(plan).jobs[0]
    # 2 x 10 h; 5 x 2 h; a tenth of 30 h; half of 33 h
    assert [(line.label, line.amount) for line in tune.lines] == [
        ("training", D("20.00")),
        ("shorter runs", D("10.00")),
        ("runs done again", D("3.00")),
        ("idle hours", D("16.50")),
    ]
    assert tune.hours and tune.hours.value == D("49.5")


def test_ends_of_a_job(scenario: Read) -> None:
    """Twice as slow and at the next offer, 2.00; twice as fast at 1.00."""
    tune = budget(scenario()).jobs[0]
    assert tune.usd == Range(value=D("22.00"), low=D("11.00"), high=D("88.00"))
    assert tune.hours == Range(value=D("22.0000"), low=D("11.0000"), high=D("44.0000"))


def test_ways_and_front(scenario: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """An H100 is four times as fast for six times the price: the quicker end of the front. At three times the price it
    is cheaper and quicker, and the L40S is on no front."""
    tune = budget(scenario()).jobs[0]
    assert [(way.gpu.key, way.usd and way.usd.value, way.on_front) for way in tune.ways] == [
        ("l40s", D("22.00"), True),
        ("h100", D("33.00"), True),
    ]
    assert tune.way == tune.ways[0]
    monkeypatch.setitem(conftest.USD, "h100", "3.00")
    tune = budget(scenario()).jobs[0]
    assert [(way.gpu.key, way.on_front) for way in tune.ways] == [("h100", True), ("l40s", False)]


def test_swings_by_hand(scenario: Read) -> None:
    swings = {swing.label: (swing.usd_at_low, swing.usd_at_high) for swing in budget(scenario()).swings}
    assert swings == {
        "speed of the cards": (D("70.60"), D("32.65")),
        "prices of the machines": (D("45.30"), D("70.60")),
        "Tune: full runs": (D("34.30"), D("67.30")),
        "Storage: unit price": (D("35.30"), D("65.30")),
        "runs done again": (D("43.00"), D("47.60")),
    }


def test_range_is_the_root_of_squares(scenario: Read) -> None:
    found = budget(scenario())
    up = [D("25.30"), D("25.30"), D("22.00"), D("20.00"), D("2.30")]
    expected = D("45.30") + sum(end * end for end in up).sqrt()
    assert abs(found.subtotal.high - expected) < D("0.01")
    assert combined(D(10), ()) == Range(value=D(10), low=D("10.00"), high=D("10.00"))


def test_schedule(scenario: Read) -> None:
    """22 hours end on the first day; three weekly turns end after two weeks."""
    tune, refresh = budget(scenario()).jobs
    assert (tune.start, tune.end) == (date(2026, 10, 20), date(2026, 10, 20))
    assert (refresh.start, refresh.end) == (date(2026, 10, 20), date(2026, 11, 3))
    slow = budget(scenario(("[habits]", "[habits]\nhours_per_day = 8")))
    assert slow.jobs[0].end == date(2026, 10, 22)


def test_jobs_wait_for_machines(scenario: Read) -> None:
    once = (("every_days = 7\ntimes = 3\n", ""), ('tokens = "3.6M"', 'tokens = "180M"'))
    queued = budget(scenario(*once))
    assert (queued.jobs[1].start, queued.jobs[1].end) == (date(2026, 10, 20), date(2026, 10, 23))
    beside = budget(scenario(*once, ("[limits]", "[limits]\nmachines = 2")))
    assert beside.jobs[1].end == date(2026, 10, 22)


def test_a_deadline_buys_quicker_cards(scenario: Read) -> None:
    once = ("every_days = 7\ntimes = 3\n", "")
    relaxed = budget(scenario(once, ('tokens = "36M"', 'tokens = "360M"')))
    assert [job.way.gpu.key for job in relaxed.jobs if job.way] == ["l40s", "l40s"]
    late = budget(scenario(once, ('tokens = "36M"', 'tokens = "360M"'), ("2026-11-30", "2026-10-24"), ("200", "900")))
    assert [job.way.gpu.key for job in late.jobs if job.way] == ["h100", "l40s"]
    assert late.on_time in ("yes", "likely")
    assert any("for the deadline" in note for note in late.jobs[0].notes)
    never = budget(scenario(once, ('tokens = "36M"', 'tokens = "3600M"'), ("2026-11-30", "2026-10-24")))
    assert never.on_time == "no" and not never.holds
    assert never.jobs[0].way and never.jobs[0].way.gpu.key == "l40s"


def test_money_is_spent_by_the_end(scenario: Read) -> None:
    found = budget(scenario())
    days = [point.day for point in found.spent]
    money = [point.usd.value for point in found.spent]
    assert days == sorted(set(days)) and money == sorted(money)
    assert money[0] == 0 and money[-1] == found.subtotal.value
    assert found.spent[-1].with_contingency == found.total.value
    assert found.spent[-1].usd == found.subtotal


@pytest.mark.parametrize(("limit", "answer"), [("200", "yes"), ("60", "likely"), ("49", "no")])
def test_affordable(scenario: Read, limit: str, answer: str) -> None:
    found = budget(scenario(("budget_usd = 200", f"budget_usd = {limit}")))
    assert found.affordable == answer
    assert found.holds == (answer != "no")


def test_a_job_that_nothing_holds(scenario: Read) -> None:
    found = budget(scenario(('method = "qlora"', 'method = "full"')))
    tune = found.jobs[0]
    assert (tune.way, tune.usd, tune.lines) == (None, None, ())
    assert tune.problem and tune.problem.startswith("none of h100, l40s holds it; full would fit on ")
    assert found.subtotal.value == D("23.30") and not found.holds
    assert any("the job Tune" in what for what in found.counts.left_out)
    assert found.notes == ("no cost for Tune: the total is without them",)


def test_no_price_no_cost(scenario: Read) -> None:
    found = budget(scenario(("[limits]", '[limits]\nkinds = ["reserved"]')))
    assert [job.usd for job in found.jobs] == [None, None]
    assert found.jobs[0].problem == "no price within the limits for h100, l40s"
    assert found.total.value == D("22.00")  # the storage and its tenth


def test_own_price(scenario: Read) -> None:
    own = ("[limits]", "[limits]\nusd_per_gpu_hour = { value = 2, low = 1, high = 3, reason = 'our rack' }")
    found = budget(scenario(own))
    assert found.jobs[0].way and found.jobs[0].way.gpu.key == "h100"
    assert found.jobs[0].usd and found.jobs[0].usd.value == D("11.00")  # 22 hours / 4 at 2.00
    assert {swing.label for swing in found.swings} >= {"price of a GPU hour"}
    assert "prices of the machines" not in {swing.label for swing in found.swings}
    assert "electricity of your own machines" in found.counts.left_out


def test_electricity(scenario: Read) -> None:
    """A line of its own beside one's own hardware; a hire includes it."""
    power = ("[habits]", "[electricity]\ngrams_co2_per_kwh = 500\nusd_per_kwh = 0.5\n\n[habits]")
    rented = budget(scenario(power)).jobs[0]
    # 350 W x 0.8 x 1.2 x 20 h and a tenth
    assert rented.kwh == D("7.3920") and rented.co2_kg == D("3.6960")
    assert "electricity" not in {line.label for line in rented.lines}
    own = ('[limits]\ngpus = ["l40s", "h100"]', '[limits]\nusd_per_gpu_hour = 2\ngpus = ["l40s"]')
    owned = budget(scenario(power, own)).jobs[0]
    assert owned.kwh == D("7.3920")
    assert [(line.label, line.amount) for line in owned.lines][-1] == ("electricity", D("3.70"))


def test_every_figure_has_a_command(scenario: Read) -> None:
    found = budget(scenario())
    texts = [command.text for command in found.jobs[0].commands]
    assert "vramplan explain llama-8b --gpu l40s --method qlora --batch 4" in texts
    assert found.commands[0].text == "vramplan report build scenario.toml --json"


def test_counts_and_assumptions(scenario: Read) -> None:
    found = budget(scenario())
    assert found.counts.published == 2
    # four terms, one of them assumed, and the assumed speed, for each job; five lines of assumed quantities
    assert (found.counts.exact, found.counts.assumed) == (6, 2 * 2 + 5)
    reasons = {one.what: one.reason for one in found.assumptions}
    assert reasons["Tune: full runs"] == "two mixes"
    assert reasons["Cards are there when they are wanted."] == "they were in summer"
    assert "storage" not in found.counts.left_out and "network traffic" in found.counts.left_out


def test_two_builds_are_equal(scenario: Read) -> None:
    assert budget(scenario()) == budget(scenario())


def test_measured_runs_stand_beside(scenario: Read, tmp_path: Path) -> None:
    runs = Path(__file__).parents[1] / "samples" / "runs.csv"
    (tmp_path / "runs.csv").write_bytes(runs.read_bytes())
    found = budget(scenario(('owner = "Tests"', 'owner = "Tests"\nrecords = ["runs.csv"]')))
    assert found.measured is not None
    assert found.counts.measured == sum(row.status == "ok" for row in found.measured.rows) > 0
    page = html.render(found)
    assert "Measured against predicted" in page and 'id="chart-measured"' in page
    assert re.search(r"vramplan accuracy \S*runs.csv", page)


def test_a_plan_beyond_the_calendar(scenario: Read) -> None:
    with pytest.raises(VramplanError, match=r"beyond the years 1 to 9999"):
        budget(scenario(('"36M"', '"9000T"')))
