"""`vramplan estimate`: memory, verdict and limits, method beside method."""

from __future__ import annotations

import click

from vramplan_reports import estimate as report

from ..recipe import METHODS
from .options import Question, format_options, model_argument, recipe_options
from .output import show


@click.command("estimate", short_help="Memory, verdict, largest batch and length of full, LoRA and QLoRA.")
@model_argument
@recipe_options
@format_options
def command(model: str, question: Question, output_format: str) -> int:
    """Will fine-tuning MODEL fit, and with what to spare?

    MODEL is an alias (llama-70b), a hub id of the catalogue (meta-llama/Llama-3.1-8B), or a folder or file with a
    config.json. Options left out come from the stack; the answer lists every one. Exit code: 0 = something asked for
    fits, 1 = nothing does, 2 = the question cannot be answered.
    """
    answers = question.answers(model, METHODS)
    show(report, answers, output_format)
    return 0 if any(answer.any_fits for answer in answers) else 1
