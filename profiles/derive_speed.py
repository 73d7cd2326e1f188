"""Fits the constants of `vramplan_profiles/speed.json` to published runs and writes them there with their errors:

    python profiles/derive_speed.py RUNS.csv ...           fit, cross-validate, print, write
    python profiles/derive_speed.py --dry RUNS.csv ...     print only

Seven numbers are fitted to the logarithm of the speed, with residuals above 15 % weighing less (Huber). Every other
constant of the file stays as it is, with the source it names. Each stack, and each card, is then left out in turn (a
card that is left out keeps its generation's FLOPs a joule, which nothing else tells).
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vramplan.accuracy import percentile, question
from vramplan.accuracy.question import speed_obstacle
from vramplan.errors import VramplanError
from vramplan.runs import Run, read_runs
from vramplan.speed import Peaks, StepWork, efficiencies, peaks, step_time, step_work
from vramplan.step.setting import Setting

FILE = Path(__file__).parent / "vramplan_profiles" / "speed.json"
FITTED = (
    "matmul_efficiency", "mem_efficient_efficiency", "memory_efficiency", "dequantization_efficiency",
    "gptq_efficiency", "launch_s", "flops_per_joule.7",
)  # fmt: skip
HUBER = 0.15


class Point:
    """One run: what it did, on what, and how fast."""

    def __init__(self, run: Run, c: Setting, card: Peaks) -> None:
        assert c.gpu is not None and run.tokens_per_s_per_gpu is not None
        self.run, self.c, self.card = run, c, card
        self.work: StepWork = step_work(c)
        self.measured: float = run.tokens_per_s_per_gpu

    def predicted(self, constants: dict[str, Any]) -> float:
        assert self.c.gpu is not None
        time = step_time(self.work, self.card, efficiencies(self.c.gpu, None, constants))
        return float(self.work.micro_batches * self.work.tokens / time.step_s)


def points(names: Iterable[str]) -> list[Point]:
    """Runs with a speed that a prediction can be set beside, each id once."""
    found: dict[str, Point | None] = {}
    for name in names:
        for run in read_runs(name):
            if not isinstance(run, Run) or not run.tokens_per_s_per_gpu or run.id in found or speed_obstacle(run):
                continue
            if run.gpus != 1:
                continue
            try:
                asked = question(run)
                c = Setting(asked.model, asked.recipe, asked.stack, asked.gpu)
            except VramplanError:
                continue
            card = asked.gpu and peaks(asked.gpu, "fp16" if c.compute_dtype == "fp16" else "bf16")
            found[run.id] = Point(run, c, card) if card else None
    return [point for point in found.values() if point is not None]


def residuals(constants: dict[str, Any], chosen: list[Point]) -> Any:
    return np.array([math.log(p.predicted(constants) / p.measured) for p in chosen])


def entry(constants: dict[str, Any], name: str) -> Any:
    for key in name.split(".", 1):
        constants = constants[key]
    return constants


def with_values(constants: dict[str, Any], values: Any) -> dict[str, Any]:
    changed = copy.deepcopy(constants)
    for name, value in zip(FITTED, values, strict=True):
        entry(changed, name)["value"] = math.exp(value)
    return changed


def loss(r: Any) -> float:
    size = np.abs(r)
    return float(np.where(size < HUBER, size**2 / 2, HUBER * (size - HUBER / 2)).sum())


def fit(constants: dict[str, Any], chosen: list[Point]) -> tuple[dict[str, Any], Any]:
    """Levenberg and Marquardt on the logarithms. Returns the constants and relative standard errors."""
    x = np.array([math.log(entry(constants, name)["value"]) for name in FITTED])
    damping = 1e-2
    r = residuals(with_values(constants, x), chosen)
    for _ in range(40):
        jacobian = np.empty((len(chosen), len(x)))
        for column in range(len(x)):
            moved = x.copy()
            moved[column] += 1e-3
            jacobian[:, column] = (residuals(with_values(constants, moved), chosen) - r) / 1e-3
        weight = np.minimum(1, HUBER / np.maximum(np.abs(r), 1e-9))
        normal = jacobian.T @ (weight[:, None] * jacobian)
        gradient = jacobian.T @ (weight * r)
        while damping < 1e6:
            step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-6), gradient)
            tried = x + np.clip(step, -0.3, 0.3)
            new = residuals(with_values(constants, tried), chosen)
            if loss(new) < loss(r):
                gain, x, r, damping = loss(r) - loss(new), tried, new, damping / 3
                break
            damping *= 4
        else:
            break
        if gain < 1e-7:
            break
    scatter = (weight * r**2).sum() / max(len(chosen) - len(x), 1)
    inverse = np.linalg.inv(normal + 1e-6 * np.eye(len(x)))
    return with_values(constants, x), np.sqrt(np.diag(inverse) * scatter)


def left_out(constants: dict[str, Any], all_points: list[Point], key: Callable[[Point], str]) -> Any:
    """Residuals of each point predicted by a fit without its group."""
    out = np.empty(len(all_points))
    for group in sorted({key(p) for p in all_points}):
        rest = [p for p in all_points if key(p) != group]
        fitted, _ = fit(constants, rest)
        for place, p in enumerate(all_points):
            if key(p) == group:
                out[place] = math.log(p.predicted(fitted) / p.measured)
    return out


def table(title: str, r: Any, all_points: list[Point], key: Callable[[Point], str]) -> None:
    """Errors, predicted / measured - 1."""
    groups: dict[str, list[float]] = defaultdict(list)
    for p, residual in zip(all_points, r, strict=True):
        groups[key(p)].append(math.expm1(residual))
        groups["all"].append(math.expm1(residual))
    print(f"\n{title}\n{'':32}{'runs':>5}{'median':>8}{'90th':>8}{'bias':>8}{'worst':>8}")
    for name, errors in sorted(groups.items(), key=lambda item: (item[0] != "all", item[0])):
        sizes = [abs(error) for error in errors]
        middle, worst = percentile(sizes, 0.5), max(errors, key=abs)
        bias = sorted(errors)[len(errors) // 2]
        print(f"{name:32}{len(errors):5}{middle:8.1%}{percentile(sizes, 0.9):8.1%}{bias:+8.1%}{worst:+8.1%}")


def ranking(constants: dict[str, Any], all_points: list[Point], related: Callable[[Point, Point], bool]) -> str:
    """Pairs that differ by more than 15 % and are put in the right order."""
    said = [p.predicted(constants) for p in all_points]
    right = pairs = 0
    for i, j in combinations(range(len(all_points)), 2):
        a, b = all_points[i], all_points[j]
        if related(a, b) and max(a.measured, b.measured) > 1.15 * min(a.measured, b.measured):
            pairs += 1
            right += (a.measured > b.measured) == (said[i] > said[j])
    return f"{right} of {pairs} ({right / max(pairs, 1):.1%})"


def quantiles(r: Any) -> tuple[float, float]:
    """Measured over predicted, 5th and 95th percentile."""
    low, high = np.quantile(-r, (0.05, 0.95))
    return round(math.exp(low), 2), round(math.exp(high), 2)


def main(arguments: list[str]) -> None:
    """See the module."""
    constants = json.loads(FILE.read_text(encoding="utf-8"))
    found = points(a for a in arguments if not a.startswith("--"))
    fitted, errors = fit(constants, found)
    for name, error in zip(FITTED, errors, strict=True):
        constant = entry(fitted, name)
        value = constant["value"]
        constant.update(
            value=float(f"{value:.3g}"),
            standard_error=float(f"{value * error:.2g}"),
            records=len(found),
            source="fitted to public runs on one GPU by profiles/derive_speed.py: " + ", ".join(stacks(found)),
        )
        print(f"{name:28}{constant['value']:<12g}± {constant['standard_error']:g}")
    r = residuals(fitted, found)
    table("All runs fitted, by stack", r, found, lambda p: p.run.stack or "")
    table("All runs fitted, by card and method", r, found, lambda p: f"{p.run.gpu} {p.run.method} {p.c.quant}")
    unseen = left_out(fitted, found, lambda p: (p.run.stack or "").partition("+")[0])
    table("Each stack left out", unseen, found, lambda p: p.run.stack or "")
    new_card = left_out(fitted, found, lambda p: p.run.gpu or "")
    table("Each card left out", new_card, found, lambda p: p.run.gpu or "")
    print("\nRight order, pairs that differ by more than 15 %")
    print("  one stack, card and model  ", ranking(fitted, found, _alike))
    print("  one model, several cards or stacks", ranking(fitted, found, lambda a, b: a.run.model == b.run.model))
    print("  all                        ", ranking(fitted, found, lambda a, b: True))
    low, high = quantiles(unseen)
    inside = float(np.mean([low <= math.exp(-x) <= high for x in r]))
    print(f"\nInterval of a stack left out: {low} to {high}, {inside:.0%} of the fitted inside")
    print("Interval of a card left out: {} to {}".format(*quantiles(new_card)))
    if "--dry" in arguments:
        return
    cards = sorted({p.run.gpu or "" for p in found if sum(q.run.gpu == p.run.gpu for q in found) >= 20})
    fitted["residuals"].update(low=low, high=high, cards=cards, records=len(found))
    FILE.write_text(json.dumps(fitted, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def stacks(found: list[Point]) -> list[str]:
    names = [p.run.stack or "" for p in found]
    return [f"{name} ({names.count(name)})" for name in sorted(set(names))]


def _alike(a: Point, b: Point) -> bool:
    return (a.run.stack, a.run.gpu, a.run.model) == (b.run.stack, b.run.gpu, b.run.model)


if __name__ == "__main__":
    main(sys.argv[1:])
