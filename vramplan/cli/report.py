"""`vramplan report`: budgets from scenario files, what changed between two, measured reports of a card."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ..files import refuse_unwritable, write_text, write_whole
from .options import format_options
from .output import show
from .quantities import Amount
from .target import force_option

if TYPE_CHECKING:
    from vramplan_reports.page.files import Writer


def files_options(kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--output`, repeatable, and `--force`; the command gets `paths`, checked before any work is done."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_files(*, paths: tuple[str, ...], force: bool, **rest: Any) -> Any:
            for path in paths:
                refuse_unwritable(path, force=force)
            return command(paths=paths, force=force, **rest)

        help = f"File to write, by its suffix {kinds}; repeatable. Without it the answer is printed."
        output_option = click.option("-o", "--output", "paths", metavar="FILE", multiple=True, help=help)
        return output_option(force_option(with_files))

    return decorate


def _write(paths: tuple[str, ...], writers: dict[str, Writer[Any]], subject: Any, *, force: bool) -> None:
    """Each file whole or not at all; what was written is said on stderr."""
    from vramplan_reports.page.files import writer_for

    for path, writer in [(path, writer_for(path, writers)) for path in paths]:
        write_whole(path, lambda part, writer=writer: writer(part, subject), force=force)  # type: ignore[misc]
        click.echo(f"wrote {path}", err=True)


@click.group("report", short_help="A budget for a project of fine-tunes: one page, every number traced.")
def command() -> None:
    """Budgets that can be signed: what to rent, what it costs, when it is done, how sure that is.

    Start with: vramplan report init, then vramplan report build scenario.toml -o report.html
    """


@command.command("init", short_help="Write a commented scenario to start from.")
@click.argument("path", metavar="[FILE]", default="scenario.toml")
@force_option
def init(path: str, force: bool) -> None:
    """Write an example of a scenario file, every key of it explained, to FILE (scenario.toml; - prints it)."""
    from ..budget.example import example

    if path == "-":
        click.echo(example(), nl=False)
        return
    refuse_unwritable(path, force=force)
    write_text(path, example(), force=force)
    click.echo(f"wrote {path}; now: vramplan report build {path} -o report.html", err=True)


@command.command("build", short_help="The budget of a scenario: page, Markdown, JSON, CSV, XLSX, or here.")
@click.argument("source")
@click.option("--tokens", type=Amount(), help="Tokens to train, for a saved estimate.  [default: 1M]")
@files_options(".html, .md, .json, .csv, .xlsx, .txt")
@format_options
def build(source: str, tokens: int | None, paths: tuple[str, ...], force: bool, output_format: str) -> int:
    """The budget of SOURCE: a scenario file (TOML, YAML), or the saved JSON of estimate, plan or this command.

    Of records of measured runs it is what `report bench` says.

    Every job gets the cheapest card and hire within the scenario's limits that holds it. The same file gives the same
    report, to the byte. Exit code: 0 = every job has a cost, within budget and deadline, 1 = not so, 2 = the question
    cannot be answered.
    """
    from vramplan_reports.budget import summary
    from vramplan_reports.budget.files import WRITERS
    from vramplan_reports.page.files import writer_for

    from ..budget.build import budget
    from ..budget.saved import is_records, scenario_of

    if is_records(source):
        return _measured((source,), None, paths, force, output_format)
    for path in paths:
        writer_for(path, WRITERS)
    found = budget(scenario_of(source, tokens))
    _write(paths, WRITERS, found, force=force)
    if not paths:
        show(summary, found, output_format)
    return 0 if found.holds else 1


@command.command("diff", short_help="What changed between two scenarios, and which assumption moved it.")
@click.argument("old")
@click.argument("new")
@files_options(".md, .json")
@format_options
def diff(old: str, new: str, paths: tuple[str, ...], force: bool, output_format: str) -> int:
    """From the scenario OLD to NEW: the change in money and time, then what each changed assumption did to them.

    Exit code: 0 = NEW keeps its budget and deadline, 1 = it does not, 2 = the question cannot be answered.
    """
    from vramplan_reports.budget import changes

    from ..budget.diff import difference
    from ..budget.saved import scenario_of

    found = difference(scenario_of(old), scenario_of(new))
    _write(paths, changes.WRITERS, found, force=force)
    if not paths:
        show(changes, found, output_format)
    return 0 if found.new.holds else 1


@command.command("bench", short_help="What was measured on a card: accuracy, speed, cost, memory, environment.")
@click.argument("records", nargs=-1, required=True)
@click.option("--against", metavar="FILE", help="Records of another card, shown beside.")
@files_options(".html, .md, .json, .txt")
@format_options
def bench(
    records: tuple[str, ...], against: str | None, paths: tuple[str, ...], force: bool, output_format: str
) -> None:
    """A report of the measured runs in the files RECORDS (`vramplan bench run` writes them)."""
    _measured(records, against, paths, force, output_format)


def _measured(
    records: tuple[str, ...], against: str | None, paths: tuple[str, ...], force: bool, output_format: str
) -> int:
    from vramplan_reports.measured import files, summary

    from ..budget.measured import measured

    found = measured(records, against)
    _write(paths, files.WRITERS, found, force=force)
    if not paths:
        show(summary, found, output_format)
    return 0


@command.command("schema", short_help="JSON Schema of scenario files, or of the report's JSON.")
@click.argument("name", type=click.Choice(("scenario", "budget")), default="scenario")
def schema(name: str) -> None:
    """Print the JSON Schema of scenario files (for editors and checks), or of `report build --json`."""
    import json

    if name == "scenario":
        from ..budget.keys import scenario_schema

        found = scenario_schema()
    else:
        from vramplan_reports.budget.schema import budget_schema

        found = budget_schema()
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
