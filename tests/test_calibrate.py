"""Calibration: constants are recovered from runs whose truth is known, and refused where runs cannot tell them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from vramplan.calibrate import _fit, calibrate
from vramplan.calibrate.conformal import interval
from vramplan.calibrate.edge import edge
from vramplan.calibrate.fold import fit, predicted
from vramplan.calibrate.result import Fit
from vramplan.calibrate.robust import Column, huber, location, regress
from vramplan.calibrate.sample import Sample, samples
from vramplan.calibrate.throughput import NAMELESS, fit_speed, tokens_per_s
from vramplan.cli.app import app
from vramplan.errors import VramplanError
from vramplan.profile import CONSTANTS, Constant, Profile, read_profile, write_profile
from vramplan.record import PhaseRecord, Record, Request, write_records
from vramplan.runs import Run
from vramplan.units import GIB, MIB

SHIPPED = Path(__file__).parents[1] / "profiles/vramplan_profiles/fitted"
CORPUS = Path(__file__).parents[1] / "../shared/corpus/runs.csv"
MODELS = ("smollm2-360m", "qwen2.5-1.5b", "llama-3.2-3b", "llama-8b", "mistral-7b")
TRUTH = {
    "context_bytes": 430.0 * MIB, "reserved_elasticity": 0.7, "matmul_efficiency": 0.55, "memory_efficiency": 0.62,
    "launch_s": 12e-6,
}  # fmt: skip


# -------------------------------------------------------------------------------------------------------- regression


def _columns(x: Any, **more: Any) -> dict[str, Column]:
    return {name: Column(values=x[:, i], fixed=1.0, **more) for i, name in enumerate("ab"[: x.shape[1]])}


def test_a_line_by_hand() -> None:
    """y = 2 a + 3 b, exactly."""
    x = np.array([[1, 0], [0, 1], [1, 1], [2, 1], [1, 2], [3, 5]], dtype=float)
    found = regress(_columns(x), x @ [2, 3], np.ones(6))
    assert found.refused == {}
    assert [found.found[name].value for name in "ab"] == pytest.approx([2, 3])
    assert [found.found[name].standard_error for name in "ab"] == pytest.approx([0, 0], abs=1e-9)


def test_a_few_strange_runs_do_not_bend_it() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(1, 10, (60, 1))
    y = 0.8 * x[:, 0] + rng.normal(0, 0.05, 60)
    y[:6] *= 3
    found = regress(_columns(x), y, np.ones(60)).found["a"]
    assert found.value == pytest.approx(0.8, abs=0.02)
    least_squares = float(np.linalg.lstsq(x, y, rcond=None)[0][0])
    assert abs(least_squares - 0.8) > 0.1


def test_standard_errors_are_what_they_say() -> None:
    """95 % of estimates lie within 1.96 of them, with normal errors and with heavier tails."""
    rng = np.random.default_rng(2)
    x = np.stack([np.ones(30), rng.uniform(0, 4, 30)], axis=1)
    for noise in (lambda: rng.normal(0, 1, 30), lambda: rng.standard_t(3, 30)):
        inside = []
        for _ in range(200):
            beta, errors = huber(x, x @ [2.0, 0.5] + noise())
            inside.append(np.abs(beta - [2.0, 0.5]) <= 1.96 * errors)
        assert 0.90 <= float(np.mean(inside)) <= 0.98


@pytest.mark.parametrize(
    ("x", "y", "refused", "why"),
    [
        ([[1.0], [2.0], [3.0]], [1, 2, 3], "a", "too few runs: 3"),
        ([[0.0]] * 6, [1, 2, 3, 4, 5, 6], "a", "no run depends on it"),
        ([[float(i), 2.0 * i] for i in range(1, 7)], [3, 6, 9, 12, 15, 18], "a", "do not vary"),
        ([[1.0]] * 6, [5, -4, 6, -5, 4, 0.3], "a", "±"),
        ([[1.0]] * 6, [-1, -1.1, -0.9, -1, -1, -1], "a", "±"),
        ([[1.0]] * 6, [9, 9.1, 8.9, 9, 9, 9], "a", "cannot be"),
    ],
)
def test_refusals(x: list[list[float]], y: list[float], refused: str, why: str) -> None:
    found = regress(_columns(np.array(x), high=5.0), np.array(y, dtype=float), np.ones(len(y)))
    assert refused in found.refused
    assert why in found.refused[refused]
    assert refused not in found.found


def test_location() -> None:
    assert location(np.full(8, 141.0)).value == pytest.approx(141.0)
    found = location(np.array([9.8, 9.9, 10.0, 10.1, 10.2, 400.0]))
    assert found.value == pytest.approx(10.1, abs=0.15)


# -------------------------------------------------------------------------------------------------------------- edge


def test_the_edge_between_what_ran_and_what_failed() -> None:
    found = edge(np.array([1.06, 1.08, 1.1, 2.0]), np.array([1.04, 1.02, 1.0, 0.5]))
    assert not isinstance(found, str)
    estimate, scatter = found
    assert 1.04 <= estimate.value <= 1.06
    assert 0.002 <= estimate.standard_error <= 0.02
    assert scatter < 0.03


def test_the_edge_is_recovered() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(40):
        room = rng.uniform(0.95, 1.2, 24)
        ran = room > 1.05 * np.exp(rng.normal(0, 0.01, 24))
        if 2 <= ran.sum() <= 22:
            found = edge(room[ran], room[~ran])
            assert not isinstance(found, str)
            inside.append(abs(found[0].value - 1.05) <= 2 * found[0].standard_error)
    assert len(inside) >= 30
    assert np.mean(inside) >= 0.85


@pytest.mark.parametrize("ran, failed", [([1.05, 1.1], [1.0]), ([2.0, 3.0], [1.0, 1.01]), ([], [])])
def test_an_edge_needs_both_sides(ran: list[float], failed: list[float]) -> None:
    found = edge(np.array(ran), np.array(failed))
    assert isinstance(found, str)
    assert "both sides" in found


# --------------------------------------------------------------------------------------------------------- conformal


@pytest.mark.parametrize(
    ("residuals", "low", "high"),
    [
        ([i / 100 for i in range(-9, 10)], -0.09, 0.09),  # 19: the smallest and the largest
        ([i / 100 for i in range(-19, 20)], -0.18, 0.18),  # 39: the second of each
        ([0.01 * i for i in range(9)], -0.08, 0.08),  # 9: one size for both tails
    ],
)
def test_quantiles_by_hand(residuals: list[float], low: float, high: float) -> None:
    found = interval(residuals, ["m"] * len(residuals))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_too_few_residuals_give_no_interval() -> None:
    assert interval([0.1] * 8, ["m"] * 8) is None
    assert interval([0.1] * 9, ["m"] * 9) is not None


@given(st.lists(st.floats(-0.9, 5), min_size=9, max_size=120), st.floats(0.5, 0.89))
def test_an_interval_holds_what_made_it(residuals: list[float], level: float) -> None:
    wide, narrow = (interval(residuals, ["m"] * len(residuals), share) for share in (0.9, level))
    assert wide is not None
    assert narrow is not None
    inside = sum(wide.low <= residual <= wide.high for residual in residuals)
    assert inside >= 0.9 * len(residuals) - 1e-9
    if len(residuals) >= 19:
        assert wide.low <= narrow.low <= narrow.high <= wide.high or narrow.low == -narrow.high


def test_coverage() -> None:
    """Over many draws nine in ten new residuals lie inside, whatever the distribution."""
    rng = np.random.default_rng(4)
    for draw in (lambda n: rng.normal(0.01, 0.03, n), lambda n: np.expm1(rng.gumbel(0, 0.1, n))):
        for runs in (12, 25, 60):
            shares = []
            for _ in range(200):
                found = interval(list(draw(runs)), ["m"] * runs)
                assert found is not None
                new = draw(50)
                shares.append(np.mean((new >= found.low) & (new <= found.high)))
            assert 0.88 <= np.mean(shares) <= 0.97


# ------------------------------------------------------------------------------------------------- runs of known truth


def _run(model: str, number: int, **knobs: Any) -> Run:
    known: dict[str, Any] = {
        "gpu": "l40s", "gpus": 1, "sharding": "none", "method": "qlora", "rank": 16, "targets": "all-linear",
        "grad_accum": 1, "stack": "hf-trainer", "micro_batch": 1, "seq_len": 1024, "checkpointing": "true",
    }  # fmt: skip
    return Run(id=f"{model}-{number}", where="x:1", outcome="ok", model=model, **(known | knobs), reserved_bytes=GIB)


GRID: tuple[dict[str, Any], ...] = (
    {}, {"micro_batch": 4}, {"seq_len": 2048}, {"seq_len": 512}, {"method": "lora", "seq_len": 512},
    {"method": "lora", "micro_batch": 2}, {"checkpointing": "false", "seq_len": 512}, {"micro_batch": 2, "rank": 64},
    {"seq_len": 256}, {"method": "lora", "seq_len": 256},
)  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> list[Sample]:
    """Described steps; what they measured is added by each test."""
    runs = [_run(model, number, **knobs) for model in MODELS for number, knobs in enumerate(GRID)]
    runs = [replace(run, tokens_per_s_per_gpu=1.0) for run in runs]
    groups, left_out = samples(runs)
    assert left_out == {}
    (group,) = groups.values()
    return group


def _measure(group: Iterable[Sample], seed: int, noise: float = 0.01, **truth: float) -> list[Sample]:
    """What a card with these constants would show."""
    rng = np.random.default_rng(seed)
    constants = {
        name: Constant(value=value, standard_error=0.0, unit=CONSTANTS[name], records=0)
        for name, value in (TRUTH | truth).items()
    }
    profile = replace(NAMELESS, constants=constants)
    found = []
    for sample in group:
        context = constants["context_bytes"].value
        reserved = sample.allocated_bytes + constants["reserved_elasticity"].value * sample.spare_bytes
        reserved *= float(np.exp(rng.normal(0, noise)))
        speed = tokens_per_s(sample, profile)
        assert speed is not None
        run = replace(
            sample.run,
            allocated_bytes=sample.allocated_bytes,
            reserved_bytes=int(reserved),
            device_bytes=int(reserved + context + rng.normal(0, 2 * MIB)),
            tokens_per_s_per_gpu=speed * float(np.exp(rng.normal(0, 2 * noise))),
        )
        found.append(replace(sample, run=run))
    return found


def _calibrated(group: list[Sample]) -> Fit:
    return _fit(("l40s", "hf-trainer"), group, ("known.csv",))


def test_constants_are_recovered_within_their_errors(plain: list[Sample]) -> None:
    found = _calibrated(_measure(plain, 5)).profile
    assert set(found.constants) == set(TRUTH)
    assert set(found.refused) == {"workspace_bytes", "edge_elasticity"}
    for name, value in TRUTH.items():
        constant = found.constants[name]
        assert abs(constant.value - value) <= 3 * constant.standard_error
        assert constant.standard_error < 0.2 * value


def test_errors_of_constants_are_honest(plain: list[Sample]) -> None:
    """Over many draws, two standard errors hold most truths."""
    inside = []
    for seed in range(8):
        constants = fit(_measure(plain, 100 + seed)).constants
        inside += [
            abs(constants[name].value - value) <= 2 * constants[name].standard_error
            for name, value in TRUTH.items()
            if name in constants
        ]
    assert len(inside) >= 30
    assert np.mean(inside) >= 0.85


def test_models_left_out_are_predicted_better_and_intervals_hold_them(plain: list[Sample]) -> None:
    found = _calibrated(_measure(plain, 6))
    for figure in ("device", "tokens_per_s"):
        errors = found.profile.errors[figure]
        assert errors.held_out_median < 0.02
        assert errors.held_out_median < errors.uncalibrated_median
        inside, asked = found.coverage[figure]
        assert asked == 50
        assert 0.82 * asked <= inside
    fresh = _measure(plain, 7)
    span = found.profile.quantiles["device"]
    errors_ = [(s.run.device_bytes or 0) / predicted(s, found.profile)["device"] - 1 for s in fresh]
    assert 0.8 <= np.mean([span.low <= error <= span.high for error in errors_]) <= 1.0
    assert span.high - span.low < 0.08


def test_strange_runs_do_not_move_the_constants(plain: list[Sample]) -> None:
    group = _measure(plain, 8)
    bent = [
        replace(s, run=replace(s.run, device_bytes=(s.run.device_bytes or 0) * 2, tokens_per_s_per_gpu=50.0))
        if i % 12 == 0
        else s
        for i, s in enumerate(group)
    ]
    straight, other = fit(group).constants, fit(bent).constants
    for name in TRUTH:
        assert other[name].value == pytest.approx(straight[name].value, rel=0.08)


def test_context_and_workspace_apart_where_records_tell(plain: list[Sample]) -> None:
    group = [
        replace(
            s, run=replace(s.run, context_bytes=int(s.run.device_bytes or 0) - (s.run.reserved_bytes or 0) - 64 * MIB)
        )
        for s in _measure(plain, 9)
    ]
    found = fit(group).constants
    assert found["workspace_bytes"].value == pytest.approx(64 * MIB, rel=0.01)
    assert found["context_bytes"].value == pytest.approx(TRUTH["context_bytes"] - 64 * MIB, rel=0.02)


def test_out_of_memory_gives_the_edge(plain: list[Sample]) -> None:
    group = _measure(plain, 10)
    context = TRUTH["context_bytes"]

    def on_a_card(sample: Sample, share: float) -> Sample:
        """A smaller card that is `share` x the tensors' size."""
        assert sample.asked.gpu is not None
        size = int((sample.allocated_bytes * share + context) / MIB)
        asked = replace(sample.asked, gpu=replace(sample.asked.gpu, memory_total_mib=size))
        ran = share > 1.05
        run = replace(sample.run, outcome="ok" if ran else "oom", id=f"{sample.run.id}-{share}", reserved_bytes=None)
        return replace(sample, asked=asked, run=replace(run, device_bytes=None, tokens_per_s_per_gpu=None))

    boundary = [on_a_card(s, share) for s in group[::5] for share in (1.01, 1.03, 1.07, 1.1)]
    found = fit(group + boundary)
    assert found.constants["edge_elasticity"].value == pytest.approx(1.05, abs=0.01)
    assert found.edge is not None
    assert found.edge.high < 0.03


