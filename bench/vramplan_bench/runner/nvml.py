"""The driver's readings of one GPU, through nvidia-ml-py. Nothing in here changes a setting.

Device use is total - free: `used` counts the driver's own share in one version of the call and not in the other. Memory
by process is not read: in a container the driver often tells of none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vramplan.errors import VramplanError, one_line

SM_CLOCK = 1
"""nvml.h, nvmlClockType_t: NVML_CLOCK_SM."""
TEMPERATURE_OF_GPU = 0
"""nvml.h, nvmlTemperatureSensors_t."""
THROTTLE_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "heat", 0x40: "hardware heat", 0x80: "power brake",
}  # fmt: skip
"""nvml.h, nvmlClocksEventReason*; idle, application clocks and the like slow nothing down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Memory of the whole device at one instant."""

    total_bytes: int
    free_bytes: int
    reserved_bytes: int | None
    """The driver's own share; None where the driver knows only the first version of the call."""

    @property
    def used_bytes(self) -> int:
        return self.total_bytes - self.free_bytes


class Board:
    """One GPU. A reading is a value, or None with its reason in `failed`."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.failed: dict[str, str] = {}

    def _read(self, function: str, *args: Any, of_device: bool = True) -> Any:
        try:
            call = getattr(self._nvml, function)
            value = call(self._handle, *args) if of_device else call(*args)
        except Exception as error:  # NVMLError and its many kinds; AttributeError in an older package
            self.failed[function] = f"{type(error).__name__}: {error}"[:200]
            return None
        return value.decode() if isinstance(value, bytes) else value

    def memory(self) -> DeviceMemory | None:
        """By the second version of the call where the driver has it."""
        second = getattr(self._nvml, "nvmlMemory_v2", None)
        info = self._read("nvmlDeviceGetMemoryInfo", second) if second is not None else None
        reserved = int(info.reserved) if info is not None else None
        info = info if info is not None else self._read("nvmlDeviceGetMemoryInfo")
        if info is None:
            return None
        return DeviceMemory(total_bytes=int(info.total), free_bytes=int(info.free), reserved_bytes=reserved)

    def used_bytes(self) -> int | None:
        memory = self.memory()
        return None if memory is None else memory.used_bytes

    def power_w(self) -> float | None:
        """The mean of the last second on Ampere and later, of a shorter time before."""
        return _scaled(self._read("nvmlDeviceGetPowerUsage"))

    def energy_j(self) -> float | None:
        """Counted since the driver was loaded."""
        return _scaled(self._read("nvmlDeviceGetTotalEnergyConsumption"))

    def temperature_c(self) -> int | None:
        return _whole(self._read("nvmlDeviceGetTemperature", TEMPERATURE_OF_GPU))

    def sm_clock_mhz(self) -> int | None:
        return _whole(self._read("nvmlDeviceGetClockInfo", SM_CLOCK))

    def throttle_bits(self) -> int | None:
        newer = "nvmlDeviceGetCurrentClocksEventReasons"
        function = newer if hasattr(self._nvml, newer) else "nvmlDeviceGetCurrentClocksThrottleReasons"
        return _whole(self._read(function))

    def processes(self) -> tuple[int, ...] | None:
        """Ids of the processes that compute on the device, as the driver numbers them."""
        found = self._read("nvmlDeviceGetComputeRunningProcesses")
        return None if found is None else tuple(int(process.pid) for process in found)

    def name(self) -> str | None:
        name = self._read("nvmlDeviceGetName")
        return None if name is None else str(name)

    def uuid(self) -> str | None:
        uuid = self._read("nvmlDeviceGetUUID")
        return None if uuid is None else str(uuid)

    def facts(self) -> dict[str, str]:
        """What tells this device and its settings from another; what cannot be read is left out."""
        limit = _scaled(self._read("nvmlDeviceGetEnforcedPowerLimit"))
        ecc = self._read("nvmlDeviceGetEccMode")
        found: dict[str, Any] = {
            "gpu": self.name(),
            "driver": self._read("nvmlSystemGetDriverVersion", of_device=False),
            "power_limit_w": None if limit is None else f"{limit:.0f}",
            "ecc": None if ecc is None else ("on" if ecc[0] else "off"),
            "vbios": self._read("nvmlDeviceGetVbiosVersion"),
        }
        return {name: str(value) for name, value in found.items() if value is not None}


def throttle_names(bits: int) -> tuple[str, ...]:
    """What held the clocks down."""
    return tuple(name for bit, name in THROTTLE_REASONS.items() if bits & bit)


def open_board(nvml: Any = None, visible: str | None = None) -> Board | None:
    """The GPU that CUDA_VISIBLE_DEVICES names first, else the first of all; None where there is no driver or no GPU.

    Raises VramplanError where a name fits no GPU, or where the GPU is divided (MIG) and no slice of it is named.
    """
    wanted = (os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible) or ""
    first = wanted.split(",")[0].strip()
    if first == "-1" or (visible is None and os.environ.get("CUDA_VISIBLE_DEVICES") == ""):
        return None
    library = nvml or _library()
    if library is None or _failure(library.nvmlInit) is not None:
        return None
    if not first and not _count(library):
        return None
    try:
        handle = _handle(library, first)
    except Exception as error:
        words = one_line(error, 300)
        raise VramplanError(f"no GPU {first or 0!r} (CUDA_VISIBLE_DEVICES): {words}") from None
    board = Board(library, handle)
    mig = board._read("nvmlDeviceGetMigMode")
    if mig is not None and mig[0] and not first.startswith("MIG-"):
        raise VramplanError(
            f"{board.name()} is divided (MIG): name a slice in CUDA_VISIBLE_DEVICES (`nvidia-smi -L` lists them)"
        )
    board.failed.clear()
    return board


def _handle(library: Any, first: str) -> Any:
    if first.startswith(("GPU-", "MIG-")):
        return library.nvmlDeviceGetHandleByUUID(first)
    return library.nvmlDeviceGetHandleByIndex(int(first or 0))


def _count(library: Any) -> int:
    try:
        return int(library.nvmlDeviceGetCount())
    except Exception:
        return 0


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _failure(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def _scaled(value: Any) -> float | None:
    """From thousandths."""
    return None if value is None else float(value) / 1000


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
