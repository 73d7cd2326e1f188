"""Finds a model by alias, hub id, short name or config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ..errors import UnknownNameError, VramplanError
from ..families import model_from_config
from ..model import Model
from .config_file import looks_like_path, read_config_file
from .files import read_text
from .hub import download_config
from .names import canonical, short_names


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A row of the model table, also of a model that cannot be estimated."""

    id: str
    config: Mapping[str, object]
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
    """A to C, as profiles/README says."""
    stored_dtype: str
    """How the published weights are stored."""
    note: str
    source: str

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    def model(self, *, alias: str | None = None) -> Model:
        """The model's parts; raises UnsupportedError for one that they cannot describe."""
        model = model_from_config(self.config, id=self.id, alias=alias, source=self.source)
        notes = (self.note,) if self.note else ()
        if self.stored_dtype != self.config["dtype"]:
            notes += (f"published weights: {self.stored_dtype}; planned as {self.config['dtype']}",)
        return replace(model, notes=model.notes + notes)


def models() -> Iterator[ModelEntry]:
    """Every model of the table, in its order."""
    return iter(_entries())


def find_model(name: str, *, online: bool = False) -> Model:
    """The model that `name` means: an alias, a hub id, a hub name without its owner, or a path to a config.json.

    `online` also asks the hub. Raises VramplanError, with the nearest names where nothing bears this one.
    """
    if looks_like_path(name):
        return _model_from_file(name)
    entry = _find_entry(name)
    if entry is not None:
        model = entry.model(alias=None if name == entry.id else name)
        twin = next((i for i in entry.same_architecture if i.casefold() == name.casefold()), None)
        return replace(model, notes=(f"{twin} has the shape of {entry.id}", *model.notes)) if twin else model
    if os.path.exists(name):
        return _model_from_file(name)
    if online and "/" in name:
        path, config = read_config_file(download_config(name))
        return model_from_config(config, id=name, source="config.json on the hub")
    raise _unknown(name)


def _model_from_file(name: str) -> Model:
    path, config = read_config_file(name)
    return model_from_config(config, id=path, alias=None if name == path else name, source=path)


@cache
def _entries() -> tuple[ModelEntry, ...]:
    # One document of all lines: parsing 240 lines one by one takes thrice as long.
    rows = json.loads("[" + read_text("models.jsonl").rstrip().replace("\n", ",") + "]")
    return tuple(ModelEntry(**(row | {"same_architecture": tuple(row["same_architecture"])})) for row in rows)


@cache
def aliases() -> Mapping[str, str]:
    """Names people type -> hub id: a choice where a rule would have none."""
    names: dict[str, str] = json.loads(read_text("model_aliases.json"))
    return names


def _find_entry(name: str) -> ModelEntry | None:
    """By hub id, else alias, else short name; None where no name fits or a short name fits two shapes."""
    folded = name.casefold()
    if "/" in name:
        return next((e for e in _entries() if folded in (i.casefold() for i in (e.id, *e.same_architecture))), None)
    wanted = canonical(name)
    target = {canonical(alias): id for alias, id in aliases().items()}.get(wanted)
    if target is not None:
        return next(e for e in _entries() if e.id == target)
    for shorten in (False, True):
        found = [e for e in _entries() if wanted in _spellings(e, shorten)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _spellings(entry: ModelEntry, shorten: bool) -> set[str]:
    return {
        canonical(name)
        for id in (entry.id, *entry.same_architecture)
        for name in (short_names(id) if shorten else (next(iter(short_names(id))),))
    }


def _unknown(name: str) -> VramplanError:
    known = [*aliases(), *(id for entry in _entries() for id in (entry.id, *entry.same_architecture))]
    known += [id.rpartition("/")[2] for id in known if "/" in id]
    hint = "a hub id outside the catalogue needs --online" if name.count("/") == 1 else "`vramplan models` lists them"
    return UnknownNameError("model", name, known, hint=hint)
