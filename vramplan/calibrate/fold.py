"""A fit to some runs, and what it predicts of others: by the code that answers everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..estimator.tiers import tiers
from ..profile import Constant, Interval, Profile
from .memory import fit_memory
from .result import Figure
from .sample import Sample
from .throughput import NAMELESS, fit_speed, tokens_per_s

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Constants of some runs."""

    constants: Mapping[str, Constant]
    refused: Mapping[str, str]
    edge: Interval | None

    @property
    def profile(self) -> Profile:
        """As a profile without a name, for predictions."""
        return replace(NAMELESS, constants=self.constants)


def fit(samples: Sequence[Sample], without: Mapping[str, str] = NOTHING) -> Fold:
    """Every constant that `samples` can tell, but those `without`, which come with the reason."""
    constants, refused, edge = fit_memory(samples)
    of_speed, others = fit_speed(samples)
    constants |= of_speed
    refused |= others
    kept = {name: constant for name, constant in constants.items() if name not in without}
    return Fold(constants=kept, refused={**refused, **without}, edge=edge)


def predicted(sample: Sample, profile: Profile | None) -> dict[Figure, float]:
    """Every figure of a run that has a measured counterpart."""
    tier = tiers(sample.step, sample.asked.gpu, profile)
    found: dict[Figure, float] = {
        "allocated": tier.allocated_bytes,
        "reserved": tier.reserved_bytes,
        "device": tier.device_bytes,
    }
    speed = tokens_per_s(sample, profile)
    return found if speed is None else found | {"tokens_per_s": speed}


def measured(sample: Sample) -> dict[Figure, float]:
    """What the run measured; nothing of one that failed."""
    run = sample.run
    found: dict[Figure, float | None] = {
        "allocated": run.allocated_bytes,
        "reserved": run.reserved_bytes,
        "device": run.device_bytes,
        "tokens_per_s": run.tokens_per_s_per_gpu,
    }
    return {figure: size for figure, size in found.items() if size} if sample.ran else {}
