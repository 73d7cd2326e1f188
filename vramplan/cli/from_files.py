"""`--from FILE` beside the options of a recipe: what files say holds where the command line is silent.

Imported only where `--from` was given.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ..errors import VramplanError
from .options import ModelArgument

if TYPE_CHECKING:
    from ..estimator.result import Answer
    from ..intake import Intake
    from ..recipe import Method

IN_THE_ANSWER = ("estimate", "explain")
"""Commands whose answer holds what came from the files; others have it said on stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromFiles:
    """What the files of one command line add to its options."""

    intake: Intake
    typed: frozenset[str]
    """Knobs, and `method`, `model`, `stack`, that the command line names."""
    methods: tuple[Method, ...]
    needs_model: bool

    def fill(self, options: dict[str, Any], knobs: Collection[str]) -> None:
        """Put what the files say into `options` wherever the command line was silent. Raises VramplanError for what
        they leave in dispute, and where neither names a model."""
        found = self.intake
        typed = {"model": "model", "methods": "method", "stack": "stack"}
        found.check(self.typed)
        found = found.for_methods(self.methods)
        for knob, value in found.knobs.decided().items():
            if knob in knobs and knob not in self.typed:
                options[knob] = value
        for option, name in typed.items():
            value = getattr(found, option)
            if option in options and name not in self.typed and value:
                options[option] = value
        if self.needs_model and options["model"] is None:
            raise VramplanError("MODEL is missing, and the files name none")

    @property
    def notes(self) -> tuple[str, ...]:
        return self.intake.for_methods(self.methods).notes(self.typed)


def read_from(ctx: click.Context, files: tuple[str, ...]) -> FromFiles:
    """Read `files`, and note which options stand on the command line."""
    from ..intake import read_recipe

    default = (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    given = {name for name in ctx.params if ctx.get_parameter_source(name) not in default}
    typed = {"method" if name == "methods" else name for name in given}
    if ctx.params.get("model") is None:
        typed.discard("model")
    needs_model = any(isinstance(param, ModelArgument) for param in ctx.command.params)
    return FromFiles(
        intake=read_recipe(*files), typed=frozenset(typed), methods=ctx.params["methods"], needs_model=needs_model
    )


def noting(answer: Answer, notes: tuple[str, ...]) -> Answer:
    """The answer with `notes` before its own."""
    return replace(answer, estimates=tuple(replace(e, notes=(*notes, *e.notes)) for e in answer.estimates))


def say(ctx: click.Context, notes: tuple[str, ...]) -> None:
    """Print the notes on stderr where the command's answer does not hold them."""
    if ctx.info_name not in IN_THE_ANSWER:
        for note in notes:
            click.echo(note, err=True)
