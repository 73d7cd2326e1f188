"""A sweep of a million recipes, memory, verdict and speed, as a DataFrame. Targets: 3 s and 1 GiB, on one core."""

from __future__ import annotations

import resource
import sys
from time import perf_counter, process_time

import vramplan

TARGET_S, TARGET_GIB = 3.0, 1.0


def main() -> None:
    """A process of its own, so that the peak of its memory is this sweep's."""
    import pandas as pd

    assert pd.__version__
    start, start_cpu = perf_counter(), process_time()
    frame = vramplan.sweep(
        "llama-8b", "a100-80", vary={"seq_len": "128:12800:128", "batch": range(1, 101), "rank": range(1, 101)}
    )
    taken, taken_cpu = perf_counter() - start, process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert len(frame) == 1_000_000 and frame.error.isna().all()
    one = vramplan.estimate("llama-8b", "a100-80", vramplan.Recipe(batch=3, seq_len=1280, rank=16)).estimates[0]
    row = frame[(frame.batch == 3) & (frame.seq_len == 1280) & (frame["rank"] == 16)].iloc[0]
    assert row.device_bytes == one.memory.device_bytes
    print(f"sweep of {len(frame):,} recipes in {taken:.2f} s, {taken_cpu:.2f} s of a core (target {TARGET_S:.0f} s)")
    print(f"    peak of the process {peak / 2**30:.2f} GiB (target {TARGET_GIB:.0f} GiB)")


if __name__ == "__main__":
    main()
