"""`vramplan explain`: one recipe, every term with its formula, its phases and where it comes from."""

from __future__ import annotations

import click

from vramplan_reports import explain as report

from .options import Question, format_options, model_argument, recipe_options
from .output import show


@click.command("explain", short_help="Every term of one recipe: formula, phases, source; and what would save most.")
@model_argument
@recipe_options
@format_options
def command(model: str, question: Question, output_format: str) -> int:
    """Where does the memory of fine-tuning MODEL go, when, and what would save most?

    Explains QLoRA unless --method says otherwise. MODEL, options and exit codes are those of `vramplan estimate`.
    """
    answers = question.answers(model, ("qlora",), levers=True)
    show(report, answers, output_format)
    return 0 if any(answer.any_fits for answer in answers) else 1
