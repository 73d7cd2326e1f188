"""Children that end in every way, and a parent that is none the worse for it. No child here imports torch."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from vramplan_bench.protocol import Message
from vramplan_bench.runner import process
from vramplan_bench.runner.endings import judge
from vramplan_bench.runner.process import COMMAND, Child, Ending

STUB = (sys.executable, str(Path(__file__).with_name("stub_child.py")))


def listen(child: Child, *, timeout_s: float = 20.0, **limits: Any) -> tuple[list[Message], Ending]:
    messages: list[Message] = []
    try:
        return messages, child.listen(messages.append, timeout_s=timeout_s, **limits)
    finally:
        child.end()


def script(code: str) -> Child:
    return Child((sys.executable, "-c", code))


def test_messages_arrive_in_order_and_the_job_is_handed_over() -> None:
    child = Child(STUB, {"STUB": "ok"})
    child.give({"recipe": {"batch": 1}, "padding": "x" * 1_000_000})  # more than a pipe holds
    messages, ending = listen(child)
    assert (ending.returncode, ending.cut, ending.garbage) == (0, None, 0)
    assert (messages[0].kind, messages[-1].kind) == ("ready", "done")


@pytest.mark.parametrize(
    ("fault", "outcome", "says"),
    [
        ("kill", "killed", "SIGKILL"),
        ("garbage", "error", "4 unreadable messages"),
        ("exit", "error", "exit code 3"),
        ("abort", "error", "SIGABRT"),
        ("flood", "error", "without end"),
    ],
)
def test_injected_failures(fault: str, outcome: str, says: str) -> None:
    messages, ending = listen(Child(COMMAND, words=[fault]))
    found, reason = judge(messages, ending)
    assert found == outcome and says in str(reason)


def test_a_hanging_child_that_hears_no_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "POLITE_S", 0.3)
    child = Child(COMMAND, words=["hang"])
    time.sleep(3)  # until it has stopped listening
    messages, ending = listen(child, timeout_s=0.3)
    assert ending.returncode == -signal.SIGKILL
    assert judge(messages, ending)[0] == "timeout"


def test_a_child_that_fills_the_memory_of_the_machine() -> None:
    messages, ending = listen(Child(COMMAND, words=["fill_host"]), host_limit_bytes=200 * 2**20)
    assert ending.cut == "host"
    assert judge(messages, ending) == ("killed", "start: it filled the memory of the machine, and was ended")


def test_the_machine_itself_running_full_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "available_bytes", lambda: 0)
    _, ending = listen(script("import time; time.sleep(60)"))
    assert ending.cut == "host"


def ends(pid: int, within_s: float = 20.0) -> bool:
    """A signal is delivered when the machine finds time; whoever inherits the dead may leave it a zombie."""
    last = time.monotonic() + within_s
    while time.monotonic() < last:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_what_a_child_started_ends_with_it() -> None:
    child = Child(STUB, {"STUB": "stray"})
    child.give({"recipe": {"batch": 1}})
    messages, ending = listen(child)
    stray = int(ending.output.split()[1])
    assert messages[-1].kind == "done"
    assert ends(stray)


def test_the_end_of_what_it_printed_is_kept() -> None:
    _, ending = listen(script("print('x' * 500_000); print('the end')"))
    assert ending.output.endswith("the end\n") and len(ending.output) <= process.KEPT_OUTPUT_BYTES


def test_a_pipe_held_open_by_a_stranger_does_not_hold_the_parent() -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '30'], start_new_session=True)"
    begin = time.monotonic()
    listen(script(code))
    assert time.monotonic() - begin < 15


def test_ending_twice_and_before_any_job_is_safe() -> None:
    child = Child(STUB, {"STUB": "silent"})
    child.end()
    child.end()
    child.give({"recipe": {}})
    assert not psutil.pid_exists(child.pid)


def test_an_interrupted_parent_leaves_no_child() -> None:
    child = Child(STUB, {"STUB": "silent"})
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        listen(child)
    assert not psutil.pid_exists(child.pid)


ENDED: dict[str, Any] = {"returncode": 0, "cut": None, "seconds": 1.0, "garbage": 0, "output": ""}
LOAD = Message("phase", {"name": "load", "step": 0})


@pytest.mark.parametrize(
    ("messages", "ending", "expected"),
    [
        ([Message("done", {})], {}, ("ok", None)),
        ([Message("failed", {"kind": "oom", "reason": "full"})], {}, ("oom", "start: full")),
        ([Message("failed", {"kind": "skipped", "reason": "not built"})], {}, ("skipped", "start: not built")),
        ([LOAD, Message("failed", {"kind": "error", "reason": "x"})], {"returncode": 1}, ("error", "load: x")),
        ([Message("failed", {"kind": "surprise"}), Message("done", {})], {}, ("ok", None)),
        ([LOAD], {"cut": "timeout", "returncode": -9}, ("timeout", "load: ended after 1 s")),
        ([Message("done", {})], {"cut": "timeout", "returncode": -9}, ("timeout", "start: ended after 1 s")),
        ([Message("phase", {"name": "forward", "step": 2})], {"returncode": -11},
         ("error", "forward of step 2: SIGSEGV without a result")),
        ([], {"returncode": -15}, ("killed", "start: SIGTERM from outside; often the machine's memory was full")),
        ([], {"returncode": 1, "output": "a\nRuntimeError: CUDA error: out of memory\n"},
         ("oom_driver", "start: RuntimeError: CUDA error: out of memory")),
        ([], {"returncode": None}, ("error", "start: it could not be ended")),
    ],
)  # fmt: skip
def test_outcomes(messages: list[Message], ending: dict[str, Any], expected: tuple[str, str | None]) -> None:
    assert judge(messages, Ending(**(ENDED | ending))) == expected


def test_the_container_limit_counts_where_it_is_nearer(tmp_path: Path) -> None:
    from vramplan_bench.runner.host import available_bytes

    machine = available_bytes(tmp_path)
    for name, text in {
        "memory.max": "1000000",
        "memory.current": "900000",
        "memory.stat": "anon 5\ninactive_file 300\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert available_bytes(tmp_path) == 100_300
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) == pytest.approx(machine, rel=0.2)
