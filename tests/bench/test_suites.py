"""Suites as data: shipped ones read, blocks multiply, mistakes are named with their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vramplan.catalog import find_gpu
from vramplan.errors import VramplanError
from vramplan.record import Record
from vramplan_bench.runner.cells import EXPECTED, name_of, prepare
from vramplan_bench.runner.forecast import expected_s
from vramplan_bench.runner.growth import next_batch
from vramplan_bench.runner.suites import load_suite, parse_suite, suite_names
from vramplan_bench.runner.wanted import wanted

H100 = find_gpu("h100")


@pytest.mark.parametrize("name", suite_names())
def test_every_cell_of_a_shipped_suite_can_be_asked_for(name: str) -> None:
    suite = load_suite(name)
    prepared = [prepare(cell, H100) for cell in suite.cells]
    ids = [one.request.cell_id for one in prepared]
    assert len(set(ids)) > 0.95 * len(ids), "two blocks may meet in a cell, which is then passed over"
    assert all(expected_s(one, H100) > 0 for one in prepared)
    assert suite.title and all(name_of(cell) for cell in suite.cells)


def test_quick_takes_about_eight_minutes_on_an_h100() -> None:
    cells = [prepare(cell, H100) for cell in load_suite("quick").cells]
    assert 4 * 60 < sum(expected_s(one, H100) * one.cell.repeats for one in cells) < 9 * 60


def test_a_fifth_of_the_cells_is_held_out() -> None:
    cells = [prepare(cell, H100) for name in ("quick", "full") for cell in load_suite(name).cells]
    assert 0.1 < sum(one.request.held_out for one in cells) / len(cells) < 0.3


def test_lists_multiply_and_the_last_turns_fastest() -> None:
    suite = parse_suite('[[cells]]\nmodel="llama-8b"\nbatch=[1,2]\nseq_len=[8,16]\nmethod="lora"\n', "a.toml")
    assert [(c.recipe.batch, c.recipe.seq_len) for c in suite.cells] == [(1, 8), (1, 16), (2, 8), (2, 16)]


def test_how_long_a_cell_is_measured_is_no_part_of_what_it_is() -> None:
    text = '[[cells]]\nmodel="llama-8b"\nmin_steps=[5,9]\n[[cells]]\nmodel="llama-8b"\ncapacity_gib=12\n'
    five, nine, small = (prepare(cell, H100).request for cell in parse_suite(text, "a.toml").cells)
    assert five.cell_id == nine.cell_id != small.cell_id
    assert small.settings == {"capacity_bytes": 12 * 2**30}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a.toml: no [[cells]]"),
        ("cells = 3", "no [[cells]]"),
        ("x = [", "a.toml: "),
        ("surprise = 1\n[[cells]]\n", "unknown key of a.toml: 'surprise'"),
        ('needs = "tpu"\n[[cells]]\nmodel="x"', "a.toml, needs: 'tpu'"),
        ('[[cells]]\nmethod="lora"', "block 1: no model"),
        ('[[cells]]\nmodel="x"\nmetod="lora"', "nearest: method"),
        ('[[cells]]\nmodel="x"\nbatch=0', "a.toml, block 1: batch: 0"),
        ('[[cells]]\nmodel="x"\n[[cells]]\nmodel="x"\nexpect="fine"', "block 2: expect: 'fine'"),
        ('[[cells]]\nmodel="x"\nwarm_steps="many"', "block 1: a value of the wrong type"),
        ('[[cells]]\nmodel="x"\ntimeout_s=0', "timeout_s"),
        ('[[cells]]\nmodel="x"\nfault="sulk"', "fault: 'sulk'"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, says: str) -> None:
    with pytest.raises(VramplanError) as raised:
        parse_suite(text, "a.toml")
    assert says in str(raised.value)


def test_unknown_suites_and_files(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match="nearest: quick"):
        load_suite("quik")
    with pytest.raises(VramplanError, match="no such file"):
        load_suite(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(VramplanError, match="UTF-8"):
        load_suite(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 20, 33, 100])
@pytest.mark.parametrize("start", [1, 8, 40])
def test_a_batch_grows_until_both_sides_are_known(limit: int, start: int) -> None:
    tried: dict[int, bool] = {}
    while (batch := next_batch(tried, start, most_tries=40)) is not None:
        assert batch >= 1 and batch not in tried
        tried[batch] = batch <= limit
    assert min(batch for batch, fits in tried.items() if not fits) > limit
    if limit:
        best = max(batch for batch, fits in tried.items() if fits)
        worst = min(batch for batch, fits in tried.items() if not fits)
        assert worst - best <= max(1, 0.05 * best)


def test_growing_stops_after_so_many_tries() -> None:
    tried: dict[int, bool] = {}
    while (batch := next_batch(tried, 1)) is not None:
        tried[batch] = True
    assert len(tried) == 7


def measured(cell_of: int, suite: str) -> Record:
    """A record of a cell, as if measured on an H100."""
    request = prepare(load_suite(suite).cells[cell_of], H100).request
    names = ("effective", "allocated_bytes", "reserved_bytes", "device_bytes", "tokens_per_s")
    return Record(kind="cuda", created="2026-11-22", request=request, effective=None, phases=(), steps=(),
                  outcome="oom", allocated_bytes=None, reserved_bytes=None, device_bytes=None, tokens_per_s=None,
                  absent=dict.fromkeys(names, "test"))  # fmt: skip


def test_wanted_leaves_out_what_is_there_and_fits_the_time() -> None:
    cells = load_suite("quick").cells
    everything = wanted(cells, H100)
    assert len(everything.cells) == len(cells) and everything.measured == 0
    assert everything.cells[0].new_pairs > everything.cells[-1].new_pairs
    fewer = wanted(cells, H100, [measured(3, "quick")], minutes=3)
    assert fewer.measured == 1
    assert sum(one.expected_s for one in fewer.cells) <= 180
    assert measured(3, "quick").cell_id not in {one.cell_id for one in fewer.cells}
    assert len(wanted(cells, find_gpu("h200"), [measured(3, "quick")]).cells) == len(cells), "another card's record"


def test_wanted_leaves_out_what_surely_does_not_fit() -> None:
    cells = load_suite("quick").cells
    small = wanted(cells, find_gpu("rtx-4090"))
    assert small.too_large > 0 and len(small.cells) + small.too_large == len(cells)
    edge = load_suite("boundary").cells
    assert wanted(edge, find_gpu("rtx-4090")).too_large == 0, "the edge is sought, not avoided"


def test_selftest_names_what_each_fault_must_end_as() -> None:
    cells = load_suite("selftest").cells
    assert all(cell.fault and cell.expect for cell in cells)
    assert {cell.expect for cell in cells} == {"killed", "timeout", "error", "oom", "oom_driver"}
    assert "killed" not in EXPECTED


def test_what_a_measured_speed_is_worth() -> None:
    from decimal import Decimal

    from vramplan import estimate
    from vramplan_bench.runner.worth import achieved_mfu, priced

    one = prepare(load_suite("quick").cells[0], H100)
    speed = estimate("llama-8b", H100, one.cell.recipe, stack="hf-trainer").estimates[0].speed
    assert speed is not None and H100.bf16_dense_tflops is not None
    assert achieved_mfu(one, H100, 1000.0) == pytest.approx(
        1000 * speed.flops_per_token / (H100.bf16_dense_tflops * 1e12)
    )
    assert achieved_mfu(one, None, 1000.0) is None and achieved_mfu(one, H100, None) is None
    price = priced(H100, 1000.0)
    assert price is not None and price.date
    assert price.usd_per_million_tokens == pytest.approx(price.usd_per_hour / Decimal("3.6"), abs=Decimal("0.000001"))
    assert priced(replace(H100, key="no-such-card"), 1000.0) is None
