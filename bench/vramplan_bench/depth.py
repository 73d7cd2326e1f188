"""Two depths and a straight line: a decoder's layers are alike, so what a step holds is linear in their number.

A peak is not: it is the largest of several moments, each of them linear. So the line is drawn for each part of each
phase (before the layers, each layer counted from the first and from the last, behind them), and the largest is taken
at the depth asked for. Within the stack what is held changes by the same amount from layer to layer, so no layer
between the ends can exceed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vramplan.record import Effective

from .roles import Facts
from .timeline import AliveGroup, Part, Peak

_LISTED_KINDS = ("layer_types", "mlp_layer_types", "no_rope_layers", "attention_layers")
_ATTENTION_TYPES = {"full_attention", "sliding_attention", "chunked_attention"}


def shallow_line(config: Any, seq_len: int) -> Line | None:
    """Two depths that tell that of `config`; None where running all layers is no more work."""
    text = config.get_text_config()
    if getattr(text, "num_kv_shared_layers", 0):
        return None  # the last layers read keys and values of particular ones before them (Gemma 4)
    total = int(text.num_hidden_layers)
    kinds = _kinds(text, total, seq_len)
    for period in range(1, total // 2):
        prefix = next(n for n in range(total) if all(kinds[i] == kinds[i + period] for i in range(n, total - period)))
        low = max(prefix + (3 if period == 1 else 2 * period), _all_seen(text, total))
        low += (total - low) % period
        if 2 * low + period < total:
            return Line(low=low, high=low + period, total=total, prefix=prefix)
    return None


def _all_seen(text: Any, total: int) -> int:
    """Layers until every type of layer has come: some types bring rotary tables of their own, whatever the length."""
    types = getattr(text, "layer_types", None)
    if not isinstance(types, list) or len(types) != total:
        return 0
    return max(types.index(kind) for kind in set(types)) + 1


def _kinds(text: Any, total: int, seq_len: int) -> list[tuple[Any, ...]]:
    """What tells one layer from another, layer by layer."""
    window = getattr(text, "sliding_window", None) or getattr(text, "attention_chunk_size", None)
    listed = []
    for name in _LISTED_KINDS:
        value = getattr(text, name, None)
        if not isinstance(value, list) or len(value) != total:
            continue
        alike = not getattr(text, "per_layer_config", None)  # else heads may differ (Gemma 4)
        if name == "layer_types" and alike and set(value) <= _ATTENTION_TYPES and (not window or seq_len < window):
            continue  # a window that the text does not fill changes nothing
        listed.append(value)
    dense = getattr(text, "first_k_dense_replace", None) or 0
    every = getattr(text, "decoder_sparse_step", None) or 1
    plain = getattr(text, "mlp_only_layers", None) or ()
    return [(*(value[i] for value in listed), i < dense, (i + 1) % every == 0 and i not in plain) for i in range(total)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """From the runs of two depths to a third. The first `prefix` layers are unlike the rest, which repeat every
    `high - low` layers."""

    low: int
    high: int
    total: int
    prefix: int

    def at(self, low: int, high: int) -> int:
        """The value at `total` layers."""
        return high + (high - low) * (self.total - self.high) // (self.high - self.low)

    def facts(self, low: Facts, high: Facts) -> Facts:
        return Facts(**{f.name: self.at(getattr(low, f.name), getattr(high, f.name)) for f in fields(Facts)})

    def effective(self, low: Effective, high: Effective) -> Effective:
        """What was read back: counts grow, names stay."""
        before, after = low.elements_by_dtype, high.elements_by_dtype
        return replace(
            high,
            elements_by_dtype={name: self.at(before.get(name, 0), after[name]) for name in after},
            parameters=self.at(low.parameters, high.parameters),
            trainable=self.at(low.trainable, high.trainable),
            quantized=self.at(low.quantized, high.quantized),
        )

    def peaks(self, low: Mapping[Part, Peak], high: Mapping[Part, Peak]) -> dict[tuple[Part, Part], int]:
        """Bytes of every part that both runs have; the key holds the part's name in either.

        A layer's twin is the one as far from the first, or as far from the last; the ends of the stack are twins of
        ends only.
        """
        found: dict[tuple[Part, Part], int] = {}
        period = self.high - self.low
        for part in low:
            shifts = [0]
            if isinstance(part.segment, int):
                shifts = [0] * (part.segment < self.low - period) + [period] * (part.segment >= self.prefix + period)
            for shift in shifts:
                segment = part.segment + shift if isinstance(part.segment, int) else part.segment
                twin = Part(part.phase, part.step, segment)
                if twin in high:
                    found[part, twin] = self.at(low[part].bytes, high[twin].bytes)
        return found

    def groups(self, low: tuple[AliveGroup, ...], high: tuple[AliveGroup, ...]) -> tuple[AliveGroup, ...]:
        """What is held: groups grow with the depth as their members do."""

        def key(g: AliveGroup) -> tuple[object, ...]:
            return (g.group, g.operator, g.module, g.phase, g.shape, g.dtype)

        before = {key(g): g for g in low}
        after = {key(g): g for g in high}
        grown = []
        for name in {**before, **after}:
            a, b = before.get(name), after.get(name)
            count = self.at(a.count if a else 0, b.count if b else 0)
            size = self.at(a.bytes if a else 0, b.bytes if b else 0)
            one = b or a
            if count > 0 and one is not None:
                grown.append(
                    AliveGroup(group=one.group, operator=one.operator, module=one.module, phase=one.phase,
                               shape=one.shape, dtype=one.dtype, count=count, bytes=size)
                )  # fmt: skip
        return tuple(sorted(grown, key=lambda g: -g.bytes))