def test_what_is_timed_too_little_or_too_alike_is_refused(plain: list[Sample]) -> None:
    group = _measure(plain, 11)
    _, refused = fit_speed(group[:4])
    assert set(refused) == {"matmul_efficiency", "memory_efficiency", "launch_s"}
    assert "4 runs were timed" in refused["launch_s"]
    large = [s for s in group if s.asked.recipe.batch == 4 and s.model.endswith(("8B", "v0.1"))] * 5
    constants, refused = fit_speed(large)
    assert "launch_s" in refused
    assert len(constants) < 3


def test_left_out_runs_are_counted() -> None:
    runs = [
        replace(_run("llama-8b", 1), gpu=None),
        replace(_run("llama-8b", 2), kind="dry"),
        replace(_run("llama-8b", 3), reserved_bytes=None),
        replace(_run("llama-8b", 4), outcome="presumed_oom"),
        replace(_run("llama-8b", 5), method="dora"),
        _run("llama-8b", 6),
    ]
    groups, left_out = samples(runs)
    assert {key: len(group) for key, group in groups.items()} == {("l40s", "hf-trainer"): 1}
    assert left_out["not on a card"] == 2
    assert sum(left_out.values()) == 5


# ------------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "vramplan" / "profiles"


@pytest.fixture
def records(tmp_path: Path, plain: list[Sample]) -> Path:
    """A file of the rig's records, with lines that are none."""
    path = tmp_path / "records.jsonl"
    for sample in _measure(plain, 12):
        run, recipe = sample.run, sample.asked.recipe.as_dict()
        write_records(
            path,
            [
                Record(
                    kind="cuda", created="2026-11-22T00:00:00Z",
                    request=Request(
                        model=sample.asked.model.id, layers=sample.asked.model.layers, gpu="l40s", recipe=recipe
                    ),
                    effective=None, phases=(PhaseRecord(name="backward", step=2, allocated_bytes=1),), steps=(),
                    allocated_bytes=run.allocated_bytes, reserved_bytes=run.reserved_bytes,
                    device_bytes=run.device_bytes, tokens_per_s=run.tokens_per_s_per_gpu, outcome="ok",
                    absent={"effective": "not built"},
                )
            ],
        )  # fmt: skip
    with path.open("a") as file:
        file.write('{"schema_version": 1, "kin\nnot JSON\n')
    return path


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_two_commands_and_the_planner_knows_the_card(folder: Path, records: Path) -> None:
    result = _invoke("calibrate", str(records))
    assert result.exit_code == 0
    assert "l40s-hf-trainer: 50 runs, 5 models" in result.stdout
    assert "line 51: not JSON" in result.stdout
    assert "line 52: not JSON" in result.stdout
    assert (folder / "l40s-hf-trainer.json").exists()
    question = ("estimate", "llama-8b", "--gpu", "l40s", "--stack", "hf-trainer", "--method", "qlora")
    answer = _invoke(*question)
    assert "with profile l40s-hf-trainer (50 runs" in answer.stdout
    assert "Extrapolation" not in answer.stdout
    assert "Extrapolation" in _invoke(*question, "--batch", "64").stdout


