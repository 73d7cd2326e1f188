"""`python -m vramplan_bench.child FD [FAULT]`: one cell in a process of its own; its parent hears of it on FD."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..job import job_from
from ..protocol import encode
from .faults import inject

PR_SET_PDEATHSIG = 1


def main(fd: int, fault: str | None) -> None:
    """Import, wait for the job, measure, tell. Ends the process itself: a slow teardown would hold the device."""
    _die_with_parent()
    if fault is not None:
        inject(fault, fd)

    def say(kind: str, /, **values: Any) -> None:
        line = encode(kind, **values)
        while line:
            line = line[os.write(fd, line) :]

    from .failure import kind_and_reason  # torch and transformers are imported here, before the job is known
    from .measure import measure

    say("ready")
    words = sys.stdin.readline()
    if not words:  # the parent changed its mind
        os._exit(0)
    try:
        measure(job_from(json.loads(words)), say)
        say("done")
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        kind, reason = kind_and_reason(error)
        say("failed", kind=kind, reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _die_with_parent() -> None:
    """And before it, where the machine's memory is full (Linux; elsewhere nothing happens)."""
    with suppress(Exception):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
