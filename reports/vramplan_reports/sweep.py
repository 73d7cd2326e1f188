"""Sweeps as files (CSV, Parquet, JSON lines) and as heat maps. Tables of millions go through pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from vramplan.errors import UnknownNameError, UnsupportedError, VramplanError
from vramplan.plan.sweep import Coded, Columns

from .document import Document, opening
from .heat import LEGEND, Heat, heat_table
from .picture import HeatMap, write_heat_maps
from .sheet import Block, Cell, Heading, Lines, Sheet

FORMS = ("csv", "parquet", "jsonl")
_ROWS_AT_ONCE = 65_536
MOST_MAPS, MOST_CELLS = 12, 2_000
Cells = dict[tuple[str, str], Heat]
"""(row, column) -> how full."""


def arrow_table(columns: Columns) -> Any:
    """The table as pyarrow's; names are dictionaries, a figure of a row with an error is null."""
    pa = _pyarrow()
    failed = columns.errors.codes >= 0
    cardless = columns.knobs["gpu"].codes < 0
    data = {name: _array(pa, values, None) for name, values in columns.knobs.items()}
    for name, values in columns.figures.items():
        data[name] = _array(pa, values, failed | cardless if name == "capacity_bytes" else failed)
    data["error"] = _array(pa, columns.errors, None)
    return pa.table(data)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise UnsupportedError("a sweep needs pyarrow: pip install 'vramplan[sweep]'") from error
    return pyarrow


def _array(pa: Any, values: Any, missing: Any) -> Any:
    if isinstance(values, Coded):
        codes = pa.array(values.codes, mask=values.codes < 0)
        if any(not isinstance(name, str) for name in values.names):
            return pa.array(values.names).take(codes)
        return pa.DictionaryArray.from_arrays(codes, pa.array(values.names, pa.string()))
    if values.dtype.kind == "f":
        return pa.array(values, mask=values != values)
    return pa.array(values, mask=missing if missing is not None and missing.any() else None)


def write(columns: Columns, file: IO[bytes], form: str) -> None:
    """Write the table to an open file. Raises UnsupportedError without pyarrow."""
    table = arrow_table(columns)
    if form == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, file)
    elif form == "csv":
        _write_csv(table, file)
    else:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in batch.to_pylist())


def _write_csv(table: Any, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.csv

    file.write(",".join(table.column_names).encode() + b"\n")  # pyarrow's own header is quoted
    plain = pa.schema([(field.name, _plain(pa, field.type)) for field in table.schema])
    options = pyarrow.csv.WriteOptions(include_header=False)
    with pyarrow.csv.CSVWriter(file, plain, write_options=options) as writer:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            writer.write_table(pa.table(batch.columns, table.column_names).cast(plain))


def _plain(pa: Any, type: Any) -> Any:
    return type.value_type if pa.types.is_dictionary(type) else type


class HeatMaps:
    """A sweep as heat maps of two of its knobs, one for each combination of the others that vary."""

    def __init__(self, columns: Columns, across: str, down: str) -> None:
        self.across, self.down = across, down
        self.maps = _maps(columns, across, down)

    def sheet(self, columns: Columns, /) -> Sheet:
        return tuple(self._blocks())

    def document(self, columns: Columns, /) -> Document:
        """What the maps show (contract.md: schema_version 1)."""
        maps = [
            {"title": title.removeprefix(": "), "cells": [
                {self.down: row, self.across: column, "share": heat.share, "verdict": heat.verdict}
                for (row, column), heat in cells.items()
            ]}
            for title, cells in self.maps.items()
        ]  # fmt: skip
        return opening() | {"across": self.across, "down": self.down, "maps": maps}

    def _blocks(self) -> Iterator[Block]:
        for title, cells in self.maps.items():
            yield Heading(f"{self.down.replace('_', '-')} (down) x {self.across.replace('_', '-')} (across){title}")
            yield heat_table("", *_edges(cells), cells)
        yield Lines((Cell(LEGEND, "dim"),))

    def write_picture(self, path: str) -> None:
        """As one page. Raises UnsupportedError without plotly."""
        write_heat_maps(path, "Percent of the card", [self._picture(*item) for item in self.maps.items()])

    def _picture(self, title: str, cells: Cells) -> HeatMap:
        rows, across = _edges(cells)
        grid = [[cells.get((row, column)) for column in across] for row in rows]
        return HeatMap(
            title=title.removeprefix(": "), x=tuple(across), y=tuple(rows), x_title=self.across, y_title=self.down,
            values=tuple(tuple(100 * heat.share if heat else None for heat in row) for row in grid),
            notes=tuple(tuple(heat.verdict if heat else "" for heat in row) for row in grid),
        )  # fmt: skip


def _edges(cells: Cells) -> tuple[list[str], list[str]]:
    """Rows and columns, in the order in which they come."""
    return list(dict.fromkeys(row for row, _ in cells)), list(dict.fromkeys(column for _, column in cells))


def _maps(columns: Columns, across: str, down: str) -> dict[str, Cells]:
    """Title of a map -> its cells. Raises VramplanError for knobs that do not vary, and where maps get too many."""
    varied = {knob: texts for knob, values in columns.knobs.items() if len(set(texts := _texts(values))) > 1}
    for knob in (across, down):
        if knob not in varied:
            raise UnknownNameError("knob of --map", knob, varied, hint="varied: " + ", ".join(varied))
    if (columns.figures["capacity_bytes"] <= 0).all():
        raise VramplanError("a heat map shows the percentage of a card; name one with --gpu")
    others = [knob for knob in varied if knob not in (across, down)]
    maps: dict[str, Cells] = {}
    verdicts = _texts(columns.figures["verdict"])
    shares = columns.figures["need_bytes"] / columns.figures["capacity_bytes"].clip(1)
    for row in range(columns.size):
        title = "".join(f"{', ' if place else ': '}{varied[knob][row]}" for place, knob in enumerate(others))
        cells = maps.setdefault(title, {})
        if verdicts[row]:
            cells[varied[down][row], varied[across][row]] = Heat(float(shares[row]), verdicts[row])
        if len(maps) > MOST_MAPS or len(cells) > MOST_CELLS:
            raise VramplanError(f"too much for heat maps: at most {MOST_MAPS} of {MOST_CELLS} cells; vary less")
    return maps


def _texts(values: Any) -> list[str]:
    if isinstance(values, Coded):
        return ["" if code < 0 else str(values.names[code]) for code in values.codes]
    return [f"{value:,}" for value in values]
