"""The `vramplan` command: finds subcommands when they are asked for, and turns what goes wrong into exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import UnknownNameError, VramplanError, one_line

COMMANDS = (
    "estimate", "explain", "fit", "plan", "sweep", "export", "models", "gpus", "stacks", "prices", "data", "accuracy",
    "calibrate", "profiles", "report",
)  # fmt: skip
"""Each is `command` in the module of its name; none is imported before it is asked for."""
PLUGINS = "vramplan.commands"
"""Entry points through which other packages add commands."""


class App(click.Group):
    """A group whose commands load on demand, and whose errors are one or two lines on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(point.name for point in _plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            found: click.Command = import_module(f".{cmd_name}", __package__).command
            return found
        return next((point.load() for point in _plugins() if point.name == cmd_name), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise UnknownNameError("command", name, self.list_commands(ctx), hint="vramplan --help lists them")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run, and exit with contract.md's codes; a command returns its own."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra) or 0
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.format_message())
            code = 0
        except click.exceptions.Abort:
            raise KeyboardInterrupt from None
        except (VramplanError, click.ClickException, OSError) as error:
            _complain(error)
            code = 2
        except Exception as error:
            if os.environ.get("VRAMPLAN_DEBUG"):
                raise
            message = one_line(error, 300)
            click.echo(f"vramplan: internal error: {type(error).__name__}: {message}", err=True)
            click.echo("  this is a bug: please report it with the output of VRAMPLAN_DEBUG=1", err=True)
            code = 2
        sys.exit(code)


def _complain(error: VramplanError | click.ClickException | OSError) -> None:
    """One line what is wrong; for a wrong use of the command line, one more where to look."""
    if isinstance(error, click.ClickException):
        click.echo("vramplan: " + " ".join(error.format_message().split()), err=True)
        context = getattr(error, "ctx", None)
        if context is not None:
            click.echo(f"  {context.command_path} --help lists the options", err=True)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        click.echo(f"vramplan: {where}{error.strerror}", err=True)
    else:
        click.echo(f"vramplan: {error}", err=True)


def _plugins() -> Iterator[Any]:
    """Commands of other packages. Reading the metadata of everything installed takes a while: only when needed."""
    from importlib.metadata import entry_points

    yield from entry_points(group=PLUGINS)


@click.command(
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: vramplan estimate llama-70b --gpu a100-80",
)
@click.version_option(__version__, message="vramplan %(version)s")
def app() -> None:
    """Will this fine-tune fit, how fast, for how much? Memory, time and cost of full, LoRA and QLoRA training."""
