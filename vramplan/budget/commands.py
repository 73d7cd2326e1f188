"""Command lines with which a reader gets the figures of a report again, typed in the folder of the scenario: so that
a report does not depend on where its scenario lies."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields

from ..recipe import Recipe
from .result import Command, Way
from .scenario import DEFAULT_STACK, PlannedJob, Scenario

_PLAIN = Recipe()


def recipe_options(job: PlannedJob, way: Way) -> list[str]:
    """The options that make the recipe of a way: card, method, and the knobs that the scenario decides."""
    words = ["--gpu", way.gpu.key, "--method", way.recipe.method]
    if job.stack != DEFAULT_STACK:
        words += ["--stack", job.stack]
    if job.profile is not None:
        words += ["--profile", job.profile]
    for field in fields(Recipe):
        value, knob = getattr(job.recipe, field.name), field.name.replace("_", "-")
        if field.name == "method" or value == getattr(_PLAIN, field.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{knob}" if value else f"--no-{knob}")
        else:
            words += [f"--{knob}", f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def job_commands(plan: Scenario, job: PlannedJob, way: Way) -> tuple[Command, ...]:
    """For the figures of one job."""
    recipe = [beside(plan, job.model), *recipe_options(job, way)]
    found = [
        Command(what="memory, verdict, speed", text=_line("estimate", *recipe)),
        Command(what="every term of memory", text=_line("explain", *recipe)),
        Command(what="largest batch and length", text=_line("fit", *recipe)),
        Command(what="prices", text=_line("prices", "--gpu", way.gpu.key)),
    ]
    if job.data is not None:
        words = ["--tokenizer", beside(plan, job.tokenizer)] if job.tokenizer else []
        found.append(Command(what="tokens of the data file", text=_line("data", beside(plan, job.data), *words)))
    return tuple(found)


def project_commands(scenario: Scenario) -> tuple[Command, ...]:
    """For the report as a whole."""
    build = ("report", "build", os.path.basename(scenario.path), *scenario.options)
    found = [
        Command(what="this report as data", text=_line(*build, "--json")),
        Command(what="this page", text=_line(*build, "-o", "report.html")),
    ]
    records = [beside(scenario, path) for path in scenario.records]
    if records:
        found.append(Command(what="measured against predicted", text=_line("accuracy", *records)))
    return tuple(found)


def beside(plan: Scenario, path: str) -> str:
    """A path as it is named from the scenario's folder; a name that is no path stays."""
    folder = os.path.dirname(plan.path)
    return os.path.relpath(path, folder) if folder and path.startswith(folder + os.sep) else path


def _line(*words: str) -> str:
    return shlex.join(("vramplan", *words))
