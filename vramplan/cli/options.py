"""Options that commands share: the recipe, the card, the format of the answer. Values are checked by `Recipe`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import InvalidValueError, UnknownNameError
from ..recipe import CHOICES, LIMITS, METHODS, Method, Recipe

if TYPE_CHECKING:
    from ..estimate.result import Answer

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

    def answers(self, model: str, methods: tuple[Method, ...], *, levers: bool = False) -> tuple[Answer, ...]:
        """One answer per card; `methods` where the command line names none."""
        from ..api import estimate

        asked = self.methods or methods
        return tuple(
            estimate(model, gpu, self.recipe, methods=asked, stack=self.stack, levers=levers, online=self.online)
            for gpu in self.gpus
        )


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """A whole number from 1 to the knob's limit; said the same way for 0, -1, 1.5, 1e30 and text."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        knob = _knob(param)
        digits = str(value).removeprefix("+")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 30 else 0
        if not 1 <= number <= LIMITS[knob]:
            raise InvalidValueError(_flag(knob), value, f"a whole number from 1 to {LIMITS[knob]:,}")
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
            raise InvalidValueError(
                _flag((param.name if param else None) or "value"), value, "a number from 0 to below 1"
            )
        return number


class Name(click.Choice[str]):
    """One of a knob's names; anything else is answered with the nearest ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            hint = "one of " + ", ".join(self.choices)
            raise UnknownNameError(_flag(_knob(param)), str(value), self.choices, hint=hint)
        return str(value)


def _knob(param: click.Parameter | None) -> str:
    return (param.name if param else None) or "value"


def _flag(knob: str) -> str:
    return "--" + knob.replace("_", "-")


def _named(knob: str, help: str, **more: Any) -> Callable[[Command], Command]:
    # Listed in the help text: eleven optimizers make no readable metavar.
    return click.option(
        _flag(knob), type=Name(CHOICES[knob]), metavar="NAME", help=f"{help}: {', '.join(CHOICES[knob])}.", **more
    )


def _counted(knob: str, help: str, **more: Any) -> Callable[[Command], Command]:
    return click.option(_flag(knob), type=Whole(), help=help, **more)


_OPTIONS = (
    click.option(
        "--gpu", "gpu_names", metavar="KEY", multiple=True, help="Card, as `vramplan gpus` names it; repeatable."
    ),
    _counted("gpus", "GPUs of the job.", default=1, show_default=True),
    click.option(
        "--method",
        "methods",
        type=Name(METHODS),
        metavar="NAME",
        multiple=True,
        help="full, lora or qlora; repeatable.  [default: all]",
    ),
    click.option(
        "--stack", metavar="NAME", default="trl", show_default=True, help="Software, as `vramplan stacks` names it."
    ),
    _counted("batch", "Sequences per GPU and forward pass.", default=1, show_default=True),
    _counted("seq_len", "Tokens per sequence.", default=2048, show_default=True),
    _counted("grad_accum", "Micro-batches per optimizer step.", default=1, show_default=True),
    _counted("rank", "LoRA rank."),
    click.option("--targets", metavar="NAMES", help="all-linear, attention, or module names joined by commas."),
    click.option("--lora-dropout", type=Probability(), help="Dropout on the input of adapters."),
    _named("quant", "Format of the frozen weights"),
    _named("dtype", "Type of weights that are not quantised"),
    _named("autocast", "Type of torch.autocast in the forward pass"),
    _named("adapter_dtype", "Type of adapter weights"),
    click.option("--kbit-prep/--no-kbit-prep", default=None, help="Upcast remaining 16-bit weights to fp32."),
    _named("optimizer", "Optimizer"),
    click.option("--checkpointing/--no-checkpointing", default=None, help="Recompute activations in backward."),
    _named("attention", "Attention kernel"),
    _named("loss", "Loss kernel"),
    _named("sharding", "How GPUs share the work", default="none", show_default=True),
    click.option("--online", is_flag=True, help="Look up a hub id that is not in the catalogue."),
)
_KNOBS = tuple(field.name for field in fields(Recipe) if field.name != "method")


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of a recipe; the command gets them as one `question`. Knobs left out come from the stack."""

    @wraps(command)
    def with_question(
        *, gpu_names: tuple[str, ...], methods: tuple[Method, ...], stack: str, online: bool, **rest: Any
    ) -> Any:
        recipe = Recipe(**{knob: rest.pop(knob) for knob in _KNOBS})
        question = Question(gpus=gpu_names or (None,), recipe=recipe, methods=methods, stack=stack, online=online)
        return command(question=question, **rest)

    decorated: Callable[..., Any] = with_question
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format` and `--json`; the command gets `output_format`."""

    @wraps(command)
    def with_format(*, output_format: str, as_json: bool, **rest: Any) -> Any:
        return command(output_format="json" if as_json else output_format, **rest)

    decorated: Callable[..., Any] = with_format
    decorated = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(decorated)
    return click.option(
        "--format",
        "output_format",
        type=Name(FORMATS),
        metavar="NAME",
        default="table",
        show_default=True,
        help="Form of the answer: table, json, markdown.",
    )(decorated)
