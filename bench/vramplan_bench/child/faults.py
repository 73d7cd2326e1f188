"""Ways in which a child can end, on request: the suite `selftest` tries the parent with them."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def inject(fault: str, fd: int) -> None:
    """End, or go wrong, before any library is imported; does nothing for faults that belong to the device."""
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    elif fault == "garbage":
        os.write(fd, b'\xff\x00 no message\n{"type": "done"\n[1, 2]\n{"type": "surprise"}\n')
        sys.stdout.buffer.write(os.urandom(2000))
        os._exit(0)
    elif fault == "flood":
        while True:
            os.write(fd, b'{"type": "phase", "name": "again", "step": 0}\n' * 1000)
    elif fault == "exit":
        os._exit(3)
    elif fault == "abort":
        os.abort()
    elif fault == "fill_host":
        held = []
        while True:
            held.append(b"\1" * 2**24)
            time.sleep(0.01)


def inject_on_device(fault: str | None) -> None:
    """What the step's libraries do when it goes wrong in them."""
    import torch

    if fault == "raise":
        raise ValueError("injected error")
    if fault == "oom":
        error: Any = torch.OutOfMemoryError
        raise error("CUDA out of memory. Tried to allocate 2.50 GiB. (injected)")
    if fault == "oom_driver":
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED (injected)")
    if fault == "cuda":
        if not torch.cuda.is_available():
            os.abort()  # as the CUDA runtime ends a process
        values = torch.zeros(1, device="cuda")
        values[torch.tensor([7], device="cuda")]  # an assertion on the device: every later call fails
        torch.cuda.synchronize()
