"""Reads a scenario file, TOML or YAML. Whatever is wrong with it is said at once: file, line, key, the nearest right
thing. Paths inside a file count from its own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from typing import Any

from ..errors import VramplanError, one_line
from ..files import read_text
from ..price import Kind
from ..recipe import METHODS, Method, Recipe
from .keys import SCENARIO
from .kinds import Findings, Path
from .lines import Lines, toml_lines, yaml_lines
from .scenario import DEFAULT_STACK, Habits, Limits, OtherLine, PlannedJob, Scenario, Statement

LARGEST_FILE_BYTES = 4 * 2**20
SUFFIXES = (".toml", ".yaml", ".yml")
DEFAULT_KINDS: tuple[Kind, ...] = ("on_demand",)


class ScenarioError(VramplanError):
    """Everything that is wrong with a file, a line each, in the order of the file."""

    def __init__(self, path: str, mistakes: list[tuple[int | None, str]]) -> None:
        ordered = sorted(mistakes, key=lambda mistake: mistake[0] or 0)
        said = [f"{path}:{line}: {message}" if line else f"{path}: {message}" for line, message in ordered]
        count = f"{path}: {len(said)} mistakes\n  " if len(said) > 1 else ""
        super().__init__(count + "\n  ".join(said))
        self.mistakes = tuple(said)


def read_scenario(path: str | os.PathLike[str]) -> Scenario:
    """The scenario in a file. Raises ScenarioError with every mistake, VramplanError where it cannot be read at all."""
    name = os.fspath(path)
    values, lines = _parsed(name, _text(name))
    return scenario_from(values, name, lines)


def scenario_from(values: Any, name: str, lines: Lines | None = None) -> Scenario:
    """The scenario in plain data; `name` names it in errors. Raises ScenarioError."""
    findings = Findings()
    read = SCENARIO.read(values, (), findings)
    _check(read, values, os.path.dirname(name), findings)
    if findings.found:
        where = lines or Lines({})
        raise ScenarioError(name, [(where.of(at), _placed(at, message, values)) for at, message in findings.found])
    return _scenario(read, name)


def _text(name: str) -> str:
    if os.path.splitext(name)[1].lower() not in SUFFIXES:
        raise VramplanError(f"{name}: a scenario is a file that ends in .toml, .yaml or .yml")
    hint = "; `vramplan report init` writes one to start from"
    return read_text(name, "a scenario", LARGEST_FILE_BYTES, if_empty=hint).replace("\r\n", "\n")


def _parsed(name: str, text: str) -> tuple[Any, Lines]:
    if name.lower().endswith(".toml"):
        import tomllib

        try:
            return tomllib.loads(text, parse_float=Decimal), toml_lines(text)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
            place = re.search(r"\(at line (\d+), column \d+\)", str(error))
            line = f":{place[1]}" if place else ""
            raise VramplanError(f"{name}{line}: not TOML: {one_line(str(error).partition(' (at ')[0], 80)}") from None
    try:
        from ..intake.yaml_file import parse_yaml
    except ImportError as error:
        raise VramplanError(f"{name}: YAML needs PyYAML: pip install pyyaml; TOML needs nothing") from error
    return parse_yaml(name, text)[0], yaml_lines(text)


def _placed(at: Path, message: str, values: Any) -> str:
    """`job "tune 8B", recipe.batch: message`: the key as it is typed, and the row by its name."""
    words: list[str] = []
    for depth, part in enumerate(at):
        if isinstance(part, int):
            row = _at(values, at[: depth + 1])
            called = row.get("name") or row.get("label") if isinstance(row, dict) else None
            words[-1] += f" {str(called)[:60]!r}" if called else f" {part + 1}"
            words[-1] += "," if depth < len(at) - 1 else ""
        else:
            words.append(str(part)[:60])
    shown = ""
    for word in words:
        joint = "" if not shown else " " if shown.endswith(",") else "."
        shown += joint + word
    return f"{shown}: {message}" if shown else message


def _at(values: Any, path: Path) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _check(read: dict[str, Any], values: Any, folder: str, findings: Findings) -> None:
    """What no single value tells: names of the catalogue, keys that go together, days in order. A value that was
    found wrong is not in `read`; that its key is there is in `values`."""
    project, limits = read.get("project", {}), read.get("limits", {})
    start, deadline = project.get("start", project.get("date")), limits.get("deadline")
    if start and deadline and deadline < start:
        findings.add(("limits", "deadline"), f"{deadline} lies before the first day of work, {start}")
    _check_names(limits.get("gpus", ()), ("limits", "gpus"), _card, findings)
    _check_providers(limits, findings)
    seen: dict[str, int] = {}
    for position, job in enumerate(read.get("job", ())):
        at: Path = ("job", position)
        if seen.setdefault(job.get("name", f"\0{position}"), position) != position:
            findings.add((*at, "name"), f"a second job called {job['name']!r}")
        given = _at(values, at)
        if isinstance(given, dict):
            _check_together(given, at, findings)
        _check_job(job, at, folder, findings)
    for position, name in enumerate(project.get("records", ())):
        _check_file(name, folder, ("project", "records", position), findings, _records)


def _check_together(given: dict[str, Any], at: Path, findings: Findings) -> None:
    ways = [key for key in ("tokens", "examples", "data") if key in given]
    if len(ways) != 1:
        said = "only one of" if ways else "how much is to be trained is missing: one of"
        findings.add((*at, ways[1]) if ways else at, f"{said} tokens, examples with length, data")
    for one, other in (("examples", "length"), ("sweep_runs", "sweep_share"), ("every_days", "times")):
        if (one in given) != (other in given):
            there = one if one in given else other
            findings.add((*at, there), f"{one} and {other} go together")
    if "tokenizer" in given and "data" not in given:
        findings.add((*at, "tokenizer"), "goes with data")


def _check_job(job: dict[str, Any], at: Path, folder: str, findings: Findings) -> None:
    from ..catalog import NO_PROFILE, find_model, find_profile, find_stack
    from ..data.files import data_format

    if "model" in job:
        _check_names((model_name(job["model"], folder),), (*at, "model"), find_model, findings)
    _check_names((job.get("stack", DEFAULT_STACK),), (*at, "stack"), find_stack, findings)
    _check_names(job.get("gpus", ()), (*at, "gpus"), _card, findings)
    if job.get("profile") not in (None, NO_PROFILE):
        _check_names((job["profile"],), (*at, "profile"), find_profile, findings)
    for key, read in (("data", data_format), ("tokenizer", None)):
        if key in job:
            _check_file(job[key], folder, (*at, key), findings, read)
    try:
        _recipe(job)
    except VramplanError as error:
        findings.add((*at, "recipe"), str(error))


def _check_file(
    name: str, folder: str, at: Path, findings: Findings, read: Callable[[str], object] | None = None
) -> None:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        findings.add(at, f"no such file: {path}")
    elif read is not None:
        try:
            read(path)
        except VramplanError as error:
            findings.add(at, str(error))


def _records(path: str) -> None:
    from ..accuracy import read_files

    read_files((path,))


def _check_names(names: tuple[str, ...], at: Path, find: Callable[[str], object], findings: Findings) -> None:
    for position, name in enumerate(names):
        try:
            find(name)
        except VramplanError as error:
            findings.add((*at, position) if len(names) > 1 else at, str(error))


def _card(name: str) -> object:
    from ..catalog import find_gpu

    gpu = find_gpu(name)
    if not gpu.cuda:
        raise VramplanError(f"{name!r} runs no CUDA; only such cards are described")
    return gpu


def _check_providers(limits: dict[str, Any], findings: Findings) -> None:
    from ..catalog import prices
    from ..errors import UnknownNameError

    asked = limits.get("providers", ())
    if not asked:
        return
    known = {price.provider for price in prices()}
    for position, name in enumerate(asked):
        if name not in known:
            where: Path = ("limits", "providers", position) if len(asked) > 1 else ("limits", "providers")
            findings.add(where, str(UnknownNameError("provider", name, known)))


def model_name(name: str, folder: str) -> str:
    """A model as the catalogue finds it; a path counts from the scenario's folder."""
    local = os.path.join(folder, name)
    return local if folder and os.path.exists(local) else name


