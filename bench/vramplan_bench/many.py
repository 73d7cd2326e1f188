"""Many dry runs: several at a time, with progress, each kept in a file as soon as it is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from statistics import median
from typing import Any, TypeVar

Job = TypeVar("Job")
Row = TypeVar("Row")


def tell_all(
    tell: Callable[[Job], Row], jobs: Sequence[Job], workers: int, keep: Callable[[Row], None] | None = None
) -> list[Row]:
    """`tell` of every job, in processes of their own; Ctrl-C ends it with what was told by then."""
    from rich.progress import track

    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(tell, job) for job in jobs]
        try:
            for future in track(as_completed(futures), "dry runs", total=len(futures), disable=not sys.stdout.isatty()):
                rows.append(future.result())
                if keep is not None:
                    keep(rows[-1])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    return rows


def kept(path: str) -> Iterable[dict[str, Any]]:
    """The rows of a file that `keep_in` wrote; none where there is no file. A line torn by a crash is passed over."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError):
                yield json.loads(line)


def keep_in(path: str, values: Mapping[str, Any]) -> None:
    """Add a row to a file of JSON lines."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(values, separators=(",", ":")) + "\n")


def percentiles(errors: Iterable[float]) -> tuple[float, float, float]:
    """Median, 90th percentile (nearest rank) and largest of the sizes of `errors`."""
    ordered = sorted(map(abs, errors))
    return median(ordered), ordered[-(-9 * len(ordered) // 10) - 1], ordered[-1]
