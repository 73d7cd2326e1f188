"""`vramplan calibrate`: measured runs become a profile that answers for their card and stack."""

from __future__ import annotations

import click

from vramplan_reports import calibrate as report

from ..calibrate import calibrate, save
from .options import format_options
from .output import show


@click.command("calibrate", short_help="Fit the constants of a card and stack to measured runs.")
@click.argument("records", nargs=-1, required=True)
@click.option("--gpu", metavar="KEY", help="Only runs of this card.")
@click.option("--stack", metavar="NAME", help="Only runs of this stack.")
@click.option("--name", metavar="NAME", help="Call the profile so: it is then used by --profile NAME only.")
@click.option("--output", metavar="FILE", help="Write the profile here instead of the user's folder.")
@click.option("--no-save", is_flag=True, help="Only tell.")
@format_options
def command(
    records: tuple[str, ...],
    gpu: str | None,
    stack: str | None,
    name: str | None,
    output: str | None,
    no_save: bool,
    output_format: str,
) -> int:
    """Fit a few physical constants to the runs in the files RECORDS, card by card and stack by stack.

    A file holds records of the rig (JSON lines) or runs as CSV. What the runs cannot tell is refused, with the reason.
    Errors are told for models left out of the fit. Profiles go to the user's folder (~/.config/vramplan/profiles) under
    the name of card and stack; `vramplan estimate` then uses them and says so. Exit code: 0 = a profile was made,
    1 = the runs tell nothing, 2 = a file holds no runs.
    """
    found = calibrate(records, gpu=gpu, stack=stack)
    if not no_save:
        found = save(found, name=name, output=output)
    show(report, found, output_format)
    return 0 if any(fit.profile.constants for fit in found.fits) else 1
