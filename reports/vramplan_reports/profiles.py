"""Fitted profiles: a list, one with all that it holds, two side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from vramplan.profile import CONSTANTS, Profile

from .catalogue import Listing
from .document import opening
from .figures import constant, gib, share
from .sheet import Block, Cell, Column, Heading, Items, Lines, Sheet, Table

_SHOWN_IDS = 6


def interval(profile: Profile, tier: str) -> str:
    found = profile.quantiles.get(tier)
    return f"{share(found.low, '+')} {share(found.high, '+')}" if found else "-"


def _cells(profile: Profile) -> tuple[str, ...]:
    counts = str(len(profile.record_ids)), str(len(profile.models))
    return profile.name, profile.gpu_key, profile.stack, *counts, interval(profile, "device")


class _List(Listing[Profile]):
    """The list says what to do where it is empty."""

    def sheet(self, rows: Sequence[Profile], /) -> Sheet:
        if not rows:
            return (Lines((Cell("No profiles. `vramplan calibrate RECORDS` makes one from measured runs."),)),)
        return Listing.sheet(self, rows)


LISTING = _List(
    name="profiles",
    columns=(
        Column("profile", whole=True), Column("card", whole=True), Column("stack"), Column("runs", "right", True),
        Column("models", "right", True), Column("device, 90 %", "right", True),
    ),
    cells=_cells,
    record=Profile.as_dict,
    hint="--show NAME tells one, --compare A B two.",
)  # fmt: skip


class _Detail:
    """One profile."""

    def sheet(self, profile: Profile, /) -> Sheet:
        blocks: list[Block] = [
            Heading(f"{profile.name}: {profile.gpu_key} with {profile.stack}, {profile.created}"),
            constants_table((profile,)),
        ]
        if profile.refused:
            blocks.append(Items(refusals(profile)))
        blocks += [_errors(profile), _ranges(profile)]
        ids = ", ".join(profile.record_ids[:_SHOWN_IDS]) + (", …" if len(profile.record_ids) > _SHOWN_IDS else "")
        blocks.append(
            Lines(
                (
                    Cell(f"models: {', '.join(profile.models)}"),
                    Cell(f"{len(profile.record_ids)} runs of {profile.source or 'no file'}: {ids}", "dim"),
                )
            )
        )
        return tuple(blocks)

    def document(self, profile: Profile, /) -> dict[str, Any]:
        return opening() | {"profile": profile.as_dict()}


def refusals(profile: Profile) -> tuple[str, ...]:
    """Constants that the runs could not tell, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, why in profile.refused.items():
        reasons.setdefault(why, []).append(_label(name))
    return tuple(f"{', '.join(names)}: {why}" for why, names in reasons.items())


def _label(name: str) -> str:
    """context_bytes -> context: the unit stands with the number."""
    return name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def constants_table(profiles: tuple[Profile, ...]) -> Table:
    """Constants with their standard errors, profile beside profile."""
    columns = [Column("constant", whole=True)]
    for profile in profiles:
        title = profile.name if len(profiles) > 1 else "value"
        columns += [Column(title, "right"), Column("±", "right", True), Column("runs", "right", True)]
    rows = [
        (Cell(_label(name)), *(cell for profile in profiles for cell in _constant(profile, name)))
        for name in CONSTANTS
        if any(name in profile.constants for profile in profiles)
    ]
    return Table(columns=tuple(columns), rows=tuple(rows))


def _constant(profile: Profile, name: str) -> tuple[Cell, ...]:
    found = profile.constants.get(name)
    return (Cell("-"), Cell(""), Cell("")) if found is None else tuple(map(Cell, constant(found)))


def _errors(profile: Profile) -> Table:
    titles = ("runs", "without", "fitted", "left out", "worst", "90 %")
    rows = tuple(
        (
            Cell(tier),
            Cell(str(found.records)),
            Cell(share(found.uncalibrated_median)),
            Cell(share(found.in_sample_median)),
            Cell(share(found.held_out_median)),
            Cell(share(found.held_out_worst, "+")),
            Cell(interval(profile, tier)),
        )
        for tier, found in profile.errors.items()
    )
    return Table(columns=(Column("median error, %"), *(Column(title, "right", True) for title in titles)), rows=rows)


def _ranges(profile: Profile) -> Table:
    def said(name: str, size: int) -> str:
        return f"{gib(size)} GiB" if name.endswith("_bytes") else f"{size:,}"

    rows = [
        (Cell(name.removesuffix("_bytes").replace("_", "-")), *(Cell(said(name, end)) for end in span))
        for name, span in profile.ranges.items()
    ]
    rows.append((Cell("methods"), Cell(", ".join(profile.methods)), Cell("")))
    return Table(columns=(Column("spans"), Column("from", "right"), Column("to", "right")), rows=tuple(rows))


class _Comparison:
    """Two profiles side by side."""

    def sheet(self, pair: tuple[Profile, ...], /) -> Sheet:
        first, second = pair
        tiers = [tier for tier in (*first.errors, *second.errors) if tier in first.errors or tier in second.errors]
        errors = tuple(
            (Cell(tier), *(cell for p in pair for cell in self._error(p, tier))) for tier in dict.fromkeys(tiers)
        )
        heads = [column for p in pair for column in (Column(p.name, "right"), Column("90 %", "right", True))]
        return (
            Heading(f"{first.name} and {second.name}"),
            constants_table(pair),
            Table(columns=(Column("left out, median %"), *heads), rows=errors),
            Lines(
                tuple(
                    Cell(f"{p.name}: {p.gpu_key} with {p.stack}, {len(p.record_ids)} runs, {p.created}") for p in pair
                )
            ),
        )

    def _error(self, profile: Profile, tier: str) -> tuple[Cell, Cell]:
        found = profile.errors.get(tier)
        return Cell(share(found.held_out_median) if found else "-"), Cell(interval(profile, tier))

    def document(self, pair: tuple[Profile, ...], /) -> dict[str, Any]:
        return opening() | {"profiles": [profile.as_dict() for profile in pair]}


class _Removal:
    """The file that is gone."""

    def sheet(self, path: str, /) -> Sheet:
        return (Lines((Cell(f"removed: {os.path.basename(path)}, from {os.path.dirname(path)}"),)),)

    def document(self, path: str, /) -> dict[str, Any]:
        return opening() | {"removed": path}


DETAIL, COMPARISON, REMOVAL = _Detail(), _Comparison(), _Removal()
