"""What a record holds: the request, the configuration read back, phases, steps, and the figures taken from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal

from ..errors import InvalidValueError

SCHEMA_VERSION = 1
Kind = Literal["dry", "cpu", "cuda"]
Outcome = Literal["ok", "oom", "oom_driver", "killed", "timeout", "error", "skipped"]
"""`oom`: the caching allocator refused; `oom_driver`: a library or the driver did; both are a lower bound, no peak.
`killed` from outside, `timeout` by the runner, `skipped` before anything ran."""
FULL: tuple[Outcome, ...] = ("oom", "oom_driver")
"""Outcomes that say: this does not fit."""


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
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else was asked for, where it is not the usual: `capacity_bytes` of an emulated smaller card,
    `expandable_segments`, `fault` (an injected failure)."""

    @property
    def cell_id(self) -> str:
        """Stable across machines and versions: a hash of the request alone."""
        asked = asdict(self)
        if not self.settings:
            del asked["settings"]
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def held_out(self) -> bool:
        """A fifth of all cells, chosen by their hash, is kept from every fit."""
        return int(self.cell_id[:8], 16) % 5 == 0


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
    attention_kernels: tuple[str, ...] = ()
    """Kernels that torch chose for scaled_dot_product_attention: flash, efficient, math, cudnn. Empty = not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """What the allocator counted while a phase ran: peaks, and what was left at its end. Step 0 is the load."""

    name: str
    step: int
    allocated_bytes: int
    reserved_bytes: int | None = None
    active_bytes: int | None = None
    """Blocks in use or waiting for another stream."""
    requested_bytes: int | None = None
    """What tensors asked for, before rounding."""
    inactive_split_bytes: int | None = None
    """Free parts of split blocks, which cannot be returned to the driver."""
    allocated_end_bytes: int | None = None
    reserved_end_bytes: int | None = None
    device_used_bytes: int | None = None
    """total - free of the whole device at the end, whoever uses it."""
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One raw step, unaveraged."""

    step: int
    allocated_bytes: int | None
    """None on the CPU, where steps that are timed are not followed."""
    reserved_bytes: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedRun:
    """What a million tokens cost at the measured speed, by one published price."""

    usd_per_million_tokens: Decimal
    usd_per_hour: Decimal
    """Per GPU."""
    date: str
    """Of the price, ISO 8601."""
    provider: str
    region: str
    instance: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run and what came of it. Peaks are those of the load and of the steps after the first, in which optimizers make
    their states."""

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
    """Peak of device use, less what was in use before: what nvidia-smi shows of this run."""
    tokens_per_s: float | None
    """Of the one GPU, over the timed steps."""
    outcome: Outcome
    reason: str | None = None
    """Where and why it failed; None for `ok`."""
    capacity_bytes: int | None = None
    """What the run could use: the card's total, or that of the smaller card it emulated."""
    device_baseline_bytes: int | None = None
    """total - free before the run."""
    context_bytes: int | None = None
    """Device use of the CUDA context alone: less the baseline and what the allocator reserved."""
    step_time_s: float | None = None
    """Median of the timed steps."""
    step_time_cv: float | None = None
    """Their standard deviation divided by their mean."""
    energy_j_per_token: float | None = None
    """By the device's counter, over a window of at least 10 s."""
    power_w: float | None = None
    """Mean over the timed steps."""
    power_source: str | None = None
    mfu: float | None = None
    """Arithmetic of the model (recomputation not counted) over the card's dense peak."""
    retries: int | None = None
    """Times the allocator returned its cache and tried again."""
    sm_clock_mhz: float | None = None
    """Mean over the timed steps."""
    throttle_reasons: tuple[str, ...] = ()
    repeat: int = 0
    """Which run of its cell this was, from 0."""
    suite: str | None = None
    busy: bool = False
    """Others used the device too: memory of the device and times are not to be trusted."""
    flags: tuple[str, ...] = ()
    """`unsteady` (peaks of full steps differ by over 2 MiB), `unstable_time` (variation over 3 %), `retries`,
    `energy_disagrees`, `garbage` (unreadable messages of the child were passed over)."""
    duration_s: float | None = None
    """Of the whole run, start of the process included."""
    price: PricedRun | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    """Field that is null -> why."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """`gpu`, `driver`, versions of packages and so on: whatever tells machines apart."""

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
        return {"schema_version": SCHEMA_VERSION, "cell_id": self.cell_id, **_plain(asdict(self))}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Money as text: JSON's numbers are not decimal."""
    if values["price"] is not None:
        values["price"] = {key: str(value) for key, value in values["price"].items()}
    return values
