"""Several examples to a sequence: how many sequences an epoch becomes."""

from __future__ import annotations

from bisect import bisect_left, insort

from .lengths import Lengths


def best_fit_sequences(lengths: Lengths, seq_len: int) -> int:
    """Sequences of `seq_len` tokens that best-fit decreasing packs the examples into; longer ones are cut first.

    The longest example goes first, each into the sequence with the least room that still holds it, else into a new
    one: TRL 1.16, data_utils._pack_bfd (`packing_strategy="bfd"`, its default). Counted on the histogram: of equal
    examples, a sequence with room r takes floor(r / length) before any roomier one is touched. TRL packs 1,000
    examples at a time (datasets.map), which ends in up to one more sequence per 1,000.
    """
    bins = _Bins(seq_len)
    cut = lengths.cut(seq_len)
    for length, count in zip(reversed(cut.lengths), reversed(cut.counts), strict=True):
        bins.place(length, count)
    return bins.used


class _Bins:
    """Open sequences by the room that is left in them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.rooms: list[int] = []
        """Rooms that occur, rising."""
        self.by_room: dict[int, int] = {}

    def place(self, length: int, count: int) -> None:
        while count:
            position = bisect_left(self.rooms, length)
            room = self.rooms[position] if position < len(self.rooms) else self.size
            each = room // length
            wanted = -(-count // each)
            opened = self._take(room, wanted)
            full = min(opened, count // each)
            self._give(room - each * length, full)
            count -= full * each
            if opened > full:  # the last sequence takes what is left
                self._give(room - count * length, 1)
                count = 0

    def _take(self, room: int, wanted: int) -> int:
        """Take up to `wanted` sequences with that room; new ones are always there."""
        if room == self.size and room not in self.by_room:
            self.used += wanted
            return wanted
        taken = min(wanted, self.by_room[room])
        self.by_room[room] -= taken
        if not self.by_room[room]:
            del self.by_room[room]
            del self.rooms[bisect_left(self.rooms, room)]
        return taken

    def _give(self, room: int, count: int) -> None:
        if not (room and count):
            return
        if room not in self.by_room:
            insort(self.rooms, room)
        self.by_room[room] = self.by_room.get(room, 0) + count


def wrapped_sequences(lengths: Lengths, seq_len: int) -> int:
    """Sequences when the examples are joined and cut every `seq_len` tokens: ceil(tokens / seq_len).

    TRL's `packing_strategy="wrapped"`, which does so for every 1,000 examples.
    """
    return -(-lengths.tokens // seq_len)
