"""`vramplan plan`: what to rent for a job, within money and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidValueError, VramplanError
from ..plan.wishes import COUNTS, Wishes
from ..price import current_date
from ..recipe import METHODS, Recipe
from .export import KINDS as EXPORTS
from .job_options import job_options
from .market_options import market_options
from .options import Name, Question, format_options, model_argument, recipe_options
from .output import show, write_bytes
from .quantities import Amount, Duration, Number, flag
from .target import Target, target_options

if TYPE_CHECKING:
    from ..cost import Job, Market
    from ..plan.result import Plans

PICKS = ("cheapest", "balanced", "fastest")


class Deadline(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """Seconds from now: a time with its unit, or a date (its end) or a moment to come."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            moment = _moment(str(value))
        except OverflowError:
            raise InvalidValueError(flag(param), value, "a date within ten years") from None
        if moment is None:
            seconds = Duration().convert(value, param, ctx)
        else:
            now = datetime.now(moment.tzinfo)
            seconds = int((moment - datetime.combine(current_date(), now.timetz())).total_seconds())
        if seconds <= 0:
            expected = "a time above 0 with its unit, like 24h or 3d" if moment is None else "still to come"
            raise InvalidValueError(flag(param), value, expected)
        return seconds


def _moment(text: str) -> datetime | None:
    """A date, taken to its end, or a moment; None for what is neither."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.combine(day + timedelta(days=1), time.min)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@click.command("plan", short_help="What to rent for a job: cheapest, balanced, fastest, within money and time.")
@model_argument
@click.option("--budget", "budget_usd", type=Number("0.01", "1e9", "an amount above 0, in USD"), help="At most, USD.")
@click.option("--deadline", "deadline_s", type=Deadline(), help="Done in 24h or 3d, or by 2027-01-31.")
@click.option("--effective-batch", type=Amount(1_048_576), help="Sequences of a step, at least.  [default: 16]")
@click.option("--no-quantization", is_flag=True, help="Keep the base model in 16 bit.")
@click.option("--spot", is_flag=True, help="Spot prices too; the same as --kind on_demand --kind spot.")
@click.option(
    "--export",
    "export_kind",
    type=Name(EXPORTS),
    metavar="NAME",
    help=f"Print, or write to -o FILE, a plan's configuration: {', '.join(EXPORTS)}.",
)
@click.option(
    "--pick",
    type=Name(PICKS),
    default="cheapest",
    show_default=True,
    metavar="NAME",
    help=f"Whose: {', '.join(PICKS)}.",
)
@target_options(
    output=("-o --output", "Where --export writes."),
    picture=("--html", "Write the front of time and money as a page that needs no network."),
)
@job_options
@market_options
@recipe_options
@format_options
@click.pass_context
def command(
    ctx: click.Context, model: str, question: Question, job: Job, market: Market, budget_usd: Decimal | None,
    deadline_s: int | None, effective_batch: int | None, no_quantization: bool, spot: bool, export_kind: str | None,
    pick: str, output: Target, picture: Target, output_format: str,
) -> int:  # fmt: skip
    """What to rent to train MODEL on so much: the cheapest, the fastest, and a balance of both.

    Searches cards, numbers of cards, offers of providers, methods, batch, accumulation, checkpointing, optimizer and
    loss kernel; an option given fixes its knob. Only what fits at the cautious end counts; budget and deadline are kept
    by the expected cost and time. Exit code: 0 = found, 1 = nothing meets the wishes (the answer says what to relax),
    2 = the question cannot be answered.
    """
    from vramplan_reports import plan as report

    from ..decide import plan_job

    if output.path is not None and export_kind is None:
        raise VramplanError("-o names the file of --export; --html that of the picture")
    batch, grad_accum, gpus = (_fixed(ctx, question.recipe, knob) for knob in ("batch", "grad_accum", "gpus"))
    wishes = Wishes(
        budget_usd=budget_usd,
        deadline_s=deadline_s,
        methods=question.methods or METHODS,
        no_quantization=no_quantization,
        effective_batch=effective_batch,
        batch=batch,
        grad_accum=grad_accum,
        counts=COUNTS if gpus is None else (gpus,),
    )
    if spot and market.is_own:
        raise VramplanError("--spot chooses among listed prices; leave it out, or your own price")
    if spot:
        market = replace(market, kinds=tuple(dict.fromkeys((*market.kinds, "spot"))))
    found = plan_job(
        model, job, question.recipe, wishes=wishes, market=market, gpus=tuple(filter(None, question.gpus)),
        stack=question.stack, profile=question.profile, online=question.online,
    )  # fmt: skip
    picture.write(lambda path: report.write_picture(path, found))
    if export_kind is None or not found.found:
        show(report, found, output_format)
    else:
        _export(found, export_kind, pick, output)
    return 0 if found.found else 1


def _fixed(ctx: click.Context, recipe: Recipe, knob: str) -> int | None:
    """A count that the command line or a file names; None where it is left to the search."""
    value: int = getattr(recipe, knob)
    typed = ctx.get_parameter_source(knob) is not click.core.ParameterSource.DEFAULT
    return value if typed or value != 1 else None


def _export(found: Plans, kind: Any, pick: str, output: Target) -> None:
    """The configuration of one of the picks, to its file or to the standard output."""
    from ..export import Schedule, export

    plan = next(one.plan for one in found.picks if one.kind == pick)
    file = export(kind, found.model, plan.recipe, plan.gpus, Schedule(epochs=float(found.job.epochs)))
    for warning in file.warnings:
        click.echo(warning, err=True)
    if output.path is None:
        write_bytes(lambda stdout: stdout.write(file.text.encode()))
    else:
        output.write_binary(lambda opened: opened.write(file.text.encode()))
