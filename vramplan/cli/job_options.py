"""Options of a job: how much is trained, on which data, with which evaluation and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from .options import Name
from .quantities import Amount, Duration, Number

if TYPE_CHECKING:
    from ..data import DataFile

PACKINGS = ("none", "bfd", "wrapped")

DATA_OPTIONS = (
    click.option("--tokenizer", metavar="PATH", help="The model's tokenizer.json, or a folder with one."),
    click.option(
        "--chars-per-token", type=Number("0.1", "100", "a number from 0.1 to 100"),
        help="Without a tokenizer: characters of a token.  [default: 3.94, English in Llama 3's]",
    ),
    click.option("--field", "fields", multiple=True, metavar="NAME", help="Field that is trained on; repeatable."),
)  # fmt: skip
FORM_OPTIONS = (
    click.option(
        "--packing", type=Name(PACKINGS), default="none", show_default=True, metavar="NAME",
        help="How short examples share a sequence, in TRL's words: none, bfd, wrapped.",
    ),
    click.option("--group-by-length", is_flag=True, help="Batches of examples of like length."),
)  # fmt: skip
_JOB_OPTIONS = (
    click.option("--tokens", type=Amount(), help="Tokens of an epoch: 50M, 1.5B."),
    click.option("--examples", type=Amount(), help="Examples of an epoch, with --length."),
    click.option("--length", type=Amount(), help="Tokens of each example."),
    click.option("--data", metavar="FILE", help="JSONL, JSON, CSV, text or Parquet (see `vramplan data`)."),
    *DATA_OPTIONS,
    click.option(
        "--epochs", type=Number("0.0001", "10000", "a number above 0, up to 10,000"), default="1", show_default=True,
        help="Passes over them.",
    ),
    *FORM_OPTIONS,
    click.option("--eval-tokens", "evaluation_tokens", type=Amount(), help="Tokens of one evaluation pass."),
    click.option("--eval-every", "evaluate_every_steps", type=Amount(), help="Steps between passes.  [default: epoch]"),
    click.option("--save-every", "save_every_steps", type=Amount(), help="Steps between checkpoints.  [default: one]"),
    click.option("--save-optimizer/--no-save-optimizer", default=True, help="Checkpoints hold the optimizer's state."),
    click.option("--startup", "startup_s", type=Duration(), help="From renting to the first step.  [default: 5min]"),
    click.option(
        "--download-speed", "download_bytes_per_s", type=Amount(), help="Bytes a second from the hub.  [default: 100M]"
    ),
)  # fmt: skip
_DATA_WORDS = ("tokenizer", "chars_per_token", "fields")
_JOB_WORDS = (
    "tokens", "examples", "length", "epochs", "packing", "group_by_length", "evaluation_tokens", "evaluate_every_steps",
    "save_every_steps", "save_optimizer", "startup_s", "download_bytes_per_s",
)  # fmt: skip


def with_options(options: tuple[Callable[..., Any], ...], command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with options in the order in which help shows them."""
    for option in reversed(options):
        command = option(command)
    return command


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of a job; the command gets them as one `job`."""

    @wraps(command)
    def with_job(*, data: str | None, **rest: Any) -> Any:
        from ..cost import Job

        asked = {word: rest.pop(word) for word in _JOB_WORDS}
        asked["evaluation_tokens"] = asked["evaluation_tokens"] or 0
        words = {word: rest.pop(word) for word in _DATA_WORDS}
        return command(job=Job(data=None if data is None else read_data_file(data, **words), **asked), **rest)

    return with_options(_JOB_OPTIONS, with_job)


def read_data_file(path: str, tokenizer: str | None, chars_per_token: Any, fields: tuple[str, ...]) -> DataFile:
    """Read a data file; at a terminal, with a progress bar once it takes a while."""
    from ..data import read_data
    from .progress import Progress

    with Progress(path) as progress:
        ratio = None if chars_per_token is None else float(chars_per_token)
        return read_data(path, tokenizer, characters_per_token=ratio, fields=fields, progress=progress)
