"""What became of a run, from what the child said and how it ended."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import cast, get_args

from vramplan.record import Outcome

from ..protocol import Message
from .process import Ending

LONGEST_REASON = 500


def judge(messages: Sequence[Message], ending: Ending) -> tuple[Outcome, str | None]:
    """Outcome and, unless it is `ok`, where and why."""
    phase = next((_phase(m) for m in reversed(messages) if m.kind == "phase"), "start")
    outcome, why = _judge(messages, ending)
    return outcome, None if why is None else f"{phase}: {why}"[:LONGEST_REASON]


def _judge(messages: Sequence[Message], ending: Ending) -> tuple[Outcome, str | None]:
    said = next((m for m in messages if m.kind == "failed"), None)
    if said is not None and said.text("kind") in get_args(Outcome):
        return cast(Outcome, said.text("kind")), said.text("reason")
    if ending.cut == "timeout":
        return "timeout", f"ended after {ending.seconds:.0f} s"
    if ending.cut == "host":
        return "killed", "it filled the memory of the machine, and was ended"
    if ending.cut == "flood":
        return "error", "it sent messages without end, and was ended"
    if any(m.kind == "done" for m in messages):
        return "ok", None
    return _from_outside(ending)


def _from_outside(ending: Ending) -> tuple[Outcome, str]:
    """The child did not say how it ended."""
    code, last = ending.returncode, _last_line(ending.output)
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "killed", f"{_signal(code)} from outside; often the machine's memory was full"
    if re.search(r"CUDA.{0,40}out of memory|CUBLAS_STATUS_ALLOC_FAILED", ending.output[-2000:], re.I):
        return "oom_driver", last
    if code is None:
        return "error", "it could not be ended"
    how = _signal(code) if code < 0 else f"exit code {code}"
    words = f"{how} without a result"
    if ending.garbage:
        words += f", after {ending.garbage} unreadable messages"
    return "error", f"{words}: {last}" if last else words


def _phase(message: Message) -> str:
    step = message.whole("step")
    return message.text("name") + (f" of step {step}" if step else "")


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isascii() and c.isprintable())[:300] if lines else ""
