"""Units: bytes are `int`; GiB, MiB exist for people who read and type, never inside the planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Count: TypeAlias = int | npt.NDArray[np.int64]
    """A whole number, or a numpy array of them: one formula answers one question or a million."""

KIB = 2**10
MIB = 2**20
GIB = 2**30

ALLOCATION_UNIT_BYTES = 512
"""Every CUDA tensor takes a multiple of this (torch c10/cuda/CUDACachingAllocator.cpp, kMinBlockSize)."""


def ceil_div(a: Any, b: Any) -> Any:
    """Smallest whole number >= a / b, for counts or arrays of counts."""
    return -(-a // b)


def allocated(size_bytes: Any) -> Any:
    """Bytes that the CUDA caching allocator hands out for a tensor of `size_bytes` (count or array)."""
    return (size_bytes + (ALLOCATION_UNIT_BYTES - 1)) & -ALLOCATION_UNIT_BYTES


def largest(a: Any, b: Any) -> Any:
    """Elementwise maximum of two counts or arrays of counts."""
    if type(a) is int and type(b) is int:
        return a if a >= b else b
    import numpy as np

    return np.maximum(a, b)


def smallest(a: Any, b: Any) -> Any:
    """Elementwise minimum of two counts or arrays of counts."""
    return -largest(-a, -b)


def share(size: Any, factor: Any) -> Any:
    """size x factor in whole bytes, cut off (counts or arrays)."""
    product = size * factor
    return int(product) if isinstance(product, float) and not hasattr(product, "dtype") else product.astype("int64")


def either(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b` (counts or arrays of counts)."""
    if isinstance(condition, bool):
        return a if condition else b
    import numpy as np

    return np.where(condition, a, b)


def next_power_of_two(n: Any) -> Any:
    """Smallest power of two >= n, for counts or arrays of counts."""
    if type(n) is int:
        return 1 << (n - 1).bit_length()
    import numpy as np

    return np.left_shift(1, np.ceil(np.log2(n)).astype(np.int64))
