"""`vramplan sweep`: grids of recipes as CSV, Parquet, JSON lines or heat maps."""

from __future__ import annotations

import sys
from dataclasses import fields

import click

from ..errors import UnknownNameError, VramplanError
from ..recipe import METHODS, Recipe
from .options import Name, Question, model_argument, recipe_options
from .output import show, write_bytes
from .target import Target, target_options

FORMS = ("csv", "parquet", "jsonl")


@click.command("sweep", short_help="Grids of recipes as CSV, Parquet, JSON lines or heat maps.")
@model_argument
@click.option(
    "--vary", multiple=True, metavar="KNOB=VALUES",
    help="Repeatable: batch=1,2,4 or seq_len=512:8192:512 (both ends in) or seq_len=512:65536:x2 or "
    "method=lora,qlora; any option of a recipe, and model, gpu, stack, profile.",
)  # fmt: skip
@click.option("--map", "map_of", metavar="ACROSS,DOWN", help="Show heat maps of two knobs in place of the table.")
@recipe_options
@target_options(
    output=("-o --output", "Write the table; .csv, .parquet or .jsonl says how. Without it CSV is printed."),
    picture=("--html", "Write the heat maps as a page that needs no network."),
)
@click.option("--format", "form", type=Name(FORMS), metavar="NAME", help=f"Form of the table: {', '.join(FORMS)}.")
def command(
    model: str, vary: tuple[str, ...], map_of: str | None, question: Question, output: Target, picture: Target,
    form: str | None,
) -> int:  # fmt: skip
    """Memory, verdict and speed of MODEL over a grid: every combination of what varies is a row.

    Several --gpu or --method vary too. Rows that cannot be described say why in the column `error`. Exit code: 0 = some
    row fits, 1 = none does, 2 = the question cannot be answered.
    """
    from vramplan_reports import sweep as report

    from ..decide import sweep_columns
    from ..plan.grid import axes

    form = _form(form, output)
    base = {field.name: getattr(question.recipe, field.name) for field in fields(Recipe)}
    base |= {"model": model, "gpu": question.gpus[0], "stack": question.stack, "profile": question.profile}
    grid = axes((*_repeated(question, vary), *vary))
    if len(question.methods) == 1:
        base["method"] = question.methods[0]
    columns = sweep_columns(base, {axis.knob: axis.values for axis in grid}, online=question.online)
    if map_of or picture.path:
        maps = report.HeatMaps(columns, *_knobs(map_of, [axis.knob for axis in grid]))
        picture.write(maps.write_picture)
        if map_of:
            show(maps, columns, "table")
    if output.path is not None:
        output.write_binary(lambda file: report.write(columns, file, form))
    elif not map_of:
        write_bytes(lambda file: report.write(columns, file, form))
    return 0 if columns.any_fits else 1


def _repeated(question: Question, vary: tuple[str, ...]) -> list[str]:
    """Options that name several values, as axes; all methods where neither an option nor --vary says."""
    named = [text.partition("=")[0].strip() for text in vary]
    found = [f"gpu={','.join(map(str, question.gpus))}"] if len(question.gpus) > 1 else []
    methods = question.methods or (() if "method" in named else METHODS)
    return [*found, f"method={','.join(methods)}"] if len(methods) > 1 else found


def _form(asked: str | None, output: Target) -> str:
    """Of the option, else of the file's suffix, else CSV."""
    if asked is not None or output.path is None:
        if asked == "parquet" and output.path is None and sys.stdout.isatty():
            raise VramplanError("--format parquet is nothing to read; name a file with -o")
        return asked or "csv"
    suffix = output.path.rpartition(".")[2].casefold()
    if suffix not in FORMS:
        raise UnknownNameError("suffix", suffix, FORMS, hint="-o FILE.csv, .parquet or .jsonl, or --format")
    return suffix


def _knobs(asked: str | None, varied: list[str]) -> tuple[str, str]:
    """The two knobs of a map: those asked for, else length across and batch down, else the first two that vary."""
    if asked is None:
        counts = [knob for knob in ("seq_len", "batch", "rank") if knob in varied]
        asked = ",".join((*counts, *(knob for knob in varied if knob not in counts))[:2])
    across, comma, down = asked.replace("-", "_").partition(",")
    if not comma or not down or across == down:
        raise VramplanError(f"--map: {asked!r} are not two knobs that vary, as in --map seq_len,batch")
    return across.strip(), down.strip()
