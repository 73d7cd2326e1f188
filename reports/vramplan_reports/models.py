"""Models of the catalogue, under every name that has their shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vramplan.catalog import ModelEntry
from vramplan.model import Model

from .catalogue import Detail, Listing
from .document import model_document
from .figures import many
from .sheet import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """One hub id of the catalogue."""

    id: str
    aliases: tuple[str, ...]
    """Short names that mean this id."""
    entry: ModelEntry
    """The row that holds its shape, which may bear another id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownModel:
    """A model that somebody asked to see, with its row of the catalogue where it has one."""

    model: Model
    entry: ModelEntry | None


def named_models(entries: Iterable[ModelEntry], aliases: Mapping[str, str]) -> Iterator[NamedModel]:
    """Every hub id, row by row."""
    short: dict[str, tuple[str, ...]] = {}
    for alias, id in aliases.items():
        if "/" not in alias:
            short[id] = (*short.get(id, ()), alias)
    for entry in entries:
        for id in (entry.id, *entry.same_architecture):
            yield NamedModel(id=id, aliases=short.get(id, ()), entry=entry)


def _listed(named: NamedModel) -> dict[str, Any]:
    return {
        "id": named.id,
        "aliases": list(named.aliases),
        "model_type": named.entry.model_type,
        "parameters": named.entry.computed_params,
        "same_shape_as": named.entry.id,
    }


def _shown(shown: ShownModel) -> dict[str, Any]:
    record = model_document(shown.model) | _shape(shown.model)
    if shown.entry is None:
        return record
    entry = shown.entry
    return record | {
        "published_parameters": entry.published_total_params,
        "parameters_check": f"{entry.check_ok}: {entry.check_note}" if entry.check_note else entry.check_ok,
        "confidence": entry.confidence,
        "same_shape": list(entry.same_architecture),
    }


def _shape(model: Model) -> dict[str, Any]:
    """Every run of equal layers in one line."""
    lines = []
    for block in model.blocks:
        attention = block.attention
        window = f", window {attention.window}" if attention.window else ""
        matrices = ", ".join(f"{m.name} {m.outputs}×{m.inputs}" for m in block.linears)
        lines.append(f"{block.count} × {attention.heads} heads, {attention.kv_heads} kv heads{window}: {matrices}")
    return {"blocks": lines}


LISTING = Listing(
    name="models",
    columns=(Column("model", whole=True), Column("parameters", "right"), Column("short name")),
    cells=lambda named: (named.id, many(named.entry.computed_params), named.aliases[0] if named.aliases else ""),
    record=_listed,
    hint="--show MODEL tells all of one.",
)

DETAIL = Detail(name="model", title=lambda shown: shown.model.alias or shown.model.id, record=_shown)
