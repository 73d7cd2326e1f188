"""Scenarios from what other commands saved: the JSON of `estimate`, of `plan`, and of a report."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from ..catalog import find_gpu, prices
from ..errors import VramplanError
from ..files import read_object
from ..recipe import Recipe
from ..record import RECORDS_SUFFIXES
from .scenario import Guess, Limits, PlannedJob, Scenario, Statement
from .scenario_file import read_scenario

LARGEST_FILE_BYTES = 64 * 2**20
DEFAULT_TOKENS = 10**6
"""An estimate names no amount of work; its report is that of a million tokens, and says so."""
_OF_ADAPTERS = ("rank", "targets", "adapter_dtype", "lora_dropout")
_NOT_ASKED = ("method", "stack")


def scenario_of(path: str | os.PathLike[str], tokens: int | None = None) -> Scenario:
    """The scenario that a file holds or stands for. `tokens`: of the job of a saved estimate.

    Raises VramplanError (ScenarioError with every mistake of a scenario file).
    """
    name = os.fspath(path)
    if not name.lower().endswith(".json"):
        if tokens is not None:
            raise VramplanError(f"--tokens goes with a saved estimate; {name} names its own")
        return read_scenario(name)
    document = read_object(name, "the JSON of an answer", LARGEST_FILE_BYTES)
    answers = document.get("answers", [document])
    planned = isinstance(document.get("picks"), list)
    if tokens is not None and (planned or document.get("kind") == "budget"):
        raise VramplanError(f"--tokens goes with a saved estimate; {name} names its own")
    if document.get("kind") == "budget":
        return _of_report(document, name)
    if not planned and not (
        isinstance(answers, list) and all(isinstance(one, dict) and "estimates" in one for one in answers)
    ):
        raise VramplanError(f"{name}: neither the JSON of estimate or plan nor that of a report")
    try:
        return _of_plan(document, name) if planned else _of_estimates(answers, name, tokens)
    except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        kind = "plan" if planned else "estimate"
        raise VramplanError(f"{name}: not the JSON of {kind}: {type(error).__name__} {error}") from None


def is_records(path: str | os.PathLike[str]) -> bool:
    """The file holds measured runs: a JSON object a line, or what `bench run` and `bench show` print with --json."""
    if os.fspath(path).lower().endswith(RECORDS_SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_FILE_BYTES).decode()
        line = text.partition("\n")[0]
        first = json.loads(text if line.strip() == "{" else line)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and ("cell_id" in first or isinstance(first.get("records"), list))


def _of_report(document: dict[str, Any], name: str) -> Scenario:
    """The scenario file that a report came from."""
    project = document.get("project")
    path = project.get("scenario") if isinstance(project, dict) else None
    found = os.path.join(os.path.dirname(name), os.path.basename(path or ""))
    if path and os.path.isfile(found):
        return read_scenario(found)
    raise VramplanError(f"{name}: the report's scenario {path!r} is not beside it")


def _of_estimates(answers: list[dict[str, Any]], name: str, tokens: int | None) -> Scenario:
    """One job, with every method and card that was asked for as a way to run it."""
    cards = [answer["gpu"]["key"] for answer in answers if answer["gpu"] is not None]
    if not cards:
        raise VramplanError(f"{name}: the estimate names no card; ask again with --gpu KEY")
    model, estimates = answers[0]["model"], answers[0]["estimates"]
    said = "as asked for" if tokens else f"an estimate names no amount of work: this is the price of {DEFAULT_TOKENS:,}"
    job = PlannedJob(
        name=model["alias"] or model["id"],
        model=model["id"] if not os.path.exists(str(model["alias"])) else model["alias"],
        stack=estimates[0]["recipe"]["stack"],
        methods=tuple(Recipe(method=estimate["method"]).method for estimate in estimates),  # raises for others
        recipe=_common_recipe([estimate["recipe"] for estimate in estimates]),
        tokens=Guess(value=Decimal(tokens or DEFAULT_TOKENS), reason=said),
    )
    options = ("--tokens", str(tokens)) if tokens else ()
    return replace(_alone(job, tuple(find_gpu(key).key for key in cards), name), options=options)


def _alone(job: PlannedJob, cards: tuple[str, ...], name: str, **more: Any) -> Scenario:
    """A project of one job, dated as the newest price of its cards: a saved answer has no day of its own."""
    day = max((price.date for key in cards for price in prices(key)), default=date(1970, 1, 1))
    note = Statement(text=f"the plan is of {day}", reason="the newest price of its cards: a saved answer has no date")
    return Scenario(
        name=job.name,
        date=day,
        start=day,
        jobs=(job,),
        limits=Limits(gpus=cards, **more),
        path=name,
        statements=(note,),
    )


def _common_recipe(recipes: list[dict[str, Any]]) -> Recipe:
    """The knobs on which all methods agree that have them; where they differ, each has that of its stack."""
    knobs: dict[str, Any] = {}
    for field in fields(Recipe):
        name = field.name
        holders = [recipe for recipe in recipes if _has(recipe, name)]
        values = {json.dumps(recipe[name]) for recipe in holders}
        if name not in _NOT_ASKED and len(values) == 1:
            knobs[name] = holders[0][name]
    return Recipe(method=recipes[0]["method"], **knobs)


def _has(recipe: dict[str, Any], knob: str) -> bool:
    if knob in _OF_ADAPTERS:
        return bool(recipe["method"] != "full")
    if knob in ("quant", "kbit_prep"):
        return bool(recipe["quant"] != "none")
    return knob in recipe


def _of_plan(document: dict[str, Any], name: str) -> Scenario:
    """The cheapest pick as a job; the cards of the other picks are ways to run it too."""
    picks = [pick["plan"] for pick in document["picks"]]
    if not picks:
        raise VramplanError(f"{name}: this plan found no way to do the job, so there is nothing to report")
    model, wishes, first = document["model"], document["wishes"], picks[0]
    job = PlannedJob(
        name=model["alias"] or model["id"],
        model=model["id"],
        stack=document["stack"],
        methods=(Recipe(method=first["method"]).method,),
        recipe=_common_recipe([first["recipe"]]),
        tokens=Guess(value=Decimal(first["cost"]["work"]["tokens"]), reason="all tokens of the saved plan"),
    )
    alike = [plan["gpu"]["key"] for plan in picks if plan["gpu"]["count"] == first["gpu"]["count"]]
    budget_usd, deadline_s = wishes["budget_usd"], wishes["deadline_s"]
    kinds = (first["cost"]["hire"]["price"]["kind"],)
    own = Guess(value=Decimal(first["cost"]["hire"]["price"]["usd_per_hour"])) if kinds == ("own",) else None
    limits = {
        "kinds": ("on_demand",) if own else kinds,
        "usd_per_gpu_hour": own,
        "providers": tuple(wishes["providers"]),
        "regions": tuple(wishes["regions"]),
        "budget_usd": None if budget_usd is None else Decimal(budget_usd),
    }
    found = _alone(job, tuple(dict.fromkeys(find_gpu(key).key for key in alike)), name, **limits)
    if deadline_s is None:
        return found
    return replace(found, limits=replace(found.limits, deadline=found.start + timedelta(seconds=deadline_s)))