def test_names_files_and_formats(folder: Path, records: Path, tmp_path: Path) -> None:
    document = json.loads(_invoke("calibrate", str(records), "--no-save", "--json").stdout)
    assert document["saved"] == []
    assert not folder.exists()
    (found,) = document["fits"]
    assert found["profile"]["gpu_key"] == "l40s"
    assert found["coverage"]["device"]["asked"] == 50
    assert _invoke("calibrate", str(records), "--name", "mine").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["mine.json"]
    out = tmp_path / "here.json"
    assert _invoke("calibrate", str(records), "--output", str(out)).exit_code == 0
    profile = json.loads(out.read_text())
    assert profile["name"] == "here"
    markdown = _invoke("calibrate", str(records), "--no-save", "--format", "markdown").stdout
    assert "| --- |" in markdown


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--gpu", "l40z"), 2, "unknown GPU"),
        (("--stack", "trll"), 2, "unknown stack"),
        (("--name", "none"), 2, "not a plain name"),
        (("--name", "a/b"), 2, "not a plain name"),
        (("--gpu", "t4"), 1, ""),
        (("--gpu", "t4", "--name", "x"), 2, "0 profiles"),
    ],
)
def test_errors(folder: Path, records: Path, options: tuple[str, ...], code: int, words: str) -> None:
    result = _invoke("calibrate", str(records), *options)
    assert result.exit_code == code
    assert words in result.stderr
    assert len(result.stderr.splitlines()) <= 1
    assert not folder.exists()


