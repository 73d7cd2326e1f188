"""`vramplan bench`: the rig on the command line. Nothing of torch is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from vramplan.cli.options import format_options, model_argument, recipe_options
from vramplan.cli.output import show
from vramplan.errors import UnsupportedError
from vramplan.recipe import METHODS

from .measure_commands import COMMANDS


@click.group("bench", short_help="The rig: the real training step, run dry on a laptop or measured on a GPU.")
def command() -> None:
    """Build the real step (transformers, peft, bitsandbytes, torch) and see what it holds, or measure it."""


for measuring in COMMANDS:
    command.add_command(measuring)


@command.command("dry", short_help="Run the step on tensors without storage.")
@model_argument
@click.option("--layers", type=click.IntRange(1, 16_384), help="Cut the model to this many layers.")
@click.option("--full-depth", is_flag=True, help="Run every layer, and replay the caching allocator.")
@click.option(
    "--expandable-segments", is_flag=True, help="Replay with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True."
)
@click.option("--html", "html_path", metavar="FILE", help="Write a picture of the step.")
@click.option("--record", "record_path", metavar="FILE", help="Append the records to a file of JSON lines.")
@recipe_options
@format_options
def dry(
    model: str,
    question: Any,
    output_format: str,
    layers: int | None,
    full_depth: bool,
    expandable_segments: bool,
    html_path: str | None,
    record_path: str | None,
) -> int:
    """Run three training steps of MODEL without storage and tell what each phase holds, and why.

    The step is the real one: the libraries installed here, with every allocation followed. Exit code 1 where the
    allocator ran out of the card's memory (with --full-depth and --gpu).
    """
    from .answer import dry_answer

    if len(question.gpus) > 1:
        raise UnsupportedError("--gpu: a dry run imitates one card at a time")
    answer = dry_answer(
        model,
        question.gpus[0],
        question.recipe,
        question.methods or METHODS,
        question.stack,
        online=question.online,
        layers=layers,
        full_depth=full_depth or expandable_segments,
        expandable_segments=expandable_segments,
        progress=_progress(),
    )
    if record_path:
        from vramplan.record import write_records

        write_records(record_path, answer.records)
    if html_path:
        from .picture import write_picture

        runs = [
            (f"{record.request.recipe['method']}, drawn at {result.run.layers} of {result.layers} layers", result.run)
            for record, result in zip(answer.records, answer.results, strict=True)
        ]
        write_picture(html_path, f"{answer.model}: what one training step holds", runs)
    from . import dry_report

    show(dry_report, answer, output_format)
    outcomes = {record.outcome for record in answer.records}
    return 0 if "ok" in outcomes else 1


@command.command("env", short_help="What the rig would run with.")
def env() -> None:
    """Versions of the libraries that make the step, and the GPU."""
    import platform

    from .answer import require_packages

    require_packages()
    from .installed import versions
    from .runner.nvml import open_board

    click.echo(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package, version in versions().items():
        click.echo(f"{package} {version}")
    board = open_board()
    for name, value in (board.facts() if board is not None else {"gpu": "none that a driver tells of"}).items():
        click.echo(f"{name} {value}")


def _progress() -> Callable[[str], None]:
    """One line on stderr that is written over, where a person watches; else silence."""
    if not sys.stderr.isatty():
        return lambda words: None

    def tell(words: str) -> None:
        click.echo(f"\r\x1b[2K{words}\r", nl=False, err=True)

    return tell
