"""Finds a model by alias, hub id, short name or config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ..errors import UnknownNameError, VramplanError
from ..families import model_from_config
from ..model import Model
from .config_file import looks_like_path, read_config_file
from .files import shipped_text
from .names import canonical, short_names


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A row of the model table, also of a model that cannot be estimated."""

    id: str
    config: Mapping[str, Any]
    """The keys of the hub's config.json that define the shape."""
    same_architecture: tuple[str, ...]
    """Hub ids of models with this very shape."""
    published_total_params: int | None
    """What the hub shows; it may count buffers, towers and layers that a fine-tune does not load."""
    computed_params: int
    """What transformers loads as a causal language model, tied weights once."""
    check_ok: str
    """exact, explained (see `check_note`) or no_published."""
    check_note: str
    confidence: str
    """A: count and shape agree with independent copies … C: neither could be compared."""
    stored_dtype: str
    """How the published weights are stored."""
    note: str
    source: str

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.id, *self.same_architecture)

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    def model(self, *, alias: str | None = None) -> Model:
        """The model's parts; raises UnsupportedError for one that they cannot describe."""
        model = model_from_config(self.config, id=self.id, alias=alias, source=self.source)
        notes = [self.note] if self.note else []
        if self.stored_dtype != self.config["dtype"]:
            notes.append(f"published weights: {self.stored_dtype}; planned as {self.config['dtype']}")
        return replace(model, notes=(*model.notes, *notes))


def models() -> Iterator[ModelEntry]:
    """Every model of the table, in its order."""
    return iter(_entries())


@cache
def aliases() -> Mapping[str, str]:
    """Names people type -> hub id: a choice where a rule would have none."""
    names: dict[str, str] = json.loads(shipped_text("model_aliases.json"))
    return names


def find_model(name: str, *, online: bool = False) -> Model:
    """The model that `name` means: an alias, a hub id, a hub name without its owner, or a path to a config.json.

    `online` also asks the hub. Raises VramplanError, with the nearest names where nothing bears this one, and
    UnsupportedError for a model that the parts cannot describe.
    """
    found = _find(name, online=online)
    if isinstance(found, ModelEntry):
        return _described(found, name)
    id, config, source = found
    return model_from_config(config, id=id, alias=None if name == id else name, source=source)


def find_config(name: str, *, online: bool = False) -> tuple[str, Mapping[str, Any]]:
    """Id and config.json figures of the model that `name` means, also where it cannot be described."""
    found = _find(name, online=online)
    return (found.id, found.config) if isinstance(found, ModelEntry) else found[:2]


def _find(name: str, *, online: bool) -> ModelEntry | tuple[str, Mapping[str, Any], str]:
    """A row of the table, or id, config and source of a file."""
    if looks_like_path(name):
        return _read(name)
    found = _find_entries(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise VramplanError(f"model {name!r} is ambiguous: " + ", ".join(entry.id for entry in found))
    if os.path.exists(name):
        return _read(name)
    if online and name.count("/") == 1:
        from .hub import download_config

        return name, read_config_file(download_config(name))[1], "config.json on the hub"
    raise _unknown(name)


def _read(name: str) -> tuple[str, Mapping[str, Any], str]:
    path, config = read_config_file(name)
    return path, config, path


def _described(entry: ModelEntry, name: str) -> Model:
    model = entry.model(alias=None if name == entry.id else name)
    twin = next((id for id in entry.same_architecture if id.casefold() == name.casefold()), None)
    return replace(model, notes=(f"{twin} has the shape of {entry.id}", *model.notes)) if twin else model


@cache
def _entries() -> tuple[ModelEntry, ...]:
    # One document of all lines: parsing the lines one by one takes thrice as long.
    rows = json.loads("[" + shipped_text("models.jsonl").rstrip().replace("\n", ",") + "]")
    return tuple(ModelEntry(**{**row, "same_architecture": tuple(row["same_architecture"])}) for row in rows)


def _find_entries(name: str) -> list[ModelEntry]:
    """By alias, else hub id, else short name; one entry where the name is unambiguous, none where nothing bears it."""
    wanted = canonical(name)
    for alias, id in aliases().items():
        if name == alias or wanted == canonical(alias):
            return [entry for entry in _entries() if entry.id == id]
    if "/" in name:
        folded = name.casefold()
        return [entry for entry in _entries() if any(folded == id.casefold() for id in entry.ids)]
    for suffixes in (False, True):
        found = [entry for entry in _entries() if _is_called(entry, wanted, suffixes)]
        if found:
            return found
    return []


def _is_called(entry: ModelEntry, wanted: str, suffixes: bool) -> bool:
    """`suffixes`: also without -hf, -base and the like."""
    return any(wanted == canonical(short) for id in entry.ids for short in short_names(id, strip=suffixes))


def _unknown(name: str) -> VramplanError:
    ids = [id for entry in _entries() for id in entry.ids]
    known = [*aliases(), *ids, *(id.rpartition("/")[2] for id in ids)]
    hint = "a hub id outside the catalogue needs --online" if name.count("/") == 1 else "`vramplan models` lists them"
    return UnknownNameError("model", name, known, hint=hint)
