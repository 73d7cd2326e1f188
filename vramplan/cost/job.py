"""What is to be trained: a number of tokens, examples of a length, or a data file; and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..data import PACKINGS, DataFile, Lengths, Packing
from ..errors import InvalidValueError, UnknownNameError, VramplanError

MOST_TOKENS = 10**16
"""Of an epoch: a thousand times what any model has been trained on."""
STARTUP_S = 300
"""Assumed: from renting a machine to the first step, without the download of the model (boot, environment, imports)."""
DOWNLOAD_BYTES_PER_S = 10**8
"""Assumed: 100 MB/s from a model hub (a 1 Gbit/s line)."""
CHECKPOINT_BYTES_PER_S = 5 * 10**8
"""Assumed: 500 MB/s onto a network disk of a cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A fine-tune as work. One of `tokens`, `examples` with `length`, or `data` says how much an epoch is."""

    tokens: int | None = None
    """Of an epoch, in sequences that are filled to the recipe's length."""
    examples: int | None = None
    length: int | None = None
    """Tokens of an example, all alike."""
    data: DataFile | None = None
    epochs: Decimal = Decimal(1)
    packing: Packing = "none"
    group_by_length: bool = False
    evaluation_tokens: int = 0
    """Of one pass over the evaluation set; 0 = no evaluation."""
    evaluate_every_steps: int | None = None
    """None = once an epoch."""
    save_every_steps: int | None = None
    """None = once, at the end."""
    save_optimizer: bool = True
    """Checkpoints hold the optimizer's state too, as trainers save it by default."""
    startup_s: int | None = None
    """None = 300 s, assumed."""
    download_bytes_per_s: int | None = None
    """None = 100 MB/s, assumed."""

    def __post_init__(self) -> None:
        ways = [self.tokens is not None, self.examples is not None, self.data is not None]
        if sum(ways) != 1:
            said = "say how much: one of" if not any(ways) else "too much is said: only one of"
            raise VramplanError(f"{said} --tokens, --examples with --length, --data")
        if (self.examples is None) != (self.length is None):
            raise VramplanError("--examples and --length go together: tokens = examples x length")
        if self.packing not in PACKINGS:
            raise UnknownNameError("packing", self.packing, PACKINGS, hint="one of " + ", ".join(PACKINGS))
        for name in (
            "tokens",
            "examples",
            "length",
            "evaluate_every_steps",
            "save_every_steps",
            "download_bytes_per_s",
        ):
            _check(name, getattr(self, name), 1)
        _check("evaluation_tokens", self.evaluation_tokens, 0)
        _check("startup_s", self.startup_s, 0)
        epochs: object = self.epochs
        if type(epochs) in (int, float):  # as people write them
            epochs = Decimal(str(epochs))
            object.__setattr__(self, "epochs", epochs)
        if not (isinstance(epochs, Decimal) and epochs.is_finite() and 0 < self.epochs <= 10_000):
            raise InvalidValueError("epochs", str(self.epochs), "a number above 0, up to 10,000")

    @property
    def lengths(self) -> Lengths | None:
        """Lengths of the examples; None where only tokens are known."""
        if self.data is not None:
            return self.data.lengths
        if self.examples is None or self.length is None:
            return None
        return Lengths.of({self.length: self.examples})


def _check(name: str, value: int | None, least: int) -> None:
    if value is not None and not (type(value) is int and least <= value <= MOST_TOKENS):
        raise InvalidValueError(f"--{name.replace('_', '-')}", value, f"a whole number from {least} to 10^16")
