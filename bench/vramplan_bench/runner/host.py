"""The memory of the machine itself, which a child may fill: then it has to end before the kernel chooses whom."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
SHARE_LEFT = 0.02
MOST_LEFT_BYTES = 2 * 2**30
"""A child is ended when less than a fiftieth of the memory is left, or than 2 GiB where that is smaller."""


def available_bytes(cgroup: Path = CGROUP) -> int:
    """What processes may still take: of the machine, or of the container's limit where that is nearer."""
    free = int(psutil.virtual_memory().available)
    limit, used, cache = (_number(cgroup / name) for name in ("memory.max", "memory.current", "memory.stat"))
    if limit is None or used is None:
        return free
    return min(free, limit - used + (cache or 0))


def least_bytes() -> int:
    """With less than this left, the child is ended."""
    return min(int(psutil.virtual_memory().total * SHARE_LEFT), MOST_LEFT_BYTES)


def resident_bytes(pid: int) -> int:
    """Of one process; 0 where it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _number(path: Path) -> int | None:
    """A cgroup's number, or of memory.stat the file cache that can be dropped; None for `max` and where none is."""
    try:
        text = path.read_text()
    except OSError:
        return None
    if path.name == "memory.stat":
        found = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
        text = found.get("inactive_file", "")
    return int(text) if text.strip().isdigit() else None
