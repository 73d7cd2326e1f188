"""What changed between two plans: money and time first, and each changed assumption with what it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from vramplan.budget.diff import difference
from vramplan.budget.scenario import Scenario
from vramplan_reports import markdown
from vramplan_reports.budget import changes

Read = Callable[..., Scenario]
D = Decimal


def test_causes_by_hand(scenario: Read) -> None:
    """One run more is 10 hours, a tenth again and a tenth set aside: 12.10; the habit then acts on 33 h + 3.30."""
    new = scenario(
        ("runs = { value = 2", "runs = { value = 3"), ("failed_share = { value = 0.1", "failed_share = { value = 0.2")
    )
    found = difference(scenario(), new)
    assert [(cause.what, cause.old, cause.new, cause.usd) for cause in found.causes] == [
        ("Tune: full runs", "2", "3", D("12.10")),
        ("runs done again", "0.1", "0.2", D("3.63")),
    ]
    assert found.usd == D("15.73") == sum(cause.usd for cause in found.causes)
    assert found.days == 0


def test_time_and_knobs(scenario: Read) -> None:
    new = scenario(
        ("every_days = 7\ntimes = 3", "every_days = 7\ntimes = 5"),
        ("batch = 4\nseq_len = 2048\n\n[habits]", "batch = 8\n\n[habits]"),
    )
    found = difference(scenario(), new)
    assert found.days == 14
    assert [(cause.what, cause.old, cause.new, cause.days) for cause in found.causes] == [
        ("Refresh: times it comes back", "3", "5", 14),
    ]


def test_jobs_come_and_go(scenario: Read) -> None:
    one = scenario(('name = "Refresh"', 'name = "Other"'))
    found = difference(scenario(), one)
    assert {cause.what for cause in found.causes} == {"job Refresh left out", "job Other added"}
    assert found.usd == 0
    assert [(job.name, job.old_usd, job.new_usd) for job in found.jobs] == [
        ("Tune", D("22.00"), D("22.00")), ("Refresh", D("3.30"), None), ("Other", None, D("3.30")),
    ]  # fmt: skip


def test_nothing_changed(scenario: Read) -> None:
    found = difference(scenario(), scenario())
    assert (found.usd, found.days, found.causes) == (0, 0, ())


def test_everything_is_accounted_for(scenario: Read) -> None:
    new = scenario(
        ("budget_usd = 200", "budget_usd = 30"),
        ('tokens = "36M"', 'tokens = "72M"'),
        ("quantity = 2", "quantity = 3"),
        ("start = 2026-10-20", "start = 2026-10-27"),
    )
    found = difference(scenario(), new)
    assert sum(cause.usd for cause in found.causes) == found.usd
    assert sum(cause.days for cause in found.causes) == found.days == 7
    assert not found.new.holds


def test_golden(scenario: Read, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    new = scenario(("runs = { value = 2", "runs = { value = 3"), ("budget_usd = 200", "budget_usd = 50"))
    found = difference(scenario(), new)
    golden("budget/diff.md", markdown.render(changes.sheet(found)))
    golden("budget/diff.json", json.dumps(changes.document(found), indent=2) + "\n")
