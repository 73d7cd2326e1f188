"""PyTorch's CUDA caching allocator, replayed on addresses without memory.

A model of c10/cuda/CUDACachingAllocator.cpp of torch 2.13 (constants: c10/core/AllocatorConfig.h); each method names
the function that it follows. One stream, no private pools, no garbage collection threshold, `max_split_size` off: the
defaults of a training script. `expandable_segments` lives in `expandable.py`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from vramplan.units import ceil_div

MIN_BLOCK_BYTES = 512
"""kMinBlockSize: all sizes are rounded to it."""
SMALL_BYTES = 1 << 20
"""kSmallSize: the largest allocation of the small pool, and what a large block keeps rather than split off."""
SMALL_SEGMENT_BYTES = 2 << 20
"""kSmallBuffer."""
LARGE_SEGMENT_BYTES = 20 << 20
"""large_segment_size_, for requests below `MIN_LARGE_BYTES`."""
MIN_LARGE_BYTES = 10 << 20
"""kMinLargeAlloc."""
ROUND_LARGE_BYTES = 2 << 20
"""kRoundLarge: requests from `MIN_LARGE_BYTES` take a segment of their own, rounded to this."""


class OutOfMemory(Exception):
    """The card is full: the request, after cached blocks were given back."""

    def __init__(self, requested_bytes: int) -> None:
        super().__init__(f"out of memory: {requested_bytes} bytes")
        self.requested_bytes = requested_bytes


@dataclass(slots=True, eq=False)
class Chunk:
    """A stretch of a segment, free or handed out (`Block` there)."""

    address: int
    size: int
    small: bool
    free: bool = True
    mapped: bool = True
    before: Chunk | None = field(default=None, repr=False)
    after: Chunk | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[int, int]:
        """BlockComparatorSize."""
        return self.size, self.address


class FreeList:
    """The free chunks of a pool, ordered by size, then address."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []
        self._chunks: dict[int, Chunk] = {}

    def add(self, chunk: Chunk) -> None:
        insort(self._keys, chunk.key)
        self._chunks[chunk.address] = chunk

    def remove(self, chunk: Chunk) -> None:
        del self._keys[bisect_left(self._keys, chunk.key)]
        del self._chunks[chunk.address]

    def from_size(self, size: int) -> list[Chunk]:
        """The smallest chunk of at least `size`, and the one after it, if they are there."""
        at = bisect_left(self._keys, (size, 0))
        return [self._chunks[address] for _, address in self._keys[at : at + 2]]

    def all(self) -> list[Chunk]:
        return [self._chunks[address] for _, address in self._keys]


class CachingAllocator:
    """Hands out addresses as torch does. `capacity_bytes`: what cudaMalloc may give in all; None = no limit."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.peak_allocated_bytes = 0
        self.peak_reserved_bytes = 0
        self.retries = 0
        """Times that cached segments had to be given back before a request could be met (num_alloc_retries)."""
        self._free = {True: FreeList(), False: FreeList()}
        self._next_address = 1 << 40

    def malloc(self, size: int) -> Chunk:
        """DeviceCachingAllocator::malloc. Raises OutOfMemory."""
        size = self.rounded(size)
        small = size <= SMALL_BYTES
        chunk = self._cached(size, small) or self._new_segment(size, small)
        if chunk is None:
            self.retries += 1
            self.empty_cache()
            chunk = self._new_segment(size, small)
        if chunk is None:
            raise OutOfMemory(size)
        if self._should_split(chunk, size):
            self._split(chunk, size)
        chunk.free = False
        self.allocated_bytes += chunk.size
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return chunk

    def free(self, chunk: Chunk) -> None:
        """DeviceCachingAllocator::free_block: merged with free neighbours of its segment."""
        self.allocated_bytes -= chunk.size
        chunk.free = True
        self._merge_neighbours(chunk)
        self._free[chunk.small].add(chunk)

    def empty_cache(self) -> None:
        """release_cached_blocks: every segment that is wholly free goes back to the driver."""
        for pool in (self._free[False], self._free[True]):
            for chunk in pool.all():
                if chunk.before is None and chunk.after is None:
                    pool.remove(chunk)
                    self.reserved_bytes -= chunk.size

    @staticmethod
    def rounded(size: int) -> int:
        """round_size, without power-of-two divisions."""
        return max(MIN_BLOCK_BYTES, int(ceil_div(size, MIN_BLOCK_BYTES)) * MIN_BLOCK_BYTES)

    @staticmethod
    def segment_bytes(size: int) -> int:
        """get_allocation_size."""
        if size <= SMALL_BYTES:
            return SMALL_SEGMENT_BYTES
        if size < MIN_LARGE_BYTES:
            return LARGE_SEGMENT_BYTES
        return int(ceil_div(size, ROUND_LARGE_BYTES)) * ROUND_LARGE_BYTES

    def _cached(self, size: int, small: bool) -> Chunk | None:
        """get_free_block: best fit."""
        found = self._free[small].from_size(size)
        if not found:
            return None
        self._free[small].remove(found[0])
        return found[0]

    def _new_segment(self, size: int, small: bool) -> Chunk | None:
        """alloc_block: cudaMalloc of a segment."""
        segment = self.segment_bytes(size)
        if not self._grow(segment):
            return None
        chunk = Chunk(self._next_address, segment, small)
        self._next_address += segment + ROUND_LARGE_BYTES
        return chunk

    def _grow(self, size: int) -> bool:
        if self.capacity_bytes is not None and self.reserved_bytes + size > self.capacity_bytes:
            return False
        self.reserved_bytes += size
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        return True

    def _should_split(self, chunk: Chunk, size: int) -> bool:
        """should_split: a large chunk is handed out whole where 1 MiB or less would remain."""
        rest = chunk.size - size
        return rest >= MIN_BLOCK_BYTES if chunk.small else rest > SMALL_BYTES

    def _split(self, chunk: Chunk, size: int) -> None:
        """alloc_found_block: the front is handed out, the rest stays free."""
        rest = Chunk(chunk.address + size, chunk.size - size, chunk.small, before=chunk, after=chunk.after)
        if chunk.after is not None:
            chunk.after.before = rest
        chunk.after = rest
        chunk.size = size
        self._free[chunk.small].add(rest)

    def _merge_neighbours(self, chunk: Chunk) -> None:
        """try_merge_blocks with the chunk before and the one after; `chunk` itself is in no list."""
        before, after = chunk.before, chunk.after
        if before is not None and before.free and before.mapped == chunk.mapped:
            self._list_of(before).remove(before)
            chunk.address, chunk.size, chunk.before = before.address, before.size + chunk.size, before.before
            if chunk.before is not None:
                chunk.before.after = chunk
        if after is not None and after.free and after.mapped == chunk.mapped:
            self._list_of(after).remove(after)
            chunk.size, chunk.after = chunk.size + after.size, after.after
            if chunk.after is not None:
                chunk.after.before = chunk

    def _list_of(self, chunk: Chunk) -> FreeList:
        return self._free[chunk.small]
