"""`vramplan export`: a recipe as the configuration that a training tool reads."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import cast

import click

from ..errors import VramplanError
from ..files import write_text
from .options import Name, Question, model_argument, recipe_options
from .quantities import Amount, Number
from .target import force_option

KINDS = ("trl", "axolotl", "llama-factory", "accelerate", "python")


@click.command("export", short_help="Write a recipe as the configuration of TRL, axolotl, LLaMA-Factory ...")
@model_argument
@click.option("--to", "kind", type=Name(KINDS), required=True, metavar="KIND", help=f"One of {', '.join(KINDS)}.")
@click.option("-o", "--output", metavar="FILE", help="File or folder to write to; without it, standard output.")
@force_option
@click.option(
    "--epochs", type=Number("0.0001", "10000", "a number above 0, up to 10,000"), help="Passes over the data."
)
@click.option("--steps", type=Amount(10**9), help="Optimizer steps; over --epochs.")
@click.option("--dataset", metavar="NAME", help="What to train on; without it, a place to fill in.")
@recipe_options
def command(
    model: str, kind: str, output: str | None, force: bool, epochs: Decimal | None, steps: int | None,
    dataset: str | None, question: Question,
) -> None:  # fmt: skip
    """Write the recipe for fine-tuning MODEL as a file that KIND reads, every knob decided.

    One --method at a time (qlora unless it is named). What KIND cannot say stands in the file's comments and on stderr.
    The file read back with --from gives the same recipe.
    """
    from dataclasses import replace

    from ..export import ExportKind, Schedule, export_recipe

    if len(question.methods) > 1 or len(question.gpus) > 1:
        raise VramplanError("a file holds one recipe: name one --method and one --gpu at most")
    recipe = replace(question.recipe, method=question.methods[0] if question.methods else "qlora")
    file = export_recipe(
        cast(ExportKind, kind), model, recipe, stack=question.stack, gpu=question.gpus[0], online=question.online,
        job=Schedule(epochs=None if epochs is None else float(epochs), steps=steps, dataset=dataset),
    )  # fmt: skip
    if output is None:
        click.echo(file.text, nl=False)
    else:
        path = os.path.join(output, file.name) if os.path.isdir(output) else output
        write_text(path, file.text, force=force)
        click.echo(f"Wrote {path}.")
    for warning in file.warnings:
        click.echo(f"not as planned: {warning}", err=True)
