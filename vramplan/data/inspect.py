"""One pass over a data file: how long its examples are, and what of it cannot be used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import VramplanError
from .fields import Text, text_of
from .files import BadLine, Example, Format, Progress, data_format, examples
from .lengths import Lengths
from .tokens import TokenCounter, token_counter

NAMED_BAD_LINES = 20
"""Named one by one; the others are counted."""
TEXTS_AT_A_TIME = 512
"""Tokenised together; what is in memory is these and the histogram."""
TEXT_AT_A_TIME_CHARACTERS = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A data file as it was read."""

    path: str
    format: Format
    size_bytes: int
    lengths: Lengths
    schemas: dict[str, int]
    """Examples by the fields they were recognised by."""
    empty: int
    """Examples without a token, which trainers pass over."""
    bad: int
    """Lines (rows) that could not be used."""
    bad_lines: tuple[BadLine, ...]
    """The first of them."""
    counted_by: str
    exact: bool
    """The model's own tokenizer counted."""

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        if self.bad:
            said.append(f"{self.bad:,} lines cannot be used; {self.lengths.examples:,} examples count")
        if len(self.schemas) > 1:
            kinds = ", ".join(f"{count:,} {name}" for name, count in self.schemas.items())
            said.append(f"mixed schemas ({kinds}): TRL takes the first example's for all")
        if self.empty:
            said.append(f"{self.empty:,} examples are empty and left out")
        if not self.exact:
            said.append(f"tokens are estimated: {self.counted_by}; --tokenizer counts them")
        return tuple(said)


class _Tally:
    """What has been counted so far."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self.histogram: Counter[int] = Counter()
        self.schemas: Counter[str] = Counter()
        self.bad = 0
        self.bad_lines: list[BadLine] = []

    def add(self, waiting: list[tuple[int, Text]]) -> None:
        """Count the tokens of texts; where one of them breaks the tokenizer, one by one."""
        try:
            counts = self.counter.count([text for _, text in waiting])
        except VramplanError as error:
            if len(waiting) == 1:
                return self.refuse(BadLine(line=waiting[0][0], reason=str(error)))
            for one in waiting:
                self.add([one])
            return
        for (_, text), tokens in zip(waiting, counts, strict=True):
            self.histogram[tokens] += 1
            self.schemas[text.schema] += 1

    def refuse(self, bad: BadLine) -> None:
        self.bad += bad.count
        if len(self.bad_lines) < NAMED_BAD_LINES:
            self.bad_lines.append(bad)


def read_data(
    path: str,
    tokenizer: str | None = None,
    *,
    characters_per_token: float | None = None,
    fields: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> DataFile:
    """Lengths of the examples of a JSONL, JSON, CSV, text or Parquet file, in memory that does not grow with it.

    `tokenizer`: a tokenizer.json or a folder with one; without it tokens are estimated. `fields`: what is trained on,
    joined by newlines, where TRL does not know the file's own. Raises VramplanError where nothing of it can be used.
    """
    form = data_format(path)
    counter = token_counter(tokenizer, characters_per_token)
    tally = _Tally(counter)
    for waiting in _batches(_texts(examples(path, form, progress or _silent, fields), fields, tally)):
        tally.add(waiting)
    if not tally.histogram:
        first = f"; line {tally.bad_lines[0].line}: {tally.bad_lines[0].reason}" if tally.bad_lines else ""
        raise VramplanError(f"{path}: no example in {tally.bad:,} lines can be used{first}")
    empty = tally.histogram.pop(0, 0)
    if not tally.histogram:
        raise VramplanError(f"{path}: all of its {empty:,} examples are empty")
    return DataFile(
        path=path,
        format=form,
        size_bytes=os.path.getsize(path),
        lengths=Lengths.of(tally.histogram),
        schemas=dict(tally.schemas),
        empty=empty,
        bad=tally.bad,
        bad_lines=tuple(tally.bad_lines),
        counted_by=counter.description,
        exact=counter.exact,
    )


def _silent(read_bytes: int) -> None:
    """No progress is shown."""


def _texts(found: Iterator[Example | BadLine], fields: tuple[str, ...], tally: _Tally) -> Iterator[tuple[int, Text]]:
    for item in found:
        if isinstance(item, BadLine):
            tally.refuse(item)
            continue
        try:
            yield item.line, text_of(item.fields, fields)
        except VramplanError as error:
            tally.refuse(BadLine(line=item.line, reason=str(error)))


def _batches(texts: Iterator[tuple[int, Text]]) -> Iterator[list[tuple[int, Text]]]:
    """Some hundred texts, or fewer long ones."""
    waiting: list[tuple[int, Text]] = []
    characters = 0
    for item in texts:
        waiting.append(item)
        characters += len(item[1].text) + sum(len(message["content"]) for message in item[1].messages)
        if len(waiting) == TEXTS_AT_A_TIME or characters > TEXT_AT_A_TIME_CHARACTERS:
            yield waiting
            waiting, characters = [], 0
    if waiting:
        yield waiting
