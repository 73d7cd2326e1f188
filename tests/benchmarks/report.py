"""A report of fifty jobs as a whole process, page and data. Target: at most 5 s, without torch, pandas or plotly."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

TARGET_S = 5.0
JOBS = 50
VRAMPLAN = Path(sys.executable).parent / "vramplan"
MODELS = ("llama-8b", "qwen2.5-7b", "qwen2.5-14b", "qwen2.5-32b", "llama-70b")
HEAD = """\
[project]
name = "Fifty jobs"
date = 2026-10-15

[limits]
gpus = ["l40s", "a100-80", "h100", "h200"]
kinds = ["on_demand", "spot"]
budget_usd = 100000
deadline = 2027-06-30

[habits]
failed_share = { value = 0.1, low = 0.0, high = 0.3, reason = "a guess" }
"""
JOB = """
[[job]]
name = "Job {number}"
model = "{model}"
method = ["lora", "qlora"]
tokens = {{ value = "{millions}M", low = "1M", high = "90M", reason = "a guess" }}
runs = {{ value = 3, low = 2, high = 5, reason = "a guess" }}

[job.recipe]
batch = {batch}
seq_len = {seq_len}
rank = {rank}
"""


def scenario() -> str:
    """Fifty jobs of which no two have the same recipe."""
    jobs = (
        JOB.format(
            number=n, model=MODELS[n % 5], millions=5 + n, batch=1 + n % 3, seq_len=1024 * (1 + n % 4), rank=8 + n
        )
        for n in range(JOBS)
    )
    return HEAD + "".join(jobs)


def main() -> None:
    """Twice: the first run may have to compile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fifty.toml"
        path.write_text(scenario(), encoding="utf-8")
        command = [VRAMPLAN, "report", "build", path, "-o", path.with_suffix(".html"), "-o", path.with_suffix(".json")]
        for _ in range(2):
            start = perf_counter()
            subprocess.run([*command, "--force"], stderr=subprocess.DEVNULL, check=False)
            taken = perf_counter() - start
        size = path.with_suffix(".html").stat().st_size
    print(f"report of {JOBS} jobs in {taken:.2f} s (target {TARGET_S:.0f} s), page of {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
