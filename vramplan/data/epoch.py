"""What one pass over a data set is for the trainer: sequences, tokens and padding at a length and a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..units import ceil_div
from .inspect import DataFile
from .lengths import Lengths
from .packing import best_fit_sequences, wrapped_sequences
from .padding import grouped_tokens, padding_waste, shuffled_tokens

Packing: TypeAlias = Literal["none", "bfd", "wrapped"]
"""Names of TRL's strategies; `none` pads each batch to its longest."""
PACKINGS: tuple[Packing, ...] = get_args(Packing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One pass. Tokens are whole numbers, of all GPUs together."""

    examples: int
    sequences: int
    """What a batch counts: examples, or packed sequences."""
    tokens: int
    """Of the examples as they are trained on, cut to the length."""
    processed_tokens: int
    """What the GPUs compute: tokens and padding."""
    padding_waste: float
    """Part of the processed tokens that is padding."""
    cut_examples: int
    cut_tokens: int
    """Lost because an example is longer than the sequence."""
    steps: int
    """Optimizer steps."""


def epoch(
    lengths: Lengths,
    *,
    seq_len: int,
    batch: int,
    sequences_per_step: int | None = None,
    packing: Packing = "none",
    group_by_length: bool = False,
) -> Epoch:
    """One pass in batches of `batch` sequences of at most `seq_len` tokens.

    `sequences_per_step` = batch x gradient accumulation x GPUs, `batch` where it is not given. Packing wins over
    grouping. With `bfd` TRL computes no padding (padding-free batches); `wrapped` loses no token, so cuts none.
    """
    cut = lengths.cut(seq_len)
    trained = lengths if packing == "wrapped" else cut
    if packing == "none":
        sequences = cut.examples
        processed = round((grouped_tokens if group_by_length else shuffled_tokens)(cut, batch))
    else:
        sequences = wrapped_sequences(lengths, seq_len) if packing == "wrapped" else best_fit_sequences(cut, seq_len)
        processed = trained.tokens
    return Epoch(
        examples=lengths.examples,
        sequences=sequences,
        tokens=trained.tokens,
        processed_tokens=processed,
        padding_waste=padding_waste(trained.tokens, processed),
        cut_examples=0 if packing == "wrapped" else lengths.longer_than(seq_len),
        cut_tokens=lengths.tokens - trained.tokens,
        steps=int(ceil_div(sequences, sequences_per_step or batch)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A data file at a length and a batch: an epoch as asked for, and every way to make batches beside it."""

    file: DataFile
    seq_len: int
    batch: int
    asked: Epoch
    ways: tuple[tuple[str, Epoch], ...]


def inspect_data(
    file: DataFile,
    *,
    seq_len: int,
    batch: int,
    sequences_per_step: int | None = None,
    packing: Packing = "none",
    group_by_length: bool = False,
) -> Inspection:
    """An epoch of `file` as asked for (see `epoch`), and all the ways compared."""

    def once(packing: Packing, group_by_length: bool = False) -> Epoch:
        return epoch(
            file.lengths,
            seq_len=seq_len,
            batch=batch,
            sequences_per_step=sequences_per_step,
            packing=packing,
            group_by_length=group_by_length,
        )

    ways = (
        ("shuffled", once("none")),
        ("grouped by length", once("none", True)),
        ("packed, bfd", once("bfd")),
        ("packed, wrapped", once("wrapped")),
    )
    return Inspection(file=file, seq_len=seq_len, batch=batch, asked=once(packing, group_by_length), ways=ways)
