"""Tokens that a trainer computes for nothing: every sequence of a batch is as long as its longest."""

from __future__ import annotations

from cmath import rect
from math import exp, lgamma, pi

from .lengths import Lengths

MEGABATCHES = 50
"""Batches of a group that is sorted by length (transformers 5.23, trainer_pt_utils.get_length_grouped_indices)."""


def expected_longest(lengths: Lengths, batch: int) -> float:
    """Tokens of the longest of `batch` examples drawn at random, without replacement: the mean over all draws.

        E[max] = sum over lengths l of  l x (P(max <= l) - P(max <= l')),   P(max <= l) = C(n(l), b) / C(n, b)

    l' is the length below l, n(l) the examples of length l or less, n all of them, b the batch. Exact for a shuffled
    epoch (any batch of a random permutation is such a draw).
    """
    n = lengths.examples
    batch = min(batch, n)
    if batch <= 1:
        return lengths.mean
    total, below = 0.0, 0.0
    for length, up_to in zip(lengths.lengths, lengths.up_to, strict=True):
        share = _share_of_draws(up_to, n, batch)
        total += length * (share - below)
        below = share
    return total


def _share_of_draws(marked: int, n: int, batch: int) -> float:
    """C(marked, batch) / C(n, batch), through logarithms of factorials."""
    if marked >= n:
        return 1.0
    if marked < batch:
        return 0.0
    log = lgamma(marked + 1) - lgamma(marked - batch + 1) - lgamma(n + 1) + lgamma(n - batch + 1)
    return min(exp(log), 1.0)


def shuffled_tokens(lengths: Lengths, batch: int) -> float:
    """Tokens of an epoch in random order, padding included: (n div b) x b x E[max of b] + r x E[max of r], r = n mod b.

    Padding to the longest of the batch (TRL's and transformers' collators; without `pad_to_multiple_of`). The last,
    smaller batch is kept, as transformers does by default.
    """
    whole, rest = divmod(lengths.examples, batch)
    total = whole * batch * expected_longest(lengths, batch) if whole else 0.0
    return max(total + rest * expected_longest(lengths, rest), float(lengths.tokens))


def grouped_tokens(lengths: Lengths, batch: int) -> float:
    """Tokens of an epoch grouped by length, padding included: the sum over its groups of b x (longest of each batch).

    transformers shuffles, cuts the order into groups of min(n div 4b, 50) batches and sorts each by length
    (`group_by_length`). In a sorted group a length l is exceeded by the first E[ceil(N / b)] batches' longest, N the
    group's examples above l; summed over the steps between lengths this is the sum of the longest.
    """
    n = lengths.examples
    group = batch * max(min(n // (batch * 4), MEGABATCHES), 1)
    whole, rest = divmod(n, group)
    total = whole * _sorted_group(lengths, group, batch) if whole else 0.0
    total += _sorted_group(lengths, rest, batch) if rest else 0.0
    return min(max(total, float(lengths.tokens)), shuffled_tokens(lengths, batch))


def _sorted_group(lengths: Lengths, size: int, batch: int) -> float:
    n = lengths.examples
    if size <= batch:
        return size * expected_longest(lengths, size)
    if size == n:  # nothing is left to chance
        return sum(min(size - i, batch) * lengths.quantile(1 - (i + 0.5) / size) for i in range(0, size, batch))
    total, below, shorter = 0.0, 0, 0
    for length, up_to in zip(lengths.lengths, lengths.up_to, strict=True):
        above = n - below
        total += (length - shorter) * expected_batches(min(size, above), max(size, above) / n, batch)
        below, shorter = up_to, length
    last = size % batch  # examples of the last batch, that of the shortest
    return batch * total - ((batch - last) * lengths.quantile((last - 0.5) / size) if last else 0)


def expected_batches(draws: int, share: float, batch: int) -> float:
    """Batches that the examples above a length fill, in a group sorted by length: E[ceil(N / b)], N ~ Binomial(d, p).

        E[ceil(N / b)] = (d p + E[-N mod b]) / b
        E[-N mod b] = (b - 1) / 2 + sum over k = 1 .. b - 1 of  (1 - p + p w^k)^d / (w^k - 1),   w = e^(2 pi i / b)

    b the batch; the sum is the discrete Fourier series of the remainder. N counts those of `a` examples above the
    length that fall among the `m` of n in the group (hypergeometric); the nearest binomial has d = min(a, m) draws
    with p = max(a, m) / n.
    """
    remainder = (batch - 1) / 2
    for k in range(1, batch // 2 + 1):
        root = rect(1.0, 2 * pi * k / batch)
        term = (1 - share + share * root) ** draws / (root - 1)
        remainder += term.real * (1 if 2 * k == batch else 2)
        if abs(term) < 1e-12:
            break
    return (draws * share + remainder) / batch


def padding_waste(tokens: float, processed_tokens: float) -> float:
    """Part of the processed tokens that is padding: 1 - tokens / processed_tokens, in [0, 1)."""
    return max(1 - tokens / processed_tokens, 0.0) if processed_tokens else 0.0