def _recipe(job: dict[str, Any]) -> Recipe:
    knobs = dict(job.get("recipe", {}))
    if "lora_dropout" in knobs:
        knobs["lora_dropout"] = float(knobs["lora_dropout"])
    methods: tuple[Method, ...] = job.get("method", ()) or METHODS
    return Recipe(method=methods[0], **knobs)


def _scenario(read: dict[str, Any], name: str) -> Scenario:
    project, folder = read["project"], os.path.dirname(name)
    return Scenario(
        name=project["name"],
        date=project["date"],
        start=project.get("start", project["date"]),
        jobs=tuple(_job(job, folder) for job in read["job"]),
        limits=_limits(read["limits"]),
        path=name,
        owner=project.get("owner", ""),
        summary=project.get("summary", ""),
        records=tuple(os.path.join(folder, record) for record in project.get("records", ())),
        contingency=read.get("contingency"),
        habits=Habits(**read.get("habits", {})),
        others=tuple(OtherLine(**line) for line in read.get("line", ())),
        statements=tuple(Statement(**row) for row in read.get("assumption", ())),
        **read.get("electricity", {}),
    )


def _limits(read: dict[str, Any]) -> Limits:
    from ..catalog import find_gpu

    keys = tuple(dict.fromkeys(find_gpu(name).key for name in read["gpus"]))
    return Limits(**(read | {"gpus": keys, "kinds": read.get("kinds", DEFAULT_KINDS)}))


def _job(read: dict[str, Any], folder: str) -> PlannedJob:
    from ..catalog import find_gpu

    known = {field.name for field in fields(PlannedJob)} - {"recipe"}
    given = {key: value for key, value in read.items() if key in known}
    for key in ("data", "tokenizer"):
        if key in given:
            given[key] = os.path.join(folder, given[key])
    given["model"] = model_name(read["model"], folder)
    given["gpus"] = tuple(dict.fromkeys(find_gpu(name).key for name in read.get("gpus", ())))
    return PlannedJob(stack=given.pop("stack", DEFAULT_STACK), methods=read["method"], recipe=_recipe(read), **given)
