"""Predictions against measurements: what nobody can falsify stays wrong.

runs file or records -> Run (vramplan.runs) -> Question -> Row -> Accuracy
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..catalog import find_profile
from ..errors import VramplanError
from ..profile import Profile
from ..runs import BadRow, Run, read_runs
from .judge import judge
from .question import Question, question
from .records import holds_records, runs_of_records
from .result import Accuracy, Measured, Predicted, Row, Spread, TierAccuracy, Verdicts
from .summary import percentile, spread, summarize

__all__ = [
    "Accuracy",
    "Measured",
    "Predicted",
    "Question",
    "Row",
    "Spread",
    "TierAccuracy",
    "Verdicts",
    "accuracy",
    "judge",
    "percentile",
    "question",
    "read_files",
    "spread",
    "summarize",
]


def accuracy(paths: Iterable[str | os.PathLike[str]], *, profile: Profile | str | None = None) -> Accuracy:
    """How predictions of the runs in the files at `paths` compare with what was measured.

    A file holds runs as CSV or records of the rig as JSON lines. The same id in two files is the same run, counted
    once, as the first file has it. Predictions are the planner's own; a `profile`, its name or its file, speaks for the
    runs of its card and stack, told apart by whether it was fitted to them. Raises VramplanError for a file that is
    neither; a row that cannot be answered is part of the result.
    """
    names = tuple(os.fspath(path) for path in paths)
    found = find_profile(profile) if isinstance(profile, str) else profile
    rows = (judge(run, found) for run in read_files(names))
    return summarize(names, rows, None if found is None else found.name)


def read_files(names: Iterable[str]) -> Iterable[Run | BadRow]:
    """Runs and records of the files, each run once, as the first file has it."""
    runs: dict[str, Run | BadRow] = {}
    for name in names:
        for run in runs_of_records(name) if holds_records(name) else read_runs(name):
            # A bad row's id may be another row's; its place in the file is its own.
            runs.setdefault(run.id if isinstance(run, Run) else f"\0{run.where}", run)
    if not runs:
        raise VramplanError("no runs file was named")
    return runs.values()