def test_without_numpy_one_line(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(VramplanError, match=r"needs numpy: pip install 'vramplan\[sweep\]'"):
        calibrate([records])


def test_repeats_stay_together_and_a_fifth_is_held_out(plain: list[Sample]) -> None:
    sample = plain[0]
    again = replace(sample, run=replace(sample.run, id=sample.run.id + "#2"))
    assert again.held_out == sample.held_out
    many = [replace(sample, run=replace(sample.run, id=f"run-{i}")).held_out for i in range(500)]
    assert 0.12 <= np.mean(many) <= 0.28


# ------------------------------------------------------------ the public runs, where they are at hand

needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason="the public runs lie beside the repository, not in it")


@cache
def _public(gpu: str, stack: str) -> Fit:
    (found,) = calibrate([CORPUS], gpu=gpu, stack=stack).fits
    return found


@needs_corpus
@pytest.mark.parametrize("pair", [("t4", "transformers-5"), ("a100-80", "transformers-4.45+foak")])
def test_shipped_profiles_are_what_the_public_runs_give(pair: tuple[str, str]) -> None:
    """`make golden` writes them anew where they are not; numpy's last digits may differ from machine to machine."""
    path = SHIPPED / "{}-{}.json".format(*pair)
    found = _public(*pair)
    if os.environ.get("UPDATE_GOLDEN") and not (path.exists() and _alike(read_profile(path), found.profile)):
        write_profile(path, found.profile)
    assert _alike(read_profile(path), found.profile)


