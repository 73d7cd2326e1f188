"""Lengths of the examples of a data set: a histogram, however large the file."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many examples have how many tokens."""

    lengths: tuple[int, ...]
    """Every length that occurs, rising; none is 0."""
    counts: tuple[int, ...]
    up_to: tuple[int, ...]
    """Examples of that length or a smaller one."""

    @classmethod
    def of(cls, histogram: Mapping[int, int]) -> Lengths:
        """From a count per length; empty examples are left out, as trainers leave them."""
        lengths = tuple(sorted(length for length, count in histogram.items() if length > 0 and count > 0))
        counts = tuple(histogram[length] for length in lengths)
        return cls(lengths=lengths, counts=counts, up_to=tuple(accumulate(counts)))

    @classmethod
    def from_examples(cls, lengths: Iterable[int]) -> Lengths:
        return cls.of(Counter(lengths))

    @property
    def examples(self) -> int:
        return self.up_to[-1] if self.up_to else 0

    @property
    def tokens(self) -> int:
        return sum(length * count for length, count in zip(self.lengths, self.counts, strict=True))

    @property
    def longest(self) -> int:
        return self.lengths[-1] if self.lengths else 0

    @property
    def mean(self) -> float:
        return self.tokens / self.examples if self.examples else 0.0

    def quantile(self, share: float) -> int:
        """The smallest length that at least `share` (0 to 1) of the examples do not exceed; 0 without examples."""
        if not self.lengths:
            return 0
        wanted = min(max(share, 0.0), 1.0) * self.examples
        return self.lengths[min(bisect_left(self.up_to, wanted), len(self.lengths) - 1)]

    def longer_than(self, limit: int) -> int:
        """Examples with more tokens than `limit`."""
        place = bisect_left(self.lengths, limit + 1)
        return self.examples - (self.up_to[place - 1] if place else 0)

    def cut(self, limit: int) -> Lengths:
        """Every example truncated to `limit` tokens (TRL's max_length)."""
        histogram: Counter[int] = Counter()
        for length, count in zip(self.lengths, self.counts, strict=True):
            histogram[min(length, limit)] += count
        return Lengths.of(histogram)
