"""Profiles: what a file may hold, where one is found, and what the estimate makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from vramplan import estimate
from vramplan.catalog import find_gpu, find_model, find_profile, find_stack, profile_for, profiles
from vramplan.catalog.profile_files import remove_profile
from vramplan.cli.app import app
from vramplan.errors import VramplanError
from vramplan.estimator.phases import StepMemory
from vramplan.estimator.tiers import CONTEXT_BYTES, EDGE_HIGH, EDGE_LOW, context_bytes, edge_range, tiers
from vramplan.profile import CONSTANTS, Constant, Errors, Interval, Profile, profile_from, read_profile, write_profile
from vramplan.recipe import Recipe
from vramplan.resolve import resolve
from vramplan.step.setting import Setting
from vramplan.units import GIB, MIB

PROFILE = Profile(
    name="a100-80-trl", gpu_key="a100-80", stack="trl", created="2026-11-22",
    constants={
        "context_bytes": Constant(value=400.0 * MIB, standard_error=5.0 * MIB, unit="B", records=12),
        "workspace_bytes": Constant(value=100.0 * MIB, standard_error=5.0 * MIB, unit="B", records=12),
        "reserved_elasticity": Constant(value=0.5, standard_error=0.02, unit="1", records=12),
        "edge_elasticity": Constant(value=1.04, standard_error=0.005, unit="1", records=8),
    },
    refused={"launch_s": "no run's time depends on it"},
    quantiles={
        "device": Interval(level=0.9, low=-0.02, high=0.03, records=12, models=4),
        "edge": Interval(level=0.9, low=-0.01, high=0.01, records=8, models=4),
    },
    errors={
        "device": Errors(
            records=12, uncalibrated_median=0.03, in_sample_median=0.01, held_out_median=0.02, held_out_worst=-0.05
        )
    },
    ranges={"parameters": (10**9, 10**10), "seq_len": (512, 4096), "batch": (1, 8), "allocated_bytes": (GIB, 60 * GIB)},
    methods=("lora", "qlora"), models=("a/b",), record_ids=("r1", "r2"), source="records.jsonl",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "vramplan" / "profiles"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def _document(**change: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(PROFILE.as_dict()))
    return document | change


# ------------------------------------------------------------------------------------------------------------ files


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "p.json"
    write_profile(path, PROFILE)
    assert read_profile(path) == PROFILE
    assert [p.name for p in path.parent.iterdir()] == ["p.json"]


numbers = st.floats(0.001, 1e12)


@given(
    constants=st.dictionaries(st.sampled_from(sorted(CONSTANTS)), st.tuples(numbers, numbers, st.integers(0, 10**6))),
    words=st.lists(st.text(max_size=8), max_size=4),
    span=st.tuples(st.integers(0, 2**50), st.integers(0, 2**50)),
    low=st.floats(-0.99, 0.0),
)
def test_any_profile_reads_back(constants: Any, words: list[str], span: tuple[int, int], low: float) -> None:
    profile = replace(
        PROFILE,
        constants={
            name: Constant(value=value, standard_error=error, unit=CONSTANTS[name], records=runs)
            for name, (value, error, runs) in constants.items()
        },
        models=tuple(words),
        ranges={"batch": span},
        quantiles={"device": Interval(level=0.9, low=low, high=0.5, records=9, models=1)},
    )
    assert profile_from(json.loads(json.dumps(profile.as_dict())), "p.json") == profile


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version: 2"),
        ({"constants": [1]}, "constants: holds a JSON list, not an object"),
        ({"constants": {"context_bytes": {}}}, "constants.context_bytes: missing"),
        ({"constants": {"contxt_bytes": PROFILE.as_dict()["constants"]["context_bytes"]}}, "nearest: context_bytes"),
        ({"constants": {"launch_s": {"value": 1, "standard_error": 0, "unit": "ms", "records": 3}}}, "'ms' is not 's'"),
        ({"constants": {"matmul_efficiency": {"value": 0, "standard_error": 0, "unit": "1", "records": 3}}}, "above 0"),
        ({"constants": {"launch_s": {"value": -1, "standard_error": 0, "unit": "s", "records": 3}}}, "0 or more"),
        ({"constants": {"launch_s": {"value": True, "standard_error": 0, "unit": "s", "records": 3}}}, "not a number"),
        ({"constants": {"launch_s": {"value": float("nan"), "standard_error": 0, "unit": "s", "records": 3}}}, "nan"),
        ({"quantiles": {"devise": PROFILE.as_dict()["quantiles"]["device"]}}, "nearest: device"),
        ({"quantiles": {"device": {"level": 0.9, "low": 0.2, "high": 0.1, "records": 3, "models": 1}}}, "an interval"),
        ({"ranges": {"batch": [1]}}, "ranges.batch: [1] is not two whole numbers"),
        ({"created": "yesterday"}, "'yesterday' is not a day"),
        ({"record_ids": [1]}, "record_ids: [1] is not a list of texts"),
        ({"surprise": 1}, "unknown key in p.json: 'surprise'"),
        ({"gpu_key": 3}, "p.json, gpu_key: 3 is not a text"),
    ],
)
def test_errors_name_file_and_key(change: dict[str, Any], words: str) -> None:
    with pytest.raises(VramplanError) as caught:
        profile_from(_document(**change), "p.json")
    assert "p.json" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_what_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(VramplanError, match=r"p\.json"):
        read_profile(path)


# ---------------------------------------------------------------------------------------------------------- finding


def test_finding(folder: Path, tmp_path: Path) -> None:
    assert PROFILE.name not in [p.name for p in profiles()]
    assert profile_for("a100-80", "trl") is None
    write_profile(folder / "a100-80-trl.json", PROFILE)
    write_profile(folder / "mine.json", replace(PROFILE, name="mine"))
    assert profile_for("a100-80", "trl") == PROFILE
    assert profile_for("a100-80", "hf-trainer") is None
    assert find_profile("mine").name == "mine"
    assert find_profile(str(folder / "mine.json")).name == "mine"
    with pytest.raises(VramplanError, match="unknown profile 'mien'; nearest: mine"):
        find_profile("mien")
    with pytest.raises(VramplanError, match="no such file"):
        find_profile(str(tmp_path / "none.json"))
    assert remove_profile("mine") == str(folder / "mine.json")
    with pytest.raises(VramplanError, match="unknown profile 'mine'"):
        remove_profile("mine")


def test_a_shipped_profile_is_not_removed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vramplan.catalog.profile_files.DATA", str(tmp_path / "shipped"))
    write_profile(tmp_path / "shipped" / "fitted" / "a100-80-trl.json", PROFILE)
    assert profile_for("a100-80", "trl") == PROFILE
    with pytest.raises(VramplanError, match="came with vramplan"):
        remove_profile("a100-80-trl")
    write_profile(folder / "a100-80-trl.json", replace(PROFILE, created="2026-12-01"))
    found = profile_for("a100-80", "trl")
    assert found is not None
    assert found.created == "2026-12-01"  # the user's comes first


def test_a_file_called_after_another_card_is_not_taken(folder: Path) -> None:
    write_profile(folder / "t4-trl.json", PROFILE)
    assert profile_for("t4", "trl") is None


# -------------------------------------------------------------------------------------------------- in the estimate


def _step(**knobs: Any) -> StepMemory:
    stack, gpu = find_stack("trl"), find_gpu("a100-80")
    resolved = resolve(Recipe(method="qlora", **knobs), "qlora", stack, gpu)
    return StepMemory(Setting(find_model("llama-8b"), resolved, stack, gpu))


def test_tiers_by_hand() -> None:
    step, gpu = _step(), find_gpu("a100-80")
    bare, fitted = tiers(step, gpu), tiers(step, gpu, PROFILE)
    assert fitted.allocated_bytes == bare.allocated_bytes
    spare = bare.reserved_bytes - bare.allocated_bytes
    assert fitted.reserved_bytes == bare.allocated_bytes + spare // 2
    assert fitted.device_bytes == fitted.reserved_bytes + 500 * MIB
    assert fitted.device_interval_bytes == (int(fitted.device_bytes * 0.98), int(fitted.device_bytes * 1.03))
    # 1.04 x (1 ± 1 %) ± two standard errors, and the context likewise
    assert fitted.edge_high_bytes == int(step.allocated * (1.04 * 1.01 + 0.01)) + 520 * MIB
    assert fitted.edge_low_bytes == int(step.allocated * (1.04 * 0.99 - 0.01)) + 480 * MIB
    assert (fitted.context_source, fitted.cached_source) == ("fitted", "fitted")
    assert (bare.context_source, bare.cached_source) == ("assumed", "assumed")


def test_what_was_refused_stands_as_without() -> None:
    empty = replace(PROFILE, constants={}, quantiles={})
    step, gpu = _step(batch=4), find_gpu("a100-80")
    assert tiers(step, gpu, empty) == tiers(step, gpu)
    assert context_bytes(gpu, empty)[0] == CONTEXT_BYTES
    assert edge_range(empty) == (EDGE_LOW, EDGE_HIGH)


@given(batch=st.integers(1, 64))
def test_a_fuller_card_never_needs_less(batch: int) -> None:
    gpu = find_gpu("a100-80")
    small, large = (tiers(_step(batch=n), gpu, PROFILE) for n in (batch, batch + 1))
    assert small.edge_high_bytes <= large.edge_high_bytes
    for tier in (small, large):
        assert tier.allocated_bytes <= tier.reserved_bytes <= tier.device_bytes
        assert tier.device_interval_bytes[0] <= tier.device_bytes <= tier.device_interval_bytes[1]


def test_used_without_being_asked_for_and_said(folder: Path) -> None:
    question = ("estimate", "llama-8b", "--gpu", "a100-80", "--method", "qlora")
    bare = _run(*question)
    assert "profile" not in bare.stdout
    write_profile(folder / "a100-80-trl.json", PROFILE)
    found = _run(*question)
    assert "with profile a100-80-trl (2 runs, fitted 2026-11-22)" in found.stdout
    document = json.loads(_run(*question, "--json").stdout)
    assert document["profile"] == "a100-80-trl"
    (answer,) = document["estimates"]
    sources = {term["name"]: term["source"] for term in answer["memory"]["terms"]}
    assert sources["CUDA context"] == sources["cached blocks"] == "fitted"
    assert _run(*question, "--profile", "none").stdout == bare.stdout
    assert json.loads(_run(*question, "--profile", "none", "--json").stdout)["profile"] is None


def test_another_card_is_refused_another_stack_is_an_extrapolation(folder: Path) -> None:
    write_profile(folder / "a100-80-trl.json", PROFILE)
    for card in (("--gpu", "t4"), ()):
        result = _run("estimate", "llama-8b", *card, "--profile", "a100-80-trl")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "fitted on a100-80" in result.stderr
    answer = estimate("llama-8b", "a100-80", stack="hf-trainer", profile="a100-80-trl")
    note = next(note for note in answer.estimates[0].notes if note.startswith("Extrapolation"))
    assert "method (full; fitted to lora, qlora)" in note
    assert "stack (hf-trainer; fitted on trl)" in note


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({}, None),
        ({"seq_len": 8192}, "seq-len (2 x the largest)"),
        ({"seq_len": 256}, "seq-len (0.5 x the smallest)"),
        ({"batch": 16, "seq_len": 512}, "batch (2 x the largest)"),
    ],
)
def test_outside_the_runs_is_labelled(knobs: dict[str, Any], said: str | None) -> None:
    (found,) = estimate("llama-8b", "a100-80", Recipe(method="qlora", **knobs), profile=PROFILE).estimates
    notes = [note for note in found.notes if note.startswith("Extrapolation")]
    assert (said in notes[0]) if said else not notes


def test_limits_follow_the_profile() -> None:
    """An edge at 1.04 instead of 1.10 leaves room for longer texts."""
    recipe = Recipe(method="qlora")
    (bare,) = estimate("llama-8b", "a100-80", recipe, profile="none").estimates
    (fitted,) = estimate("llama-8b", "a100-80", recipe, profile=PROFILE).estimates
    assert bare.longest_seq_len is not None
    assert fitted.longest_seq_len is not None
    assert fitted.longest_seq_len > bare.longest_seq_len


# ------------------------------------------------------------------------------------------------------ the command


def test_profiles_command(folder: Path) -> None:
    assert "No profiles" in _run("profiles").stdout or json.loads(_run("profiles", "--json").stdout)["profiles"]
    write_profile(folder / "a100-80-trl.json", PROFILE)
    other = replace(PROFILE, name="other", constants={}, errors={}, quantiles={})
    write_profile(folder / "other.json", other)
    listed = json.loads(_run("profiles", "--json").stdout)["profiles"]
    assert {"a100-80-trl", "other"} <= {row["name"] for row in listed}
    shown = _run("profiles", "--show", "a100-80-trl").stdout
    assert all(word in shown for word in ("400.0 MiB", "0.500", "no run's time depends on it", "r1, r2"))
    compared = _run("profiles", "--compare", "a100-80-trl", "other").stdout
    assert "a100-80-trl and other" in compared
    for arguments in (("--show", "other"), ("--compare", "other", "a100-80-trl"), ()):
        assert max(map(len, _run("profiles", *arguments).stdout.splitlines())) <= 80
        assert _run("profiles", *arguments, "--format", "markdown").exit_code == 0
        assert json.loads(_run("profiles", *arguments, "--json").stdout)["schema_version"] == 1
    assert "removed: other.json" in _run("profiles", "--remove", "other").stdout
    assert not (folder / "other.json").exists()
    assert _run("profiles", "--remove", "other").exit_code == 2
