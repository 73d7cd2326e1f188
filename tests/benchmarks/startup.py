"""Wall time of the main job as a whole process, against Python's own start. Target: at most 10 times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

RUNS = 20
TARGET = 10.0
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "vramplan --version": (str(BIN / "vramplan"), "--version"),
    "vramplan estimate llama-70b --gpu a100-80": (str(BIN / "vramplan"), "estimate", "llama-70b", "--gpu", "a100-80"),
    "... --json": (str(BIN / "vramplan"), "estimate", "llama-70b", "--gpu", "a100-80", "--json"),
}


def wall_s(command: tuple[str, ...]) -> float:
    start = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def main() -> None:
    """Commands take turns, so that a busy moment of the machine meets all of them."""
    for command in COMMANDS.values():
        wall_s(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(wall_s(command))
    base = median(times["python -c pass"])
    print(f"start-up, median of {RUNS} runs (target {TARGET:.0f} x)")
    for name, samples in times.items():
        print(f"  {1000 * median(samples):7.1f} ms  {median(samples) / base:5.1f} x  {name}")


if __name__ == "__main__":
    main()
