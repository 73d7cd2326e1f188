"""`vramplan profiles`: which fitted profiles there are, what one holds, how two differ."""

from __future__ import annotations

import click

from vramplan_reports import profiles as report

from ..catalog.profile_files import find_profile, profiles, remove_profile
from .options import format_options
from .output import show


@click.command("profiles", short_help="List, show, compare or remove fitted profiles.")
@click.option("--show", "name", metavar="NAME", help="Everything about one profile (a name or a file).")
@click.option("--compare", "pair", nargs=2, metavar="A B", help="Two profiles side by side.")
@click.option("--remove", metavar="NAME", help="Delete one of the user's profiles.")
@format_options
def command(name: str | None, pair: tuple[str, str] | None, remove: str | None, output_format: str) -> None:
    """Constants fitted to measured runs, by card and stack; `vramplan calibrate` makes them.

    One that is called after its card and stack (t4-transformers-5) is used for them without being asked for, the user's
    (~/.config/vramplan/profiles) before one that came along; `--profile NAME` asks for any, `--profile none` for none.
    """
    if remove is not None:
        show(report.REMOVAL, remove_profile(remove), output_format)
    elif pair:
        show(report.COMPARISON, tuple(map(find_profile, pair)), output_format)
    elif name is not None:
        show(report.DETAIL, find_profile(name), output_format)
    else:
        show(report.LISTING, list(profiles()), output_format)
