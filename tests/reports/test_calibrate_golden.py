"""How a calibration and profiles are written, with a fit made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

from vramplan.calibrate.result import Calibration, Figure, Fit, Residual
from vramplan.profile import Constant, Errors, Interval, Profile
from vramplan.units import GIB, MIB
from vramplan_reports import calibrate, markdown, profiles, terminal

Golden = Callable[[str, str], None]

PROFILE = Profile(
    name="h100-trl", gpu_key="h100", stack="trl", created="2026-11-22",
    constants={
        "context_bytes": Constant(value=512.0 * MIB, standard_error=1.5 * MIB, unit="B", records=40),
        "matmul_efficiency": Constant(value=0.71, standard_error=0.02, unit="1", records=40),
        "launch_s": Constant(value=11.5e-6, standard_error=0.4e-6, unit="s", records=40),
    },
    refused={"memory_efficiency": "no run's time depends on it", "edge_elasticity": "no run's time depends on it"},
    quantiles={"device": Interval(level=0.9, low=-0.021, high=0.034, records=40, models=3)},
    errors={
        "device": Errors(
            records=40, uncalibrated_median=0.04, in_sample_median=0.01, held_out_median=0.015, held_out_worst=-0.06
        )
    },
    ranges={"parameters": (10**9, 8 * 10**9), "allocated_bytes": (2 * GIB, 60 * GIB)},
    methods=("lora", "qlora"), models=("a/one", "b/two", "c/three"), record_ids=("r1", "r2", "r3"),
    source="records.jsonl",
)  # fmt: skip


def _residuals(figure: Figure, *errors: float) -> tuple[Residual, ...]:
    return tuple(
        Residual(
            id=f"r{number}", model=model, unit=model, figure=figure, uncalibrated=2 * error, in_sample=error / 2,
            left_out=error, by_cell=error if number == 1 else None,
        )
        for number, (model, error) in enumerate(zip(PROFILE.models, errors, strict=True))
    )  # fmt: skip


CALIBRATION = Calibration(
    files=("records.jsonl",),
    fits=(
        Fit(
            profile=PROFILE, runs=3,
            residuals=_residuals("device", 0.01, -0.02, 0.015) + _residuals("tokens_per_s", 0.1, -0.05, 0.02),
            coverage={"device": (2, 3)},
        ),
    ),
    too_few={"h100 with unsloth": 2},
    left_out={"not on a card": 4, "method 'dora': only full, lora and qlora are described": 1},
    saved=("profiles/h100-trl.json",),
)  # fmt: skip


def test_calibration(golden: Golden) -> None:
    golden("reports/calibrate.txt", terminal.render(calibrate.sheet(CALIBRATION), width=80, color=False))
    golden("reports/calibrate.md", markdown.render(calibrate.sheet(CALIBRATION)))
    golden("reports/calibrate.json", json.dumps(calibrate.document(CALIBRATION), indent=2) + "\n")


def test_nothing_told() -> None:
    text = terminal.render(
        calibrate.sheet(Calibration(files=("x",), fits=(), too_few={}, left_out={})), width=80, color=False
    )
    assert text == "No profile: these runs tell no constant.\n"


def test_profile(golden: Golden) -> None:
    golden("reports/profile.txt", terminal.render(profiles.DETAIL.sheet(PROFILE), width=80, color=False))
    both = terminal.render(profiles.COMPARISON.sheet((PROFILE, PROFILE)), width=80, color=False)
    golden("reports/profile-compared.txt", both)
