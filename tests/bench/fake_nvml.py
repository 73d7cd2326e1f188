"""A driver that says what a test wants: stands for the module `pynvml`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

MIB = 2**20


class NVMLError(Exception):
    """As the package's own."""


class FakeNvml:
    """One GPU. `refuse`: functions that fail; `versions`: of the memory call; `uses`: bytes in use, one by one."""

    nvmlMemory_v2 = 2

    def __init__(self, *, name: str = "NVIDIA H100 80GB HBM3", refuse: tuple[str, ...] = (), versions: int = 2,
                 mig: tuple[int, int] | None = (0, 0), devices: int = 1, uses: tuple[int, ...] = (500 * MIB,),
                 energy: tuple[int, ...] = (10_000_000,), pids: tuple[int, ...] = (),
                 driver: bool = True) -> None:  # fmt: skip
        self.name, self.refuse, self.mig, self.devices, self.driver = name, refuse, mig, devices, driver
        self.uses, self.energy, self.pids = list(uses), list(energy), pids
        self.calls: list[str] = []
        if versions == 1:
            self.nvmlMemory_v2 = None  # type: ignore[assignment]
        self.total = 81_559 * MIB

    def __getattribute__(self, function: str) -> Any:
        if function.startswith(("nvmlDevice", "nvmlSystem")):
            object.__getattribute__(self, "calls").append(function)
            if function in object.__getattribute__(self, "refuse"):

                def refused(*_: Any) -> None:
                    raise NVMLError("Not Supported")

                return refused
        return object.__getattribute__(self, function)

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return self.devices

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index >= self.devices:
            raise NVMLError("Invalid Argument")
        return f"handle {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if not uuid.startswith(("GPU-1", "MIG-1")):
            raise NVMLError("Not Found")
        return f"handle {uuid}"

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        if self.mig is None:
            raise NVMLError("Not Supported")
        return self.mig

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int | None = None) -> SimpleNamespace:
        used = self.uses.pop(0) if len(self.uses) > 1 else self.uses[0]
        info = SimpleNamespace(total=self.total, free=self.total - used, used=used)
        if version is not None:  # the second version has the driver's share apart
            info.reserved = 400 * MIB
            info.used = used - info.reserved
        return info

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return self.name.encode()

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return "GPU-1"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlDeviceGetVbiosVersion(self, handle: str) -> str:
        return "96.00"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 700_000

    def nvmlDeviceGetEccMode(self, handle: str) -> list[int]:
        return [1, 1]

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 350_500

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        return self.energy.pop(0) if len(self.energy) > 1 else self.energy[0]

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 41

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        return 1_755 if kind == 1 else 2_619

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return 0x4 | 0x1

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self.pids]
