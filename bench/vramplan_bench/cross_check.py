"""Estimate against dry run, over a grid: every family of the catalogue, the smallest model of each at full size.

    python -m vramplan_bench.cross_check                   all families (some thirty minutes on two cores)
    python -m vramplan_bench.cross_check --family llama    one
    python -m vramplan_bench.cross_check --small           what the test suite runs

The estimate is arithmetic, the dry run the real step without storage: two ways that share no code. A row that differs
shows where one of them is wrong. Exit code 1 where the allocated peak of a row is more than 3 % off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from statistics import median
from typing import Any

from vramplan.catalog import find_stack, models
from vramplan.errors import VramplanError
from vramplan.estimator.phases import StepMemory
from vramplan.recipe import Recipe
from vramplan.resolve import resolve
from vramplan.step.setting import Setting

WORST = 0.03
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hf-trainer", {"method": "full", "seq_len": 2048, "checkpointing": True}),
    ("trl", {"method": "full", "seq_len": 512, "batch": 4, "checkpointing": False}),
    ("hf-trainer", {"method": "lora", "seq_len": 512, "batch": 4, "checkpointing": True, "attention": "eager"}),
    ("transformers-5", {"method": "lora", "seq_len": 2048, "checkpointing": False}),
    ("trl", {"method": "qlora", "seq_len": 2048, "batch": 4, "checkpointing": True}),
    ("hf-trainer", {"method": "qlora", "seq_len": 512, "checkpointing": False, "optimizer": "adamw_8bit"}),
    ("peft-kbit", {"method": "qlora", "seq_len": 2048, "checkpointing": True}),
    ("transformers-5", {"method": "qlora", "seq_len": 512, "batch": 4, "checkpointing": False, "attention": "eager"}),
    ("liger", {"method": "lora", "seq_len": 2048, "checkpointing": True}),
    ("hf-trainer", {"method": "full", "seq_len": 512, "batch": 4, "checkpointing": False, "loss": "fused-linear"}),
    ("hf-trainer", {"method": "qlora", "seq_len": 2048, "checkpointing": True, "loss": "fused-ce",
                    "attention": "flash2"}),
    ("trl", {"method": "lora", "seq_len": 512, "batch": 4, "checkpointing": False, "attention": "flash2",
             "lora_dropout": 0.1, "optimizer": "paged_adamw_8bit"}),
    ("trl", {"method": "qlora", "seq_len": 512, "batch": 4, "checkpointing": True, "quant": "int8"}),
)  # fmt: skip
"""Stack and knobs: every method, checkpointing on and off, two lengths, two batches, kernels and losses."""
SMALL = ("llama", "gemma2", "gpt_neox", "mixtral")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recipe told in both ways. Bytes; `error` where one way could not tell."""

    model: str
    case: str
    estimated: dict[str, int]
    """By phase, and the peak of the step."""
    dry: dict[str, int]
    error: str = ""

    def miss(self, phase: str) -> float:
        """Relative error of the estimate."""
        return self.estimated[phase] / self.dry[phase] - 1


