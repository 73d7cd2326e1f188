"""What measured runs of one card and one stack taught: a few physical constants, each with its error, and how far off
the planner then was on models that it had not seen. Made by `vramplan calibrate`, kept as JSON, read here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from .errors import InvalidValueError
from .files import read_object, save_text
from .from_json import build_part, json_object, known_keys

SCHEMA_VERSION = 1
LARGEST_FILE_BYTES = 4 * 2**20
CONSTANTS: dict[str, str] = {
    "context_bytes": "B",
    "workspace_bytes": "B",
    "reserved_elasticity": "1",
    "edge_elasticity": "1",
    "matmul_efficiency": "1",
    "memory_efficiency": "1",
    "launch_s": "s",
    "communication_efficiency": "1",
}
"""Constant -> unit.

    context_bytes        what the driver, kernels and libraries take outside the allocator
    workspace_bytes      what libraries take outside the allocator beyond the context, once a step has run
    reserved_elasticity  share of the buffers that phases do not share which the allocator keeps when nothing presses it
    edge_elasticity      reserved over allocated bytes when the card is full
    matmul_efficiency    achieved share of the card's dense matrix peak
    memory_efficiency    achieved share of its memory bandwidth
    launch_s             time of one operator that has nothing to do
"""
TIERS = ("allocated", "reserved", "device", "edge", "tokens_per_s")
"""What intervals and errors are of; `edge`: reserved bytes over the allocated estimate, on a full card."""
RANGES = ("parameters", "batch", "seq_len", "allocated_bytes")
"""What a profile says it spans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A fitted number with its standard error, in the same unit, from so many runs."""

    value: float
    standard_error: float
    unit: str
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Relative residuals, measured / predicted - 1, of predictions for models that were left out of the fit: with
    probability `level` that of one run more lies between `low` and `high`."""

    level: float
    low: float
    high: float
    records: int
    models: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Sizes of relative errors, predicted / measured - 1, of the runs that were fitted and with each model left out."""

    records: int
    uncalibrated_median: float
    in_sample_median: float
    held_out_median: float
    held_out_worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Constants of one card and stack. Sizes in bytes of one GPU."""

    name: str
    gpu_key: str
    stack: str
    created: str
    """Day, ISO 8601."""
    constants: Mapping[str, Constant]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Constant that the runs cannot tell -> why; the planner's own value then stands."""
    quantiles: Mapping[str, Interval] = field(default_factory=dict)
    """Tier -> interval of its residuals."""
    errors: Mapping[str, Errors] = field(default_factory=dict)
    """Tier -> how far off the fit was."""
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """What the runs span, of RANGES; beyond it an answer is an extrapolation."""
    methods: tuple[str, ...] = ()
    """Ways of training among the runs."""
    models: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    source: str = ""
    """The files that the runs came from."""

    def constant(self, name: str) -> float | None:
        """The value of a constant, or None where the runs could not tell it."""
        found = self.constants.get(name)
        return None if found is None else found.value

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def read_profile(path: str | os.PathLike[str]) -> Profile:
    """The profile in a file; errors name file and key."""
    name = os.fspath(path)
    return profile_from(read_object(name, "a profile", LARGEST_FILE_BYTES), name)


def write_profile(path: str | os.PathLike[str], profile: Profile) -> None:
    """Write a profile, whole or not at all; folders are made."""
    save_text(os.fspath(path), json.dumps(profile.as_dict(), indent=1, ensure_ascii=False) + "\n")


def profile_from(values: object, where: str) -> Profile:
    """A profile from its JSON; `where` names it in errors."""
    v = json_object(values, where)
    version = v.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InvalidValueError(
            f"{where}, schema_version", version, f"{SCHEMA_VERSION}, the one that this version reads"
        )
    v["constants"] = _table(Constant, v.get("constants"), tuple(CONSTANTS), f"{where}, constants")
    for name, constant in v["constants"].items():
        _check_constant(name, constant, f"{where}, constants.{name}")
    v["quantiles"] = _table(Interval, v.get("quantiles", {}), TIERS, f"{where}, quantiles")
    for name, interval in v["quantiles"].items():
        if not (0 < interval.level < 1 and -1 < interval.low <= interval.high):
            raise InvalidValueError(f"{where}, quantiles.{name}", (interval.low, interval.high), "an interval above -1")
    v["errors"] = _table(Errors, v.get("errors", {}), TIERS, f"{where}, errors")
    v["ranges"] = known_keys(v.get("ranges", {}), RANGES, f"{where}, ranges")
    v["ranges"] = {key: _range(value, f"{where}, ranges.{key}") for key, value in v["ranges"].items()}
    v["refused"] = known_keys(v.get("refused", {}), tuple(CONSTANTS), f"{where}, refused")
    profile: Profile = build_part(Profile, v, where)
    try:
        date.fromisoformat(profile.created)
    except ValueError:
        raise InvalidValueError(f"{where}, created", profile.created, "a day like 2026-11-22") from None
    return profile


def _check_constant(name: str, constant: Constant, where: str) -> None:
    if constant.unit != CONSTANTS[name]:
        raise InvalidValueError(f"{where}, unit", constant.unit, repr(CONSTANTS[name]))
    positive = name in ("edge_elasticity", "matmul_efficiency", "memory_efficiency", "communication_efficiency")
    if not constant.value >= 0 or (positive and constant.value == 0):
        raise InvalidValueError(f"{where}, value", constant.value, "a number above 0" if positive else "0 or more")
    if not constant.standard_error >= 0:
        raise InvalidValueError(f"{where}, standard_error", constant.standard_error, "0 or more")


def _table(kind: type[Any], values: object, known: tuple[str, ...], where: str) -> dict[str, Any]:
    named = known_keys(values, known, where)
    return {name: build_part(kind, value, f"{where}.{name}") for name, value in named.items()}


def _range(value: object, where: str) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(end) is int for end in value)):
        raise InvalidValueError(where, value, "two whole numbers")
    return value[0], value[1]
