"""Sweeps: every row is what an estimate answers, in the order asked for; and what cannot be swept says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import vramplan
from vramplan import Recipe, VramplanError, estimate
from vramplan.catalog import find_stack
from vramplan.plan.grid import MOST_POINTS, axis, parse_axis
from vramplan.recipe import CHOICES
from vramplan.speed import speed

# --- the syntax ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "knob", "values"),
    [
        ("batch=1,2,4", "batch", (1, 2, 4)),
        ("seq-len=512:2048:512", "seq_len", (512, 1024, 1536, 2048)),
        ("seq_len=512:2000:512", "seq_len", (512, 1024, 1536)),
        ("seq_len=512:5000:x2", "seq_len", (512, 1024, 2048, 4096)),
        ("rank=8,16:32:8,8", "rank", (8, 16, 24, 32)),
        ("method = lora, qlora", "method", ("lora", "qlora")),
        ("checkpointing=on,off", "checkpointing", (True, False)),
        ("kbit-prep=No", "kbit_prep", (False,)),
        ("lora_dropout=0,0.1", "lora_dropout", (0.0, 0.1)),
        ("targets=all-linear,q_proj+v_proj", "targets", ("all-linear", "q_proj,v_proj")),
        ("model=llama-8b,gpt2", "model", ("llama-8b", "gpt2")),
    ],
)
def test_syntax(text: str, knob: str, values: tuple[Any, ...]) -> None:
    found = parse_axis(text)
    assert (found.knob, found.values) == (knob, values)
    assert [type(value) for value in found.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("batch", "KNOB=VALUES"), ("batch=", "KNOB=VALUES"), ("bach=1", "nearest: batch"), ("batch=0", "from 1 to"),
        ("batch=1.5", "from 1 to"), ("batch=1,,2", "from 1 to"), ("batch=4:1:1", "a range that rises"),
        ("batch=1:4", "FROM:TO:STEP"), ("batch=1:4:0", "from 1 to"), ("batch=1:4:x1", "factor of 2"),
        ("batch=1:4:x", "from 1 to"), ("method=qlra", "nearest: qlora"), ("checkpointing=maybe", "on or off"),
        ("lora_dropout=1", "probability"), ("lora_dropout=x", "probability"), ("seq_len=1:16777216:1", "at most"),
        ("batch=" + "9" * 40, "from 1 to"), ("batch=1e30", "from 1 to"),
    ],
)  # fmt: skip
def test_what_is_no_axis(text: str, named: str) -> None:
    with pytest.raises(VramplanError, match=named) as error:
        parse_axis(text)
    assert "\n" not in str(error.value)


def test_values_of_other_kinds() -> None:
    assert axis("batch", range(1, 4)).values == (1, 2, 3)
    assert axis("batch", np.array([2, 4])).values == (2, 4)
    assert axis("batch", 3).values == axis("batch", np.int64(3)).values == (3,)
    for values in ([], [0], [True], [1.5], ["a"], [None], None, 0):
        with pytest.raises(VramplanError):
            axis("batch", values)


# --- the table -------------------------------------------------------------------------------------------------------

VARY: dict[str, Any] = {"method": ["full", "qlora"], "seq_len": [512, 3000], "gpu": ["t4", "a100-80"], "batch": [1, 3]}


def _checked(row: Any, recipe: Recipe) -> None:
    answer = estimate(row.model, row.gpu, recipe)
    (one,) = answer.estimates
    assert row.allocated_bytes == one.memory.allocated_bytes
    assert row.reserved_bytes == one.memory.reserved_bytes
    assert row.device_bytes == one.memory.device_bytes
    assert (row.device_low_bytes, row.device_high_bytes) == one.memory.device_interval_bytes
    assert row.capacity_bytes - row.need_bytes == one.headroom_bytes
    assert row.verdict == one.verdict
    assert answer.gpu is not None
    found = speed(answer.model, one.recipe, find_stack("trl"), answer.gpu)
    assert found is not None
    assert row.tokens_per_s_per_gpu == pytest.approx(found.tokens_per_s_per_gpu)
    assert (row.tokens_per_s_low, row.tokens_per_s_high) == pytest.approx(found.interval)
    assert row.step_time_s == pytest.approx(found.step_time_s)
    assert found.shares[row.bound_by] == pytest.approx(found.shares[found.bound_by])
    if one.cost is None:
        assert np.isnan(row.usd_per_million_tokens)
    else:
        assert row.usd_per_million_tokens == pytest.approx(float(one.cost.usd_per_million_tokens), abs=1e-6)


def test_rows_are_estimates() -> None:
    frame = vramplan.sweep("llama-1b", vary=VARY)
    assert len(frame) == 16
    assert frame.error.isna().all()
    asked = [(m, s, g, b) for m in VARY["method"] for s in VARY["seq_len"] for g in VARY["gpu"] for b in VARY["batch"]]
    assert list(zip(frame.method, frame.seq_len, frame.gpu, frame.batch, strict=True)) == asked
    for row in frame.itertuples():
        _checked(row, Recipe(method=row.method, seq_len=row.seq_len, batch=row.batch))


def test_several_cards() -> None:
    frame = vramplan.sweep("llama-1b", "a100-80", vary={"gpus": [1, 2, 8], "sharding": ["none", "fsdp"], "batch": [2]})
    assert "shares nothing" in frame.error[1] and frame.error.isna().sum() == 5
    for row in frame[frame.error.isna()].itertuples():
        _checked(row, Recipe(method=row.method, batch=2, gpus=row.gpus, sharding=row.sharding))


knobs = st.fixed_dictionaries(
    {},
    optional={
        "method": st.lists(st.sampled_from(CHOICES["method"]), min_size=1, max_size=2, unique=True),
        "optimizer": st.lists(st.sampled_from(CHOICES["optimizer"]), min_size=1, max_size=2, unique=True),
        "loss": st.lists(st.sampled_from(CHOICES["loss"]), min_size=1, max_size=2, unique=True),
        "checkpointing": st.lists(st.booleans(), min_size=1, max_size=2, unique=True),
        "batch": st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True),
        "seq_len": st.lists(st.integers(16, 9000), min_size=1, max_size=3, unique=True),
        "rank": st.lists(st.integers(1, 300), min_size=1, max_size=3, unique=True),
    },
)


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(vary=knobs, gpu=st.sampled_from((None, "t4", "h100")), data=st.data())
def test_any_row_is_an_estimate(vary: dict[str, Any], gpu: str | None, data: st.DataObject) -> None:
    frame = vramplan.sweep("bloom-560m", gpu, vary=vary)
    row = data.draw(st.sampled_from(list(frame.itertuples())))
    knob = {name: getattr(row, name) for name in vary}
    if row.method == "full":
        knob.pop("rank", None)
    if gpu is not None:
        _checked(row, Recipe(**{"method": "qlora", **knob}))
    else:
        assert pd.isna(row.verdict) and pd.isna(row.capacity_bytes) and row.allocated_bytes > 0


def test_full_has_one_rank() -> None:
    frame = vramplan.sweep("gpt2", "t4", vary={"method": ["full", "lora"], "rank": [4, 8], "batch": [1, 2]})
    assert list(zip(frame.method, frame["rank"], frame.batch, strict=True)) == [
        ("full", 0, 1), ("full", 0, 2), ("lora", 4, 1), ("lora", 4, 2), ("lora", 8, 1), ("lora", 8, 2),
    ]  # fmt: skip


def test_rows_that_cannot_be_say_why() -> None:
    frame = vramplan.sweep("gpt2", "t4", vary={"method": ["full", "qlora"], "quant": ["nf4"]})
    assert "quantised weights" in frame.error[0]
    assert pd.isna(frame.error[1])
    assert pd.isna(frame.allocated_bytes[0]) and frame.allocated_bytes[1] > 0
    with pytest.raises(VramplanError, match="quantised weights"):
        vramplan.sweep("gpt2", "t4", vary={"method": ["full"], "quant": ["nf4"]})


def test_a_table_of_recipes() -> None:
    asked = pd.DataFrame(
        {"model": ["gpt2", "llama-1b", "gpt2", "llama-1b"], "batch": [2, 1, 3, 1], "method": ["lora", "full"] * 2,
         "gpu": ["t4", "t4", "l4", "l4"], "optimizer": [None, "adafactor", "lion", "adamw_8bit"]},
        index=[10, 11, 12, 13],
    )  # fmt: skip
    found = vramplan.sweep(asked, recipe=Recipe(seq_len=512))
    assert list(found.index) == [10, 11, 12, 13]
    assert list(found.model) == list(asked.model)
    assert found.optimizer.iloc[0] == "adamw_fused", "what a row leaves out comes from the stack"
    for row in found.itertuples():
        _checked(row, Recipe(method=row.method, batch=row.batch, seq_len=512, optimizer=row.optimizer))


def test_a_sweep_goes_in_again() -> None:
    once = vramplan.sweep("gpt2", "t4", vary={"batch": [1, 2], "seq_len": [64, 128]})
    asked = once[["gpu", "method", "batch", "seq_len", "rank"]].assign(model="gpt2").sample(frac=1, random_state=1)
    again = vramplan.sweep(asked).sort_index()
    assert list(again.need_bytes) == list(once.need_bytes)


def test_tables_that_are_none() -> None:
    for table, named in (
        (pd.DataFrame({"bach": [1]}), "nearest: batch"),
        (pd.DataFrame({"model": []}), "without rows"),
        (pd.DataFrame({"model": ["gpt2"], "batch": [0]}), "from 1 to"),
        (pd.DataFrame({"model": ["gpt2"], "batch": [None]}), "from 1 to"),
        (pd.DataFrame({"model": ["gpt2", None], "batch": [1, 1]}), "left out"),
        (pd.DataFrame({"model": ["gpt-2b"]}), "nearest"),
        (pd.DataFrame({"batch": [1]}), "no model"),
        (pd.DataFrame([[1, 2, "gpt2"]], columns=["batch", "batch", "model"]), "'batch' stands twice"),
    ):
        with pytest.raises(VramplanError, match=named):
            vramplan.sweep(table)


def test_unknown_names_end_a_sweep() -> None:
    with pytest.raises(VramplanError, match="nearest"):
        vramplan.sweep("gpt2", vary={"gpu": ["t4", "t44"]})
    with pytest.raises(VramplanError, match="twice"):
        vramplan.sweep("gpt2", vary=["batch=1", "batch=2"])
    with pytest.raises(VramplanError, match=f"{MOST_POINTS:,}"):
        vramplan.sweep("gpt2", vary={"batch": "1:10000:1", "seq_len": "1:10000:1"})
