"""`vramplan fit`: the largest batch, length, rank or model that a card holds."""

from __future__ import annotations

from typing import Any

import click

from vramplan_reports import fit as report

from ..errors import VramplanError
from ..plan.fit import LIMITS_OF_A_RECIPE, WHAT, What
from ..recipe import METHODS
from .options import Name, Question, format_options, recipe_options
from .output import show
from .target import Target, target_options


@click.command("fit", short_help="The largest batch, length, rank or model that a card holds.")
@click.argument("model", required=False)
@click.option(
    "--what", multiple=True, type=Name(WHAT), metavar="NAME",
    help=f"What to look for, repeatable: {', '.join(WHAT)}. Without it all but model.",
)  # fmt: skip
@recipe_options
@target_options(picture=("--html", "Write the frontier as a picture, a page that needs no network."))
@format_options
def command(model: str | None, what: tuple[What, ...], question: Question, picture: Target, output_format: str) -> int:
    """How far can fine-tuning MODEL go on a card: batch, length, rank, and batch against length?

    Each limit holds with the other options as given; it fits as `vramplan estimate` means it, at the cautious end, and
    one more does not. `--what model`, without MODEL, lists the largest models of the catalogue that the card holds.
    Exit code: 0 = something fits, 1 = nothing does, 2 = the question cannot be answered.
    """
    from ..decide import fit, largest_models

    if None in question.gpus:
        raise VramplanError("--gpu: a card must be named (`vramplan gpus` lists them)")
    methods = question.methods or METHODS
    common: dict[str, Any] = {"methods": methods, "stack": question.stack, "profile": question.profile}
    if "model" in what or model is None:
        _only_models(model, what)
        picture.must_be_none("--html: a picture is drawn of batch and length, with a MODEL")
        held = tuple(largest_models(gpu, question.recipe, **common) for gpu in question.gpus if gpu)
        show(report.MODELS, held, output_format)
        return 0 if any(card.anything_fits for card in held) else 1
    found = tuple(
        fit(model, gpu, question.recipe, what=what or LIMITS_OF_A_RECIPE, online=question.online, **common)
        for gpu in question.gpus
        if gpu
    )
    picture.write(lambda path: report.write_picture(path, found))
    show(report.FRONTIER, found, output_format)
    return 0 if any(card.anything_fits for card in found) else 1


def _only_models(model: str | None, what: tuple[What, ...]) -> None:
    if what != ("model",):
        raise VramplanError("MODEL is missing; without it `--what model` lists the largest models that a card holds")
    if model is not None:
        raise VramplanError(f"--what model looks for models and takes none; leave out {model!r}")
