"""Parquet files, one group of rows after another, and of their columns only those that are trained on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..errors import VramplanError, one_line
from .files import BadLine, Example, Progress, wanted_columns

ROWS_AT_A_TIME = 1024


def parquet_examples(path: str, progress: Progress, fields: tuple[str, ...]) -> Iterator[Example | BadLine]:
    """Rows as examples, numbered from 1; a group of rows that cannot be read is one bad line with its rows counted."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise VramplanError("a Parquet file needs the package pyarrow: pip install 'vramplan[data]'") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise VramplanError(f"{path}: not a whole Parquet file: {one_line(error)}") from None
    names = list(file.schema_arrow.names)
    columns = wanted_columns(names, fields)
    if not columns:
        raise VramplanError(f"{path}: no column that TRL knows; there are: {', '.join(names[:20])}")
    with file:
        row, size, groups = 1, os.path.getsize(path), file.num_row_groups
        for group in range(groups):
            count = file.metadata.row_group(group).num_rows
            yield from _group(file, group, columns, row, count)
            row += count
            progress(size * (group + 1) // groups)


def _group(file: Any, group: int, columns: list[str], first: int, count: int) -> Iterator[Example | BadLine]:
    import pyarrow

    row = first
    try:
        for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, row_groups=[group], columns=columns):
            for fields in batch.to_pylist():
                yield Example(line=row, fields=fields)
                row += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = one_line(error, 80)
        yield BadLine(line=row, reason=f"row group {group + 1} is damaged: {reason}", count=first + count - row)
