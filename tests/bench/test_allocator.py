"""The model of the caching allocator on hand-made sequences; each expectation is worked out from torch's rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from random import Random

import pytest

from vramplan_bench.allocator import CachingAllocator, OutOfMemory
from vramplan_bench.expandable import ExpandableAllocator

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(("asked", "taken"), [(1, 512), (512, 512), (513, 1024), (MIB + 1, MIB + 512)])
def test_sizes_are_rounded_to_512(asked: int, taken: int) -> None:
    assert CachingAllocator().malloc(asked).size == taken


@pytest.mark.parametrize(
    ("asked", "reserved"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (33 * MIB, 34 * MIB),
    ],
)
def test_a_first_request_takes_a_segment_of_its_class(asked: int, reserved: int) -> None:
    allocator = CachingAllocator()
    allocator.malloc(asked)
    assert allocator.reserved_bytes == reserved


def test_small_and_large_requests_never_share_a_segment() -> None:
    allocator = CachingAllocator()
    allocator.malloc(5 * MIB)
    allocator.malloc(KIB)
    assert allocator.reserved_bytes == 22 * MIB


def test_the_rest_of_a_large_block_is_split_off_only_above_one_mib() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(12 * MIB))
    whole = allocator.malloc(11 * MIB)
    assert whole.size == 12 * MIB, "1 MiB would remain: handed out whole, and counted whole"
    assert allocator.allocated_bytes == 12 * MIB
    allocator.free(whole)
    assert allocator.malloc(11 * MIB - 512).size == 11 * MIB - 512


def test_small_blocks_split_down_to_512() -> None:
    allocator = CachingAllocator()
    allocator.malloc(MIB)
    assert allocator.malloc(MIB - 512).size == MIB - 512
    assert allocator.malloc(512).size == 512
    assert allocator.reserved_bytes == 2 * MIB


def test_the_smallest_block_that_fits_is_taken_and_among_equals_the_lowest() -> None:
    allocator = CachingAllocator()
    sizes = (40, 20, 30, 20)
    blocks = [allocator.malloc(size * MIB) for size in sizes]
    addresses = [block.address for block in blocks]
    for block in blocks:
        allocator.free(block)
    assert allocator.malloc(20 * MIB).address == addresses[1]
    assert allocator.malloc(20 * MIB).address == addresses[3]
    assert allocator.malloc(21 * MIB).address == addresses[2]


def test_freed_neighbours_merge_to_the_whole_segment() -> None:
    allocator = CachingAllocator()
    first, second, third = (allocator.malloc(4 * MIB) for _ in range(3))
    assert allocator.reserved_bytes == 20 * MIB
    allocator.free(first)
    allocator.free(third)
    allocator.free(second)
    assert allocator.malloc(20 * MIB).address == first.address
    assert allocator.reserved_bytes == 20 * MIB


def test_empty_cache_returns_whole_segments_only() -> None:
    allocator = CachingAllocator()
    kept = allocator.malloc(4 * MIB)
    allocator.free(allocator.malloc(4 * MIB))
    allocator.free(allocator.malloc(64 * MIB))
    allocator.empty_cache()
    assert allocator.reserved_bytes == 20 * MIB, "the segment in use stays, with its free part"
    allocator.free(kept)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0


def test_at_the_limit_cached_segments_are_flushed_before_it_fails() -> None:
    allocator = CachingAllocator(capacity_bytes=100 * MIB)
    allocator.free(allocator.malloc(60 * MIB))
    assert allocator.malloc(80 * MIB).size == 80 * MIB
    assert (allocator.retries, allocator.reserved_bytes) == (1, 80 * MIB)
    with pytest.raises(OutOfMemory) as failure:
        allocator.malloc(30 * MIB)
    assert failure.value.requested_bytes == 30 * MIB


def test_fragments_fail_a_request_that_their_sum_would_meet() -> None:
    allocator = CachingAllocator(capacity_bytes=60 * MIB)
    blocks = [allocator.malloc(10 * MIB) for _ in range(6)]
    for block in blocks[::2]:
        allocator.free(block)
    assert allocator.malloc(10 * MIB)
    with pytest.raises(OutOfMemory):
        allocator.malloc(30 * MIB)


def test_an_expandable_segment_grows_by_pages() -> None:
    allocator = ExpandableAllocator()
    first = allocator.malloc(4 * MIB)
    assert allocator.reserved_bytes == 20 * MIB
    second = allocator.malloc(30 * MIB)
    assert second.address == first.address + first.size, "it continues where the first ended"
    assert allocator.reserved_bytes == 40 * MIB
    allocator.malloc(KIB)
    assert allocator.reserved_bytes == 42 * MIB, "small ones have a segment of 2 MiB pages"


def test_an_expandable_segment_has_no_holes_too_small_to_use() -> None:
    plain, expandable = CachingAllocator(), ExpandableAllocator()
    for allocator in (plain, expandable):
        for size in (24, 32, 48, 64, 96):
            allocator.free(allocator.malloc(size * MIB))
    assert plain.reserved_bytes == (24 + 32 + 48 + 64 + 96) * MIB
    assert expandable.reserved_bytes == 100 * MIB


def test_an_expandable_segment_gives_back_pages_from_the_middle() -> None:
    allocator = ExpandableAllocator(capacity_bytes=400 * MIB)
    first, middle, last = (allocator.malloc(size * MIB) for size in (30, 100, 30))
    assert allocator.reserved_bytes == 160 * MIB
    allocator.free(middle)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 80 * MIB, "pages 40 to 120 are wholly free"
    assert allocator.malloc(100 * MIB).address == middle.address
    assert allocator.reserved_bytes == 160 * MIB
    for block in (first, last):
        allocator.free(block)


def test_every_byte_returns() -> None:
    import random

    for kind in (CachingAllocator, ExpandableAllocator):
        allocator = kind()
        source = random.Random(7)
        held = []
        for _ in range(3000):
            if held and source.random() < 0.5:
                allocator.free(held.pop(source.randrange(len(held))))
            else:
                held.append(allocator.malloc(int(2 ** source.uniform(1, 27))))
            spans = sorted((block.address, block.address + block.size) for block in held)
            assert all(a[1] <= b[0] for a, b in pairwise(spans)), "blocks overlap"
            assert allocator.allocated_bytes == sum(block.size for block in held) <= allocator.reserved_bytes
        for block in held:
            allocator.free(block)
        allocator.empty_cache()
        assert (allocator.allocated_bytes, allocator.reserved_bytes) == (0, 0)


ON_CUDA = """
import json, sys, torch
held, seen = {}, []
for number, size in json.load(sys.stdin):
    if size:
        held[number] = torch.empty(size, dtype=torch.uint8, device="cuda")
    else:
        del held[number]
    found = torch.cuda.memory_stats()
    seen.append([found["allocated_bytes.all.current"], found["reserved_bytes.all.current"]])
