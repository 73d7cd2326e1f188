"""What interruptions cost: a spot machine may be taken away, and what was not saved is done again."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from ..errors import InvalidValueError

HOUR_S = 3600
MOST_OVERHEAD = Decimal(1000)
"""Above a thousand times the work, the job does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Allowance for interruptions. The defaults are assumptions, printed with the cost: ask the provider."""

    interruptions_per_day: Decimal = Decimal(1)
    checkpoint_every_s: int = 1800
    """Training time between two checkpoints."""
    restart_s: int = 900
    """From an interruption to training again: another machine, its start, loading."""

    def __post_init__(self) -> None:
        if not (self.interruptions_per_day.is_finite() and 0 <= self.interruptions_per_day <= 1440):
            value = str(self.interruptions_per_day)
            raise InvalidValueError("--spot-interruptions", value, "a number a day, from 0 to 1,440")
        for name, value_s, least in (
            ("--spot-checkpoint", self.checkpoint_every_s, 1),
            ("--spot-restart", self.restart_s, 0),
        ):
            if not (type(value_s) is int and least <= value_s <= 10**8):
                raise InvalidValueError(name, value_s, f"a time from {least} s to three years")

    @property
    def said(self) -> str:
        return (
            f"assumed {self.interruptions_per_day:f} interruptions a day, a checkpoint every "
            f"{self.checkpoint_every_s // 60} min, {self.restart_s // 60} min to restart"
        )


def spot_overhead(spot: Spot, checkpoint_write_s: float = 0.0) -> Decimal:
    """Expected extra time, as part of the training time: M e^(R/M) (e^((T+d)/M) - 1) / T - 1, at least 0.

    M mean time between interruptions, T `checkpoint_every_s`, d the writing of one checkpoint, R `restart_s`.
    Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, Future Generation Computer
    Systems 22 (2006), equation 13: interruptions come at random (a Poisson process), also while restarting, and work
    since the last checkpoint is lost. Without interruptions d / T is left. Raises InvalidValueError where the job
    would not come to an end.
    """
    every, write = Decimal(spot.checkpoint_every_s), Decimal(checkpoint_write_s)
    if not spot.interruptions_per_day:
        return write / every
    mean_s = 24 * HOUR_S / spot.interruptions_per_day
    exponent = (every + write + spot.restart_s) / mean_s
    if exponent > MOST_OVERHEAD.ln():
        raise InvalidValueError(
            "--spot-interruptions", str(spot.interruptions_per_day), "survivable: the job never ends"
        )
    with localcontext(prec=28):
        factor = mean_s * (Decimal(spot.restart_s) / mean_s).exp() * (((every + write) / mean_s).exp() - 1) / every
    return max(factor - 1, Decimal(0))
