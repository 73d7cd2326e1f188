"""What the driver tells, in its versions; what it does not tell is None with a reason, never 0."""

from __future__ import annotations

import pytest

from vramplan.errors import VramplanError
from vramplan_bench.runner.nvml import Board, open_board, throttle_names

from .fake_nvml import MIB, FakeNvml


def board(nvml: FakeNvml, visible: str = "0") -> Board:
    found = open_board(nvml, visible)
    assert found is not None
    return found


@pytest.mark.parametrize(("versions", "reserved"), [(2, 400 * MIB), (1, None)])
def test_device_use_is_total_less_free_in_both_versions(versions: int, reserved: int | None) -> None:
    memory = board(FakeNvml(versions=versions)).memory()
    assert memory is not None
    assert (memory.total_bytes, memory.used_bytes, memory.reserved_bytes) == (81_559 * MIB, 500 * MIB, reserved)


def test_readings_in_their_units() -> None:
    one = board(FakeNvml())
    assert (one.power_w(), one.energy_j(), one.temperature_c(), one.sm_clock_mhz()) == (350.5, 10_000.0, 41, 1755)
    assert one.facts() == {
        "gpu": "NVIDIA H100 80GB HBM3", "driver": "580.65", "power_limit_w": "700", "ecc": "on", "vbios": "96.00",
    }  # fmt: skip
    assert one.failed == {}


def test_what_is_denied_or_unsupported_is_none_with_its_reason() -> None:
    one = board(FakeNvml(refuse=("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetMemoryInfo",
                                 "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetEccMode")))  # fmt: skip
    assert (one.energy_j(), one.memory(), one.used_bytes(), one.processes()) == (None, None, None, None)
    assert one.failed["nvmlDeviceGetTotalEnergyConsumption"] == "NVMLError: Not Supported"
    assert "ecc" not in one.facts()


@pytest.mark.parametrize("refused", ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetName"])
def test_one_refusal_spoils_nothing_else(refused: str) -> None:
    one = board(FakeNvml(refuse=(refused,)))
    assert (one.throttle_bits() is None) == (refused != "nvmlDeviceGetName")
    assert one.sm_clock_mhz() == 1755


def test_only_reasons_that_slow_down_are_named() -> None:
    assert throttle_names(0x4 | 0x1) == ("power cap",)
    assert throttle_names(0x1 | 0x2) == ()


def test_no_driver_or_no_gpu_is_no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_board(FakeNvml(driver=False), "0") is None
    assert open_board(FakeNvml(devices=0), "") is None
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert open_board(FakeNvml()) is None


@pytest.mark.parametrize("visible", ["7", "GPU-9", "x"])
def test_a_name_that_fits_no_gpu_is_an_error(visible: str) -> None:
    with pytest.raises(VramplanError, match="no GPU"):
        open_board(FakeNvml(), visible)


def test_a_divided_gpu_needs_the_name_of_a_slice() -> None:
    with pytest.raises(VramplanError, match="MIG"):
        open_board(FakeNvml(mig=(1, 1)), "0")
    assert open_board(FakeNvml(mig=(1, 1)), "MIG-1/2/0") is not None
    assert open_board(FakeNvml(mig=None), "0") is not None, "a card that cannot be divided"


def test_nothing_is_ever_set() -> None:
    nvml = FakeNvml()
    one = board(nvml)
    one.facts(), one.memory(), one.power_w(), one.energy_j(), one.processes(), one.throttle_bits(), one.uuid()
    assert not [call for call in nvml.calls if "Set" in call or "Reset" in call]
