"""One measured run, dry or real: what was asked, what the live objects then were, and what was counted.

Records are kept as JSON lines, one run a line, so that files can be appended to, joined and read by anything. A field
that has no value is null, and `absent` says why: never 0 for "not known".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from os import PathLike
from typing import Any, Literal, get_args

from .errors import InvalidValueError, VramplanError

SCHEMA_VERSION = 1
Kind = Literal["dry", "cpu", "cuda"]
Outcome = Literal["ok", "oom", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for. Two runs with equal requests share a `cell_id`, whatever they then found."""

    model: str
    """Hub id or path."""
    layers: int
    """Decoder layers, also where the depth was cut."""
    gpu: str | None
    """Key of the card that ran or was imitated; None on the CPU."""
    recipe: Mapping[str, Any]
    """Every resolved knob (`ResolvedRecipe.as_dict`)."""

    @property
    def cell_id(self) -> str:
        """Stable across machines and versions: a hash of the request alone."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The configuration read back from the live objects, which is what the numbers belong to."""

    elements_by_dtype: Mapping[str, int]
    """Elements of stored tensors by storage type; two 4-bit weights are one uint8."""
    parameters: int
    trainable: int
    quantized: int
    trainable_dtypes: tuple[str, ...]
    attention: str
    checkpointing: bool
    optimizer: str
    """Class, with the form of its step where it has several."""
    optimizer_state_dtypes: Mapping[str, str]
    adapter_targets: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """Peaks while a phase ran. Step 0 is the load."""

    name: str
    step: int
    allocated_bytes: int
    reserved_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One raw step, unaveraged."""

    step: int
    allocated_bytes: int
    reserved_bytes: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run and what came of it. Peaks are those of the steps after the first, where nothing is made once only."""

    kind: Kind
    created: str
    """UTC, ISO 8601."""
    request: Request
    effective: Effective | None
    phases: tuple[PhaseRecord, ...]
    steps: tuple[StepRecord, ...]
    allocated_bytes: int | None
    reserved_bytes: int | None
    device_bytes: int | None
    tokens_per_s: float | None
    outcome: Outcome
    reason: str | None = None
    """Where and why it failed; None for `ok`."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Field that is null -> why."""
    machine: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("allocated_bytes", "reserved_bytes", "device_bytes", "tokens_per_s", "effective"):
            if getattr(self, name) is None and name not in self.absent:
                raise InvalidValueError(
                    f"record {self.cell_id}, {name}", None, "a value, nor is it explained in `absent`"
                )

    @property
    def cell_id(self) -> str:
        return self.request.cell_id

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema_version": SCHEMA_VERSION, "cell_id": self.cell_id, **asdict(self)}


def write_records(path: str | PathLike[str], records: Iterable[Record]) -> None:
    """Append records to a file of JSON lines."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record.as_dict(), separators=(",", ":"), ensure_ascii=False) + "\n")
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None


def read_records(path: str | PathLike[str]) -> Iterator[Record]:
    """The records of a file of JSON lines; errors name file, line and key."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise VramplanError(f"{path}: not a text file") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                values = json.loads(line)
            except ValueError:
                raise VramplanError(f"{where}: not JSON") from None
            yield record_from(values, where)


def record_from(values: object, where: str) -> Record:
    """A record from its JSON; `where` names it in errors."""
    v = _object(values, where)
    version = v.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InvalidValueError(
            f"{where}, schema_version", version, f"{SCHEMA_VERSION}, the one that this version reads"
        )
    cell_id = v.pop("cell_id", None)
    if v.get("kind") not in get_args(Kind):
        raise InvalidValueError(f"{where}, kind", v.get("kind"), "one of " + ", ".join(get_args(Kind)))
    if v.get("outcome") not in get_args(Outcome):
        raise InvalidValueError(f"{where}, outcome", v.get("outcome"), "one of " + ", ".join(get_args(Outcome)))
    v["request"] = _build(Request, v.get("request"), f"{where}, request")
    if v.get("effective") is not None:
        v["effective"] = _build(Effective, v["effective"], f"{where}, effective")
    v["phases"] = _each(PhaseRecord, v.get("phases"), f"{where}, phases")
    v["steps"] = _each(StepRecord, v.get("steps"), f"{where}, steps")
    record: Record = _build(Record, v, where)
    if cell_id != record.cell_id:
        raise InvalidValueError(f"{where}, cell_id", cell_id, f"the id of this request, {record.cell_id}")
    return record


def _object(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise VramplanError(f"{where}: holds a JSON {type(values).__name__}, not an object")
    return dict(values)


def _each(kind: type[Any], values: object, where: str) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise InvalidValueError(where, values, "a list")
    return tuple(_build(kind, value, f"{where}[{i}]") for i, value in enumerate(values))


_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "int | None": (int, type(None)), "str | None": (str, type(None)),
    "float | None": (int, float, type(None)),
}  # fmt: skip


def _build(kind: type[Any], values: object, where: str) -> Any:
    """A dataclass from its JSON object: every key known, every required one there, plain values of the right type."""
    given = _object(values, where)
    known = {f.name: f for f in fields(kind)}
    unknown = [key for key in given if key not in known]
    if unknown:
        raise VramplanError(f"{where}: unknown key {unknown[0]!r}")
    for name, value in given.items():
        types = _PLAIN.get(str(known[name].type))
        if types is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise InvalidValueError(f"{where}, {name}", value, f"of type {known[name].type}")
        if str(known[name].type).startswith("Mapping") and not isinstance(value, dict):
            raise InvalidValueError(f"{where}, {name}", value, "an object")
        if str(known[name].type) == "tuple[str, ...]":
            given[name] = tuple(value)
    try:
        return kind(**given)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise VramplanError(f"{where}: missing {missing or error}") from None