def grid(families: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Model ids and case numbers: the smallest describable model of every family."""
    smallest: dict[str, tuple[int, str]] = {}
    for entry in models():
        try:
            entry.model()
        except VramplanError:
            continue
        size = (entry.computed_params, entry.id)
        if entry.model_type not in smallest or size < smallest[entry.model_type]:
            smallest[entry.model_type] = size
    for family, (_, model) in sorted(smallest.items()):
        if not families or family in families:
            yield from ((model, case) for case in range(len(CASES)))


def label(stack: str, knobs: dict[str, Any]) -> str:
    """A case in a few words: `trl qlora 4x2048 ckpt`."""
    shape = f"{knobs.get('batch', 1)}x{knobs['seq_len']}"
    kernels = [str(knobs[k]) for k in ("quant", "loss", "attention", "optimizer") if k in knobs]
    return " ".join([stack, knobs["method"], shape, "ckpt" if knobs["checkpointing"] else "all kept", *kernels])


def check(model_id: str, case: int) -> Row:
    """Tell one recipe in both ways."""
    from .answer import quiet_libraries
    from .dry import dry_run

    stack_name, knobs = CASES[case]
    title = label(stack_name, knobs)
    try:
        entry = next(entry for entry in models() if entry.id == model_id)
        stack = find_stack(stack_name)
        recipe = resolve(Recipe(**knobs), knobs["method"], stack)
        step = StepMemory(Setting(entry.model(), recipe, stack, None))
        quiet_libraries()
        result = dry_run(entry.config, recipe, loop=stack)
    except Exception as error:  # a step that the libraries refuse is a row too
        return Row(model=model_id, case=title, estimated={}, dry={}, error=str(error).partition("\n")[0])
    phases: dict[str, int] = {str(name): size for name, size in step.phases.items()}
    static = step.static
    estimated = {
        "peak": step.allocated, **phases, "weights": static.quantized + static.base + static.buffers,
        "adapters": static.adapters, "optimizer": static.optimizer.state_bytes,
    }  # fmt: skip
    facts = result.facts
    dry = {
        "peak": result.peak_bytes, **result.phase_peaks, "weights": facts.weights_bytes,
        "adapters": facts.adapters_bytes, "optimizer": facts.optimizer_bytes,
    }  # fmt: skip
    return Row(model=model_id, case=title, estimated=estimated, dry=dry)


def show(rows: list[Row]) -> bool:
    """Print the rows, worst first, and the summary. True where no peak is more than 3 % off."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    told = sorted((row for row in rows if not row.error), key=lambda row: -abs(row.miss("peak")))
    table = Table("model", "case", "dry GiB", "peak %", "forward %", "loss %", "backward %", "step %", "states B")
    for row in told:
        phases = (f"{100 * row.miss(p):+.2f}" for p in ("peak", "forward", "loss", "backward", "optimizer_step"))
        off = sum(row.estimated[g] - row.dry[g] for g in ("weights", "adapters", "optimizer"))
        table.add_row(row.model.rpartition("/")[2], row.case, f"{row.dry['peak'] / 2**30:.2f}", *phases, f"{off:+,}")
    console.print(table)
    for reason, untold in _by_reason(rows).items():
        names = sorted({row.model.rpartition("/")[2] for row in untold})
        console.print(f"not told, {len(untold)} recipes of {', '.join(names)}: {reason}", style="dim")
    if not told:
        return False
    misses = [abs(row.miss("peak")) for row in told]
    by_phase = [abs(row.miss(p)) for row in told for p in ("forward", "loss", "backward", "optimizer_step")]
    console.print(
        f"{len(told)} recipes: peak median {100 * median(misses):.2f} %, worst {100 * max(misses):.2f} %; "
        f"phases median {100 * median(by_phase):.2f} %"
    )
    return max(misses) <= WORST


def _by_reason(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows that one way could not tell, by what it said; what is said of one model counts as said of all."""
    found: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row.error), key=lambda row: row.error):
        found.setdefault(row.error.replace(row.model, "the model"), []).append(row)
    return found


def run(pairs: list[tuple[str, int]], workers: int = 2) -> list[Row]:
    """Check all pairs, several at a time, with progress; what was done is kept on Ctrl-C."""
    from rich.progress import track

    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(check, model, case) for model, case in pairs]
        try:
            for future in track(as_completed(futures), "dry runs", total=len(futures), disable=not sys.stdout.isatty()):
                rows.append(future.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", action="append", default=[], help="a model_type (repeatable)")
    parser.add_argument("--small", action="store_true", help=f"the families {', '.join(SMALL)}")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    families = tuple(options.family) or (SMALL if options.small else ())
    return 0 if show(run(list(grid(families)), options.workers)) else 1


if __name__ == "__main__":
    sys.exit(main())
