"""The parent believes nothing that a child writes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from vramplan_bench.protocol import KINDS, LONGEST_LINE_BYTES, Decoder, encode


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([encode("done"), encode("phase", name="load")]))))
def test_any_bytes_in_any_pieces_give_the_same_messages(pieces: list[bytes]) -> None:
    whole, parts = Decoder(), Decoder()
    at_once = list(whole.feed(b"".join(pieces)))
    piecemeal = [message for piece in pieces for message in parts.feed(piece)]
    assert piecemeal == at_once and whole.garbage == parts.garbage
    assert all(message.kind in KINDS for message in at_once)


def test_what_is_no_message_is_counted() -> None:
    decoder = Decoder()
    lines = [
        b"\xff\x00",
        b"[1]",
        b'{"type": "surprise"}',
        b'{"type": 3}',
        b"{",
        b"",
        encode("ready").strip(),
        b"[" * 5000,
    ]
    assert [m.kind for m in decoder.feed(b"\n".join(lines) + b"\n")] == ["ready"]
    assert decoder.garbage == 6


def test_a_line_without_end_is_thrown_away() -> None:
    decoder = Decoder()
    for _ in range(5):
        assert list(decoder.feed(b"x" * LONGEST_LINE_BYTES)) == []
    assert [m.kind for m in decoder.feed(b"x\n" + encode("done"))] == ["done"]
    assert decoder.garbage == 1


def test_values_of_the_wrong_type_are_no_values() -> None:
    (message,) = Decoder().feed(encode("window", begin_s="1", end_s=True, tokens=7, name=None))
    assert (message.number("begin_s"), message.number("end_s"), message.whole("tokens")) == (None, None, 7)
    assert (message.whole("end_s"), message.text("name"), message.text("begin_s")) == (None, "", "1")
    assert json.loads(encode("done")) == {"type": "done"}
