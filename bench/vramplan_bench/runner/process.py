"""One child process: started in a session of its own, listened to, and ended with everything that it started."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..protocol import Decoder, Message
from .host import available_bytes, least_bytes, resident_bytes

COMMAND = (sys.executable, "-m", "vramplan_bench.child")
POLITE_S = 3.0
"""Between SIGTERM and SIGKILL."""
DRAIN_S = 1.0
"""How long a pipe is read on after the child has ended: something it started may hold it open."""
MOST_MESSAGE_BYTES = 8 * 2**20
KEPT_OUTPUT_BYTES = 20_000
LOOK_S = 0.05
GUARD_EVERY = 4
"""Every so many looks, the host's memory is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a child ended, as seen from outside."""

    returncode: int | None
    """Negative: the signal. None: it could not be ended."""
    cut: str | None
    """Why the parent ended it: `timeout`, `host` (memory), `flood` (too many messages); None where it ended itself."""
    seconds: float
    garbage: int
    """Lines that were no messages."""
    output: str
    """The end of what it printed."""


class Child:
    """A running child. `give` it a job, `listen` until it has ended; `end` is safe at any time."""

    def __init__(
        self, command: Sequence[str] = COMMAND, env: Mapping[str, str] | None = None, words: Sequence[str] = ()
    ) -> None:
        """`command` gets the number of the message pipe and then `words`; `env` is added to the parent's."""
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, str(write), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._messages = read
        self._output: deque[bytes] = deque()
        self._decoder = Decoder()
        self._received = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, job: Mapping[str, Any]) -> None:
        """Hand over the job. In a thread: a child that does not read must not stop the parent."""
        data = json.dumps(job).encode() + b"\n"
        threading.Thread(target=self._give, args=(data,), daemon=True).start()

    def _give(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended already: its exit code tells
            self._process.stdin.write(data)
            self._process.stdin.close()

    def listen(
        self,
        on_message: Callable[[Message], None],
        *,
        timeout_s: float,
        host_limit_bytes: int | None = None,
        on_look: Callable[[], None] = lambda: None,
    ) -> Ending:
        """Pass on messages until the child has ended, or ends it: after `timeout_s`, when it holds more than
        `host_limit_bytes`, or when the host's memory is nearly full. `on_look` is called many times a second."""
        begin, looks, cut = time.monotonic(), 0, None
        floor = least_bytes()
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._messages, selectors.EVENT_READ, on_message)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while cut is None and not self._has_ended():
                self._read(selector, LOOK_S)
                on_look()
                looks += 1
                if time.monotonic() - begin > timeout_s:
                    cut = "timeout"
                elif self._received > MOST_MESSAGE_BYTES:
                    cut = "flood"
                elif looks % GUARD_EVERY == 0 and self._fills_host(host_limit_bytes, floor):
                    cut = "host"
            seconds = time.monotonic() - begin
            self._stop()
            drained = time.monotonic() + DRAIN_S
            while selector.get_map() and self._read(selector, LOOK_S) and time.monotonic() < drained:
                pass
        self.end()
        return Ending(
            returncode=self._process.returncode,
            cut=cut,
            seconds=seconds,
            garbage=self._decoder.garbage,
            output=b"".join(self._output).decode(errors="replace")[-KEPT_OUTPUT_BYTES:],
        )

    def _read(self, selector: selectors.BaseSelector, wait_s: float) -> bool:
        """Take what is there; False when nothing came."""
        ready = selector.select(wait_s)
        for key, _ in ready:
            data = os.read(key.fd, 65_536)
            if not data:
                selector.unregister(key.fileobj)
            elif key.data is None:
                self._keep(data)
            else:
                self._received += len(data)
                for message in self._decoder.feed(data):
                    key.data(message)
        return bool(ready)

    def _keep(self, data: bytes) -> None:
        self._output.append(data)
        while sum(map(len, self._output)) - len(self._output[0]) > KEPT_OUTPUT_BYTES:
            self._output.popleft()

    def _fills_host(self, limit: int | None, floor: int) -> bool:
        return available_bytes() < floor or (limit is not None and resident_bytes(self.pid) > limit)

    def _has_ended(self) -> bool:
        """Without reaping it: as long as the child is not reaped, its process group cannot become someone else's."""
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return True

    def end(self) -> None:
        """End the child and whatever it started, politely first, and let go of its pipes."""
        self._stop()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        with suppress(OSError):
            os.close(self._messages)
        self._messages = -1

    def _stop(self) -> None:
        if self._process.returncode is not None:
            return
        if not self._has_ended():
            self._signal(signal.SIGTERM)
            waited = time.monotonic() + POLITE_S
            while not self._has_ended() and time.monotonic() < waited:
                time.sleep(LOOK_S)
        self._signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
