"""What a measuring child says to its parent: JSON objects, one a line, on a pipe of their own (not stdout).

    {"type": "ready"}                                   libraries are imported; the job may come
    {"type": "phase", "name", "step"}                   a phase begins
    {"type": "phase_end", ...PhaseRecord}               it has ended; what was counted
    {"type": "step", ...StepRecord}                     a timed step has ended
    {"type": "window", "begin_s", "end_s", "tokens", "energy_j", "energy_absent"}
                                                        the timed steps, by the clock that both processes share
    {"type": "facts", "context_bytes", "capacity_bytes", "machine"}, later {"type": "facts", "retries",
     "attention_kernels"}
    {"type": "effective", ...Effective}                 read back from the live objects
    {"type": "failed", "kind", "reason"}                kind: oom, oom_driver, error or skipped
    {"type": "done"}                                    everything above was said; the child ends

The parent gives the job as one JSON object on the child's stdin and closes it. It believes nothing: what is no such
object is counted and passed over, and a child that ends without `done` or `failed` is judged by how it ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = frozenset(
    {"ready", "phase", "phase_end", "step", "window", "facts", "effective", "failed", "done"},
)  # fmt: skip
LONGEST_LINE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Message:
    """One line, known to be an object with a known type; its values are not checked."""

    kind: str
    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A value for people; '' where it is not there."""
        value = self.values.get(key)
        return "" if value is None else str(value)

    def number(self, key: str) -> float | None:
        """A number, or None where it is none."""
        value = self.values.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def whole(self, key: str) -> int | None:
        value = self.values.get(key)
        return value if type(value) is int else None


def encode(kind: str, /, **values: Any) -> bytes:
    """The line of a message."""
    return json.dumps({"type": kind, **values}, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Messages from whatever arrives; counts what is none."""

    def __init__(self) -> None:
        self.garbage = 0
        self._rest = b""
        self._overlong = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages that are complete with `data`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._overlong:  # the end of a line whose beginning was thrown away
                self._overlong = False
                continue
            message = _parse(line)
            if message is None:
                self.garbage += bool(line.strip())
            else:
                yield message
        if len(self._rest) > LONGEST_LINE_BYTES:
            self.garbage += not self._overlong
            self._rest, self._overlong = b"", True


def _parse(line: bytes) -> Message | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("type") not in KINDS:
        return None
    return Message(values.pop("type"), values)
