"""Predictions against measurements: what nobody can falsify stays wrong.

runs file or records -> Run (vramplan.runs) -> Question -> Row -> Accuracy
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import VramplanError
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
    "spread",
    "summarize",
]


def accuracy(paths: Iterable[str | os.PathLike[str]]) -> Accuracy:
    """How predictions of the runs in the files at `paths` compare with what was measured.

    A file holds runs as CSV or records of the rig as JSON lines. The same id in two files is the same run, counted
    once, as the first file has it. Raises VramplanError for a file that is neither; a row that cannot be answered is
    part of the result.
    """
    names = tuple(os.fspath(path) for path in paths)
    if not names:
        raise VramplanError("no runs file was named")
    runs: dict[str, Run | BadRow] = {}
    for name in names:
        for run in runs_of_records(name) if holds_records(name) else read_runs(name):
            # A bad row's id may be another row's; its place in the file is its own.
            runs.setdefault(run.id if isinstance(run, Run) else f"\0{run.where}", run)
    return summarize(names, map(judge, runs.values()))
