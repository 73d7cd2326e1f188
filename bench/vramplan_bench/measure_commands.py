"""`vramplan bench run`, `list`, `show`, `wanted`: measuring on the command line. The parent never imports torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vramplan.cli.options import format_options, recipe_options
from vramplan.cli.output import show
from vramplan.errors import UnknownNameError, UnsupportedError, VramplanError
from vramplan.recipe import METHODS, Recipe

DEFAULT_OUT = "vramplan-records.jsonl"
INTERRUPTED = 130
"""What a shell reports for Ctrl-C."""
out_option = click.option(
    "--out", "out", metavar="FILE", default=DEFAULT_OUT, show_default=True, help="Records are appended to this file."
)


@click.command("run", short_help="Measure a suite, or one recipe, on the machine at hand.")
@click.argument("what", metavar="SUITE|MODEL")
@out_option
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True,
              help="Where the step runs.")  # fmt: skip
@click.option("--layers", type=click.IntRange(1, 16_384), metavar="N", help="MODEL: cut it to this many layers.")
@click.option("--capacity-gib", type=click.FloatRange(0.1, 10_000), metavar="GIB",
              help="MODEL: emulate a smaller card.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0.1, 100_000), metavar="X",
              help="Start no cell that would end later than this.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1, 100), metavar="N", help="Runs of every cell.")
@click.option("--allow-busy", is_flag=True, help="Measure although others use the GPU; marks the records.")
@recipe_options
@format_options
def run(
    what: str,
    question: Any,
    output_format: str,
    out: str,
    device: str,
    layers: int | None,
    capacity_gib: float | None,
    minutes: float | None,
    repeats: int | None,
    allow_busy: bool,
) -> int:
    """Run real training steps and record memory by phase and tier, speed, power and cost.

    SUITE is a name (`vramplan bench list`) or a TOML file of your own; MODEL is run with the options of a recipe. Each
    cell runs in a process of its own; what FILE of --out holds already is passed over. Exit code: 0 = measured, 1 = a
    cell ended as none should, 2 = the question cannot be answered.
    """
    from .answer import require_packages

    require_packages(("psutil", "rich"))
    from .records_report import Records
    from .runner.display import display
    from .runner.run import Plan, run_plan
    from .runner.suites import is_suite, load_suite

    suite = load_suite(what) if is_suite(what) else None
    if suite and (question.recipe != Recipe() or question.methods or layers or capacity_gib):
        raise UnsupportedError(f"suite {suite.name!r} names its own recipes; options of a recipe go with a model")
    cells = suite.cells if suite else _cells(what, question, layers, capacity_gib)
    lab = _lab(device, None if suite else question.gpus[0])
    if suite and suite.needs_cuda and lab.device == "cpu":
        raise UnsupportedError(f"suite {suite.name!r} needs a GPU, and there is none; `smoke` runs without one")
    if not suite:
        _refuse_impossible(cells, lab, online=question.online)
    plan = Plan(
        cells=cells,
        out=Path(out),
        suite=suite.name if suite else None,
        minutes=minutes,
        repeats=repeats,
        allow_busy=allow_busy,
        online=question.online,
    )
    with display() as shown:
        outcomes = run_plan(plan, lab, shown)
    title = f"{len(outcomes.records)} measured into {out}"
    _show(Records(title=title, records=outcomes.records, passed_over=outcomes.passed_over,
                  bad_lines=outcomes.bad_lines, interrupted=outcomes.interrupted), output_format)  # fmt: skip
    if outcomes.interrupted:
        return INTERRUPTED
    return 1 if outcomes.surprises else 0


@click.command("list", short_help="Suites, or the cells of one.")
@click.argument("suite", required=False)
@click.option("--gpu", "gpu_name", metavar="KEY", help="Expected seconds on this card.")
@format_options
def list_suites(suite: str | None, gpu_name: str | None, output_format: str) -> None:
    """What `vramplan bench run` can measure. A suite is a TOML file; your own goes by its path."""
    from vramplan.catalog import find_gpu

    from . import suites_report
    from .runner.suites import load_suite, suite_names

    if suite is None:
        show(suites_report, suites_report.Listed(suites=tuple(map(load_suite, suite_names()))), output_format)
        return
    found = load_suite(suite)
    expected = _expected(found.cells, find_gpu(gpu_name)) if gpu_name else ()
    show(suites_report, suites_report.Listed(suites=(found,), expected_s=expected), output_format)


@click.command("show", short_help="Records of a file.")
@click.argument("records", metavar="RECORDS")
@format_options
def show_records(records: str, output_format: str) -> None:
    """What a file of records holds; lines that hold none are named and passed over."""
    from vramplan.record import BadLine, read_records

    from .records_report import Records

    bad: list[BadLine] = []
    found = tuple(read_records(records, bad.append))
    if not found and bad:
        raise VramplanError(f"{records}: not one of {len(bad)} lines holds a record; the first: {bad[0].reason}")
    _show(Records(title=f"{len(found)} records of {records}", records=found, bad_lines=bad), output_format)


@click.command("wanted", short_help="Cells that a card still lacks, best first.")
@click.argument("records", metavar="[RECORDS]...", nargs=-1)
@click.option("--gpu", "gpu_name", metavar="KEY", required=True, help="The card (see `vramplan gpus`).")
@click.option("--minutes", type=click.FloatRange(0.1, 100_000), metavar="X", help="As many as fit into this time.")
@click.option("--suite", "suites", metavar="SUITE", multiple=True, help="Choose from these (default: quick, full).")
@format_options
def wanted(
    records: tuple[str, ...], gpu_name: str, minutes: float | None, suites: tuple[str, ...], output_format: str
) -> None:
    """Which cells would teach most about a card, given the RECORDS that there are."""
    from vramplan.catalog import find_gpu
    from vramplan.record import BadLine, read_records

    from . import suites_report
    from .runner.suites import load_suite
    from .runner.wanted import wanted as choose

    gpu, bad = find_gpu(gpu_name), list[BadLine]()
    there = [record for path in records for record in read_records(path, bad.append)]
    for line in bad:
        click.echo(f"vramplan: passed over, {line.reason}", err=True)
    cells = [cell for name in suites or ("quick", "full") for cell in load_suite(name).cells]
    show(suites_report, choose(cells, gpu, there, minutes), output_format)


def _cells(model: str, question: Any, layers: int | None, capacity_gib: float | None) -> Any:
    """One cell for each method asked for."""
    from dataclasses import replace

    from vramplan.catalog import find_config

    from .runner.cells import Cell
    from .runner.suites import suite_names

    if len(question.gpus) > 1:
        raise UnsupportedError("--gpu: the card that is measured is the one at hand")
    try:
        find_config(model, online=question.online)
    except UnknownNameError as error:
        raise VramplanError(f"{error}; suites: {', '.join(suite_names())}") from None
    return tuple(
        Cell(model=model, recipe=replace(question.recipe, method=method), stack=question.stack, layers=layers,
             capacity_gib=capacity_gib, timeout_s=1800.0)
        for method in question.methods or METHODS
    )  # fmt: skip


def _refuse_impossible(cells: Any, lab: Any, *, online: bool) -> None:
    """Where no cell can be asked for at all, the first reason is the answer."""
    reasons = []
    for cell in cells:
        try:
            lab.prepare(cell, online=online)
        except VramplanError as error:
            reasons.append(error)
    if len(reasons) == len(cells):
        raise reasons[0]


def _lab(device: str, gpu_name: str | None) -> Any:
    """The device at hand; the wrong card named is an error, not a different measurement."""
    from vramplan.catalog import find_gpu

    from .runner.lab import Lab
    from .runner.nvml import open_board

    board = None if device == "cpu" else open_board()
    if device == "auto":
        device = "cpu" if board is None else "cuda"
    lab = Lab(device="cuda" if device == "cuda" else "cpu", board=board)
    if gpu_name is not None and (lab.gpu is None or find_gpu(gpu_name).key != lab.gpu.key):
        at_hand = lab.machine.get("gpu", "no GPU that the driver names")
        raise VramplanError(f"--gpu {gpu_name}: at hand is {at_hand}; leave the option out to measure on it")
    return lab


def _expected(cells: Any, gpu: Any) -> tuple[float | None, ...]:
    from .runner.cells import prepare
    from .runner.forecast import expected_s

    found: list[float | None] = []
    for cell in cells:
        try:
            found.append(expected_s(prepare(cell, gpu), gpu))
        except VramplanError:
            found.append(None)
    return tuple(found)


def _show(records: Any, output_format: str) -> None:
    from . import records_report

    sys.stderr.flush()
    show(records_report, records, output_format)


COMMANDS = (run, list_suites, show_records, wanted)
