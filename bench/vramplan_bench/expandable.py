"""`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`: one growing segment for each pool instead of many.

Follows ExpandableSegment, find_expandable_block, try_allocate_expandable_block, map_block and unmap_block of
c10/cuda/CUDACachingAllocator.cpp (torch 2.13). Addresses are reserved for 9/8 of the card; memory is mapped in pages
of 2 MiB (small pool) or 20 MiB (large pool), and a free page can be unmapped from the middle.
"""

from __future__ import annotations

from vramplan.units import ceil_div

from .allocator import (
    LARGE_SEGMENT_BYTES,
    MIN_BLOCK_BYTES,
    SMALL_SEGMENT_BYTES,
    CachingAllocator,
    Chunk,
    FreeList,
)

_ADDRESS_SPACE_BYTES = 1 << 42
"""Reserved addresses of a segment where no capacity is given."""


class ExpandableAllocator(CachingAllocator):
    """The caching allocator with expandable segments."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        super().__init__(capacity_bytes)
        self._unmapped = {True: FreeList(), False: FreeList()}

    def _cached(self, size: int, small: bool) -> Chunk | None:
        """get_free_block: among chunks that fit, one that cannot grow is preferred to one that can."""
        candidates = [chunk for chunk in self._free[small].all() if chunk.size >= size]
        if not candidates:
            return None
        best = candidates[0]
        for chunk in candidates[1:]:
            is_split = best.before is not None or best.after is not None
            if not is_split or _room(chunk) >= _room(best):
                break
            best = chunk
        self._free[small].remove(best)
        return best

    def _new_segment(self, size: int, small: bool) -> Chunk | None:
        """try_allocate_expandable_block."""
        chunk = self._candidate(size, small)
        if not chunk.mapped:
            grown = self._map(chunk, min(chunk.size, size))
            if grown is None:
                return None
            chunk = grown
        while chunk.size < size:
            following = chunk.after
            assert following is not None
            grown = self._map(following, min(size - chunk.size, following.size))
            if grown is None:
                return None
            chunk = grown
        self._free[small].remove(chunk)
        return chunk

    def empty_cache(self) -> None:
        """release_cached_blocks: whole pages inside free chunks are unmapped."""
        for small in (False, True):
            for chunk in self._free[small].all():
                self._unmap(chunk)

    def _candidate(self, size: int, small: bool) -> Chunk:
        """find_expandable_block: the first unmapped stretch (with a free chunk before it) that has room."""
        for chunk in sorted(self._unmapped[small].all(), key=lambda c: (c.size, c.address)):
            start = chunk.before if chunk.before is not None and chunk.before.free else chunk
            room, at = 0, start
            while at is not None and at.free and room < size:
                room += at.size
                at = at.after  # type: ignore[assignment]
            if room >= size:
                return start
        space = _ADDRESS_SPACE_BYTES if self.capacity_bytes is None else self.capacity_bytes * 9 // 8
        page = _page(small)
        segment = Chunk(
            self._next_address, max(space // page * page, int(ceil_div(size, page)) * page), small, mapped=False
        )
        self._next_address += segment.size + LARGE_SEGMENT_BYTES
        self._unmapped[small].add(segment)
        return segment

    def _map(self, chunk: Chunk, size: int) -> Chunk | None:
        """map_block: pages that cover the first `size` bytes of an unmapped chunk; None where the card is full."""
        page = _page(chunk.small)
        taken = min(int(ceil_div(size, page)) * page, chunk.size)
        if not self._grow(taken):
            return None
        self._unmapped[chunk.small].remove(chunk)
        if taken < chunk.size:
            rest = Chunk(
                chunk.address + taken, chunk.size - taken, chunk.small, mapped=False, before=chunk, after=chunk.after
            )
            if chunk.after is not None:
                chunk.after.before = rest
            chunk.after, chunk.size = rest, taken
            self._unmapped[chunk.small].add(rest)
        chunk.mapped = True
        self._merge_neighbours(chunk)
        self._free[chunk.small].add(chunk)
        return chunk

    def _unmap(self, chunk: Chunk) -> None:
        """unmap_block: whole pages of a free chunk go; what sticks out at either side stays free."""
        page = _page(chunk.small)
        base = self._segment_start(chunk)
        first = base + int(ceil_div(chunk.address - base, page)) * page
        last = base + (chunk.address + chunk.size - base) // page * page
        if first >= last:
            return
        self._free[chunk.small].remove(chunk)
        if first > chunk.address:
            self._cut(chunk, first - chunk.address)
            chunk = chunk.after  # type: ignore[assignment]
        if last < chunk.address + chunk.size:
            self._cut(chunk, last - chunk.address, front_is_free=False)
        self.reserved_bytes -= chunk.size
        chunk.mapped = False
        self._merge_neighbours(chunk)
        self._unmapped[chunk.small].add(chunk)

    def _cut(self, chunk: Chunk, size: int, *, front_is_free: bool = True) -> None:
        """Split a chunk that is in no list; the part that stays free (front, else back) goes to the free list."""
        rest = Chunk(chunk.address + size, chunk.size - size, chunk.small, before=chunk, after=chunk.after)
        if chunk.after is not None:
            chunk.after.before = rest
        chunk.after, chunk.size = rest, size
        self._free[chunk.small].add(chunk if front_is_free else rest)

    def _should_split(self, chunk: Chunk, size: int) -> bool:
        """should_split: with expandable segments the rest is always split off."""
        return chunk.size - size >= MIN_BLOCK_BYTES

    def _list_of(self, chunk: Chunk) -> FreeList:
        return (self._free if chunk.mapped else self._unmapped)[chunk.small]

    @staticmethod
    def _segment_start(chunk: Chunk) -> int:
        while chunk.before is not None:
            chunk = chunk.before
        return chunk.address


def _page(small: bool) -> int:
    return SMALL_SEGMENT_BYTES if small else LARGE_SEGMENT_BYTES


def _room(chunk: Chunk) -> int:
    """What a chunk could grow to: the unmapped stretch behind it counts."""
    after = chunk.after
    return chunk.size + (after.size if after is not None and not after.mapped else 0)
