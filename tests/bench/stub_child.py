"""A child that measures nothing: it says what a real one would, or does what STUB asks for.

python stub_child.py FD [FAULT]      STUB=ok | limit:BATCH | silent | stray | half
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

fd, how = int(sys.argv[1]), os.environ.get("STUB", "ok")
MIB = 2**20


def say(kind: str, /, **values: Any) -> None:
    os.write(fd, json.dumps({"type": kind, **values}).encode() + b"\n")


def counted(name: str, step: int, allocated: int) -> None:
    say("phase", name=name, step=step)
    say("phase_end", name=name, step=step, allocated_bytes=allocated, reserved_bytes=allocated + 8 * MIB,
        allocated_end_bytes=allocated // 2, device_used_bytes=allocated + 600 * MIB, duration_s=0.25)  # fmt: skip


EFFECTIVE: dict[str, Any] = {
    "elements_by_dtype": {"bfloat16": 10}, "parameters": 10, "trainable": 2, "quantized": 0,
    "trainable_dtypes": ["float32"], "attention": "sdpa", "checkpointing": True, "optimizer": "torch.AdamW (fused)",
    "optimizer_state_dtypes": {"exp_avg": "float32"}, "adapter_targets": ["q_proj"], "versions": {"torch": "9"},
    "attention_kernels": [],
}  # fmt: skip

if how == "silent":
    time.sleep(3600)
if how == "stray":  # something of its own that outlives it
    stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    print("stray", stray.pid, flush=True)
say("ready")
job = json.loads(sys.stdin.readline() or "null")
if job is None:
    sys.exit(0)
batch = job["recipe"]["batch"]
counted("load", 0, 90 * MIB)
if how.startswith("limit:") and batch > int(how[6:]):
    say("phase", name="backward", step=1)
    say("failed", kind="oom", reason="CUDA out of memory. Tried to allocate 1.00 GiB.")
    sys.exit(0)
counted("forward", 1, 150 * MIB)
say("effective", **EFFECTIVE)
for step in (3, 4):
    say("step", step=step, allocated_bytes=100 * MIB, reserved_bytes=120 * MIB, duration_s=0.5)
now = time.monotonic()
say("window", begin_s=now - 1.0, end_s=now, tokens=2048, energy_j=None, energy_absent="the window was short")
for step in (5, 6):
    counted("forward", step, 100 * MIB)
    counted("backward", step, 110 * MIB)
say("facts", retries=0, attention_kernels=["flash"], context_bytes=500 * MIB, capacity_bytes=None)
if how != "half":
    say("done")