print(json.dumps(seen))
"""
"""Takes and gives back as it is told, in a process of its own: the allocator begins empty."""


def _sequence(count: int) -> list[tuple[int, int]]:
    """(number, bytes) to take a block, (number, 0) to give it back: small, medium and large ones, in no order."""
    draw = Random(7)
    held: list[int] = []
    steps = []
    for number in range(count):
        if held and draw.random() < 0.45:
            steps.append((held.pop(draw.randrange(len(held))), 0))
        else:
            steps.append((number, draw.choice((draw.randint(1, MIB), draw.randint(MIB, 12 * MIB), 40 * MIB + number))))
            held.append(number)
    return steps


@pytest.mark.gpu
@pytest.mark.parametrize("expandable", [False, True])
def test_the_same_sequence_on_a_gpu(expandable: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    steps = _sequence(300)
    told = subprocess.run(
        (sys.executable, "-c", ON_CUDA), input=json.dumps(steps), capture_output=True, text=True, check=True,
        env={**os.environ, "PYTORCH_CUDA_ALLOC_CONF": f"expandable_segments:{expandable}"},
    )  # fmt: skip
    assert [tuple(pair) for pair in json.loads(told.stdout)] == _replayed(steps, expandable=expandable)


def _replayed(steps: list[tuple[int, int]], *, expandable: bool) -> list[tuple[int, int]]:
    """Allocated and reserved bytes after each step, by the model."""
    allocator = (ExpandableAllocator if expandable else CachingAllocator)()
    held, seen = {}, []
    for number, size in steps:
        if size:
            held[number] = allocator.malloc(size)
        else:
            allocator.free(held.pop(number))
        seen.append((allocator.allocated_bytes, allocator.reserved_bytes))
    return seen


@pytest.mark.parametrize("expandable", [False, True])
def test_a_long_sequence_keeps_its_books(expandable: bool) -> None:
    """What is handed out is never less than what was asked for, nor more than what is reserved."""
    steps = _sequence(300)
    asked: dict[int, int] = {}
    for (number, size), (allocated, reserved) in zip(steps, _replayed(steps, expandable=expandable), strict=True):
        if size:
            asked[number] = size
        else:
            del asked[number]
        assert sum(asked.values()) <= allocated <= reserved