def _alike(shipped: Profile, fresh: Profile) -> bool:
    def numbers(profile: Profile) -> list[float]:
        constants = [value for c in profile.constants.values() for value in (c.value, c.standard_error)]
        return constants + [end for q in profile.quantiles.values() for end in (q.low, q.high)]

    same = replace(fresh, created=shipped.created, constants={}, quantiles={}, errors={}, refused={}) == replace(
        shipped, constants={}, quantiles={}, errors={}, refused={}
    )
    names = (set(shipped.constants), set(shipped.quantiles)) == (set(fresh.constants), set(fresh.quantiles))
    return same and names and numbers(shipped) == pytest.approx(numbers(fresh), rel=1e-3, abs=1e-4)


@needs_corpus
def test_public_runs_on_the_t4() -> None:
    found = _public("t4", "transformers-5")
    assert found.profile.constants["context_bytes"].value == pytest.approx(141.3 * MIB, rel=0.01)
    assert "no better" in found.profile.refused["reserved_elasticity"]
    device = found.profile.errors["device"]
    assert device.held_out_median <= 0.02
    inside, asked = found.coverage["device"]
    assert 0.85 <= inside / asked <= 0.95
    assert found.profile.errors["tokens_per_s"].held_out_median <= 0.10


@needs_corpus
def test_public_runs_on_the_a100() -> None:
    found = _public("a100-80", "transformers-4.45+foak")
    device = found.profile.errors["device"]
    assert device.held_out_median <= 0.02 < device.uncalibrated_median
    assert found.profile.errors["tokens_per_s"].held_out_median <= 0.10


@needs_corpus
def test_nothing_is_fitted_to_texts_of_many_lengths() -> None:
    found = _public("a100-80", "ms-swift")
    assert found.profile.constants == {}
    assert "something else is at work" in found.profile.refused["reserved_elasticity"]
    assert found.profile.errors["reserved"].uncalibrated_median > 0.2
