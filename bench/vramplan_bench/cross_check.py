"""Estimate against dry run, over a grid: every family of the catalogue, the smallest model of each at full size.

    python -m vramplan_bench.cross_check                   all families (an hour on two cores)
    python -m vramplan_bench.cross_check --keep FILE       kept row by row; run again, only missing dry runs are made
    python -m vramplan_bench.cross_check --family llama    one
    python -m vramplan_bench.cross_check --small           a few
    python -m vramplan_bench.cross_check --every           all models by one recipe (ten minutes)
    python -m vramplan_bench.cross_check --sample 100      any model in any recipe, drawn by chance (--seed)

The estimate is arithmetic, the dry run the real step without storage: two ways that share no code. A row that differs
shows where one of them is wrong. Exit code 1 where the allocated peak of a row is more than 3 % off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, NamedTuple

from vramplan.catalog import ModelEntry, find_stack, models
from vramplan.errors import VramplanError
from vramplan.estimator.phases import StepMemory
from vramplan.recipe import METHODS, Recipe
from vramplan.resolve import resolve
from vramplan.step.setting import Setting

from .many import keep_in, kept, tell_all

WORST = 0.03


class Case(NamedTuple):
    """A recipe of the grid: the stack, and the knobs that are not its defaults."""

    stack: str
    knobs: dict[str, Any]

    def __str__(self) -> str:
        """In a few words: `trl qlora 4x2048 ckpt`."""
        rest = {name: value for name, value in self.knobs.items() if name not in _SHOWN}
        shape = f"{self.knobs.get('batch', 1)}x{self.knobs['seq_len']}"
        kept = "ckpt" if self.knobs["checkpointing"] else "all kept"
        others = (str(value) if name in _PLAIN else f"{name}={value}" for name, value in rest.items())
        return " ".join([self.stack, self.knobs["method"], shape, kept, *others])


_SHOWN = ("method", "batch", "seq_len", "checkpointing")
_PLAIN = ("quant", "loss", "attention", "optimizer", "targets")
"""Knobs whose value says what it is."""

CASES = (
    Case("hf-trainer", {"method": "full", "seq_len": 2048, "checkpointing": True}),
    Case("trl", {"method": "full", "seq_len": 512, "batch": 4, "checkpointing": False}),
    Case("hf-trainer", {"method": "lora", "seq_len": 512, "batch": 4, "checkpointing": True, "attention": "eager"}),
    Case("transformers-5", {"method": "lora", "seq_len": 2048, "checkpointing": False}),
    Case("trl", {"method": "qlora", "seq_len": 2048, "batch": 4, "checkpointing": True}),
    Case("hf-trainer", {"method": "qlora", "seq_len": 512, "checkpointing": False, "optimizer": "adamw_8bit"}),
    Case("peft-kbit", {"method": "qlora", "seq_len": 2048, "checkpointing": True}),
    Case("transformers-5", {"method": "qlora", "seq_len": 512, "batch": 4, "checkpointing": False,
                            "attention": "eager"}),
    Case("liger", {"method": "lora", "seq_len": 2048, "checkpointing": True}),
    Case("hf-trainer", {"method": "full", "seq_len": 512, "batch": 4, "checkpointing": False, "loss": "fused-linear"}),
    Case("hf-trainer", {"method": "qlora", "seq_len": 2048, "checkpointing": True, "loss": "fused-ce",
                        "attention": "flash2"}),
    Case("trl", {"method": "lora", "seq_len": 512, "batch": 4, "checkpointing": False, "attention": "flash2",
                 "lora_dropout": 0.1, "optimizer": "paged_adamw_8bit"}),
    Case("trl", {"method": "qlora", "seq_len": 512, "batch": 4, "checkpointing": True, "quant": "int8"}),
)  # fmt: skip
"""Every method, checkpointing on and off, two lengths, two batches, kernels and losses."""
EVERY = Case("hf-trainer", {"method": "lora", "seq_len": 512, "batch": 2, "checkpointing": False})
"""What every model of the catalogue is told by: nothing is recomputed, so all that a layer saves is in the peak."""
SMALL = ("llama", "gemma2", "gpt_neox", "mixtral")

STACKS = ("hf-trainer", "trl", "peft-kbit", "liger", "transformers-5")
"""Those that the rig can build whole."""
LIBERTIES: dict[str, tuple[Any, ...]] = {
    "batch": (1, 1, 2, 3, 4, 8), "seq_len": (128, 333, 512, 1000, 1024, 2048, 4096),
    "checkpointing": (True, False), "grad_accum": (1, 1, 1, 2), "attention": (None, None, "eager", "flash2"),
    "loss": (None, None, "standard", "chunked", "fused-linear"),
    "optimizer": (None, None, "adamw", "adamw_fused", "adamw_8bit", "paged_adamw_32bit", "sgd", "adafactor", "lion"),
    "dtype": (None, None, "bf16", "fp16", "fp32"), "autocast": (None, None, "none", "bf16"),
}  # fmt: skip
"""Values that a sampled recipe draws from; None = the stack's."""
ADAPTER_LIBERTIES: dict[str, tuple[Any, ...]] = {
    "rank": (None, 1, 8, 32, 64, 200), "targets": (None, "attention", "q_proj,v_proj"),
    "adapter_dtype": (None, None, "fp32", "bf16"), "lora_dropout": (None, None, 0.05),
}  # fmt: skip
QUANTIZED_LIBERTIES: dict[str, tuple[Any, ...]] = {
    "quant": (None, "nf4", "nf4-dq", "fp4", "int8"), "kbit_prep": (None, None, True, False)
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A step as one of the two ways tells it. Bytes."""

    phases: dict[str, int]
    """Peaks by phase, and `peak`, the largest."""
    states: dict[str, int]
    """Weights, adapters, gradients and optimizer states: what both must know to the byte."""
    at_peak: dict[str, int]
    """What is held at the peak, by group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recipe told in both ways; `error` where one way could not tell."""

    model: str
    case: str
    estimate: Told | None = None
    dry: Told | None = None
    error: str = ""

    def miss(self, phase: str) -> float:
        """Relative error of the estimate."""
        assert self.estimate is not None and self.dry is not None
        return self.estimate.phases[phase] / self.dry.phases[phase] - 1

    def state_differences(self) -> dict[str, int]:
        """Bytes by which what stays between steps differs, where it does."""
        assert self.estimate is not None and self.dry is not None
        found = {name: size - self.dry.states[name] for name, size in self.estimate.states.items()}
        return {name: difference for name, difference in found.items() if difference}


Job = tuple[str, Case]
"""Hub id, recipe."""


def describable() -> list[ModelEntry]:
    """Models of the catalogue that the estimate describes."""
    found = []
    for entry in models():
        try:
            entry.model()
        except VramplanError:
            continue
        found.append(entry)
    return found


def grid(families: tuple[str, ...] = ()) -> Iterator[Job]:
    """The smallest model of every family, in every case."""
    smallest: dict[str, tuple[int, str]] = {}
    for entry in describable():
        size = (entry.computed_params, entry.id)
        smallest[entry.model_type] = min(size, smallest.get(entry.model_type, size))
    for family, (_, model) in sorted(smallest.items()):
        if not families or family in families:
            yield from ((model, case) for case in CASES)


def sample(count: int, seed: int) -> Iterator[Job]:
    """Any model in any recipe, drawn by chance: what nobody thought of."""
    draw = Random(seed)
    listed = sorted(entry.id for entry in describable())
    for _ in range(count):
        method = draw.choice(METHODS)
        liberties = LIBERTIES
        if method != "full":
            liberties = liberties | ADAPTER_LIBERTIES
        if method == "qlora":
            liberties = liberties | QUANTIZED_LIBERTIES
        drawn = {name: draw.choice(values) for name, values in liberties.items()}
        knobs = {"method": method, **{name: value for name, value in drawn.items() if value is not None}}
        yield draw.choice(listed), Case(draw.choice(STACKS), knobs)


def check(job: Job, kept: Row | None = None) -> Row:
    """Tell one recipe in both ways. A dry run that an earlier row has is not repeated: the estimate alone is."""
    from .answer import quiet_libraries
    from .dry import dry_run

    model_id, case = job
    try:
        entry = next(entry for entry in models() if entry.id == model_id)
        stack = find_stack(case.stack)
        recipe = resolve(Recipe(**case.knobs), case.knobs["method"], stack)
        estimate = estimate_told(StepMemory(Setting(entry.model(), recipe, stack, None)))
        if kept is not None:
            return replace(kept, estimate=estimate)
        quiet_libraries()
        dry = dry_told(dry_run(entry.config, recipe, loop=stack))
    except Exception as error:  # a step that the libraries refuse is a row too
        return Row(model=model_id, case=str(case), error=str(error).partition("\n")[0] or type(error).__name__)
    return Row(model=model_id, case=str(case), estimate=estimate, dry=dry)


def estimate_told(step: StepMemory) -> Told:
    """The step as the estimate tells it."""
    from vramplan.estimator.terms import TEMPORARY, terms
    from vramplan.estimator.tiers import tiers

    static = step.static
    binding = max(step.moments, key=lambda moment: moment.bytes).phase
    at_peak: dict[str, int] = {}
    for term in terms(step, tiers(step, None)):
        if term.group not in ("allocator", "context") and binding in term.phases:
            group = "workspace" if term.name == TEMPORARY else term.group
            at_peak[group] = at_peak.get(group, 0) + term.bytes
    return Told(
        phases={"peak": step.allocated, **{str(name): size for name, size in step.phases.items()}},
        states={
            "weights": static.quantized + static.base + static.buffers, "adapters": static.adapters,
            "gradients": step.gradients, "optimizer": static.optimizer.state_bytes,
        },
        at_peak=at_peak,
    )  # fmt: skip


def dry_told(result: Any) -> Told:
    """The step as a `DryResult` tells it."""
    from .dry_report import by_group

    facts = result.facts
    return Told(
        phases={"peak": result.peak_bytes, **result.phase_peaks},
        states={
            "weights": facts.weights_bytes, "adapters": facts.adapters_bytes, "gradients": facts.gradients_bytes,
            "optimizer": facts.optimizer_bytes,
        },
        at_peak=by_group(result),
    )  # fmt: skip


def kept_rows(path: str) -> list[Row]:
    """The rows of a file that an earlier run kept."""
    return [
        Row(
            model=values["model"],
            case=values["case"],
            error=values["error"],
            **{way: Told(**values[way]) if values[way] else None for way in ("estimate", "dry")},
        )
        for values in kept(path)
    ]


def main() -> int:
    from .cross_check_report import show

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", action="append", default=[], help="a model_type (repeatable)")
    parser.add_argument("--small", action="store_true", help=f"the families {', '.join(SMALL)}")
    parser.add_argument("--every", action="store_true", help=f"every model of the catalogue, by one recipe: {EVERY}")
    parser.add_argument("--sample", type=int, metavar="N", help="N recipes of any model, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--keep", metavar="FILE", help="JSON lines to add rows to; their dry runs are not repeated")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    families = tuple(options.family) or (SMALL if options.small else ())
    jobs: Iterable[Job] = grid(families)
    if options.every:
        jobs = [(entry.id, EVERY) for entry in describable()]
    elif options.sample:
        jobs = sample(options.sample, options.seed)
    had = {(row.model, row.case): row for row in kept_rows(options.keep)} if options.keep else {}
    rows, left = [], []
    for job in jobs:
        row = had.get((job[0], str(job[1])))
        if row is None:
            left.append(job)
        else:
            rows.append(row if row.error else check(job, row))
    keep = (lambda row: keep_in(options.keep, asdict(row))) if options.keep else None
    worst = show(rows + tell_all(check, left, options.workers, keep))
    return 0 if worst is not None and worst <= WORST else 1


if __name__ == "__main__":
    sys.exit(main())
