"""Options that commands share: the recipe, the card, the format of the answer. Values are checked by `Recipe`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import InvalidValueError, UnknownNameError
from ..recipe import CHOICES, LIMITS, Method, Recipe

if TYPE_CHECKING:
    from ..estimator.result import Answer

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "markdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the recipe options of one command line ask for."""

    gpus: tuple[str | None, ...]
    """Keys as typed; (None,) = no card was named."""
    recipe: Recipe
    methods: tuple[Method, ...]
    stack: str
    online: bool
    profile: str | None = None
    """Name or file; None = the one called after card and stack, where there is one."""
    notes: tuple[str, ...] = ()
    """What came from the files of `--from`."""

    def answers(self, model: str, methods: tuple[Method, ...], *, levers: bool = False) -> tuple[Answer, ...]:
        """One answer per card; `methods` where the command line names none."""
        from ..api import estimate

        asked = self.methods or methods
        found = tuple(
            estimate(
                model,
                gpu,
                self.recipe,
                methods=asked,
                stack=self.stack,
                levers=levers,
                online=self.online,
                profile=self.profile,
            )
            for gpu in self.gpus
        )
        if not self.notes:
            return found
        from .from_files import noting

        return tuple(noting(answer, self.notes) for answer in found)


class ModelArgument(click.Argument):
    """MODEL, which may be left out where files are given: they may name it. `--from` is eager, so known by now."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        if ctx.params.get("from_files") and self.value_is_missing(value):
            return None
        return super().process_value(ctx, value)


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """A whole number from 1 to the knob's limit; said the same way for 0, -1, 1.5, 1e30 and text."""

    name = "n"

    def __init__(self, knob: str) -> None:
        self.limit = LIMITS[knob]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        digits = str(value)
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 30 else 0
        if not 1 <= number <= self.limit:
            raise InvalidValueError(_flag(param), value, f"a whole number from 1 to {self.limit:,}")
        return number


class Probability(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number from 0 to below 1."""

    name = "p"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1:
            raise InvalidValueError(_flag(param), value, "a number from 0 to below 1")
        return number


class Name(click.Choice[str]):
    """One of a few names; anything else is answered with the nearest ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            raise UnknownNameError(_flag(param), str(value), self.choices, hint="one of " + ", ".join(self.choices))
        return str(value)


def _flag(param: click.Parameter | None) -> str:
    """The option as it is typed."""
    return param.opts[0] if param else "value"


def _counted(flag: str, help: str, **more: Any) -> Callable[[Command], Command]:
    return click.option(flag, type=Whole(flag[2:].replace("-", "_")), help=help, **more)


def _named(
    flag: str, help: str, *names: str, choices: tuple[str, ...] = (), **more: Any
) -> Callable[[Command], Command]:
    choices = choices or CHOICES[flag[2:].replace("-", "_")]
    # Listed in the help text: eleven optimizers make no readable metavar.
    listed = f"{help}: {', '.join(choices)}."
    return click.option(flag, *names, type=Name(choices), metavar="NAME", help=listed, **more)


model_argument = click.argument("model", cls=ModelArgument)
_OPTIONS = (
    click.option(
        "--from",
        "from_files",
        metavar="FILE",
        multiple=True,
        is_eager=True,
        help="Configuration that is there already (TRL, axolotl, LLaMA-Factory, PEFT, accelerate ...); repeatable.",
    ),
    click.option("--gpu", "gpu_names", metavar="KEY", multiple=True, help="Card (see `vramplan gpus`); repeatable."),
    _counted("--gpus", "GPUs of the job.", default=1, show_default=True),
    _named("--method", "Ways of training, repeatable", "methods", multiple=True),
    click.option("--stack", metavar="NAME", default="trl", show_default=True, help="Software (see `vramplan stacks`)."),
    _counted("--batch", "Sequences per GPU and forward pass.", default=1, show_default=True),
    _counted("--seq-len", "Tokens per sequence.", default=2048, show_default=True),
    _counted("--grad-accum", "Micro-batches per optimizer step.", default=1, show_default=True),
    _counted("--rank", "LoRA rank."),
    click.option("--targets", metavar="NAMES", help="all-linear, attention, or module names joined by commas."),
    click.option("--lora-dropout", type=Probability(), help="Dropout on the input of adapters."),
    _named("--quant", "Format of the frozen weights"),
    _named("--dtype", "Type of weights that are not quantised"),
    _named("--autocast", "Type of torch.autocast in the forward pass"),
    _named("--adapter-dtype", "Type of adapter weights"),
    click.option("--kbit-prep/--no-kbit-prep", default=None, help="Upcast remaining 16-bit weights to fp32."),
    _named("--optimizer", "Optimizer"),
    click.option("--checkpointing/--no-checkpointing", default=None, help="Recompute activations in backward."),
    _named("--attention", "Attention kernel"),
    _named("--loss", "Loss kernel"),
    _named("--sharding", "How GPUs share the work", default="none", show_default=True),
    click.option("--profile", metavar="NAME", help="Fitted profile or its file; none = without (`vramplan profiles`)."),
    click.option("--online", is_flag=True, help="Look up a hub id that is not in the catalogue."),
)
_KNOBS = tuple(field.name for field in fields(Recipe) if field.name != "method")


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of a recipe; the command gets them as one `question`. Knobs left out come from the stack."""

    @wraps(command)
    def with_question(*, from_files: tuple[str, ...], **options: Any) -> Any:
        notes: tuple[str, ...] = ()
        if from_files:
            from .from_files import read_from

            found = read_from(click.get_current_context(), from_files)
            found.fill(options, _KNOBS)
            notes = found.notes
        recipe = Recipe(**{knob: options.pop(knob) for knob in _KNOBS})
        asked = {name: options.pop(name) for name in ("methods", "stack", "online", "profile")}
        question = Question(gpus=options.pop("gpu_names") or (None,), recipe=recipe, notes=notes, **asked)
        code = command(question=question, **options)
        if notes:  # an error would be lost behind them
            from .from_files import say

            say(click.get_current_context(), notes)
        return code

    decorated: Callable[..., Any] = with_question
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format` and `--json`; the command gets `output_format`."""

    @wraps(command)
    def with_format(*, output_format: str, as_json: bool, **rest: Any) -> Any:
        return command(output_format="json" if as_json else output_format, **rest)

    with_json = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(with_format)
    shown = {"default": "table", "show_default": True}
    return _named("--format", "Form of the answer", "output_format", choices=FORMATS, **shown)(with_json)
