"""How numbers are written for people. GiB (2^30 bytes) exists here and nowhere below."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from vramplan.units import GIB, MIB

if TYPE_CHECKING:
    from vramplan.profile import Constant


def gib(size_bytes: int, decimals: int = 1) -> str:
    """46.2"""
    return f"{size_bytes / GIB:,.{decimals}f}"


def signed_gib(size_bytes: int, decimals: int = 1) -> str:
    """+33.8 or -12.0"""
    return f"{size_bytes / GIB:+,.{decimals}f}"


def many(count: int) -> str:
    """Parameters and the like, to three or four figures: 70.55 B, 207.1 M, 8,192."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            scaled = count / size
            return f"{scaled:.2f} {unit}" if scaled < 100 else f"{scaled:.1f} {unit}"
    return f"{count:,}"


def percent(part: int, whole: int) -> str:
    """0.29 %, 12 %, 100 %"""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.2f} %" if 0 < share < 1 else f"{share:.0f} %"


def share(part: float, sign: str = "") -> str:
    """A part as percent without its sign: 0.31, +20.2, -1.57"""
    size = abs(100 * part)
    decimals = 2 if size < 10 else 1 if size < 1000 else 0
    return f"{100 * part:{sign}.{decimals}f}"


def whole(number: float) -> str:
    """A rate to a whole number: 2,877; below ten with one decimal."""
    return f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def milliseconds(duration_s: float) -> str:
    """717, 12.4, 0.15"""
    number = 1000 * duration_s
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def dollars(usd: Decimal) -> str:
    """A rate: 12.40, 0.73, 0.042; cents, and below ten cents two figures."""
    return f"{usd:,.2f}" if usd >= Decimal("0.1") else f"{usd:,.2g}" if usd >= Decimal("0.0001") else f"{usd:.6f}"


def constant(found: Constant) -> tuple[str, str, str]:
    """Value with its unit, standard error, runs: 141.3 MiB, 0.2, 59."""
    scale, unit, digits = {"B": (MIB, " MiB", 1), "s": (1e-6, " µs", 2), "1": (1.0, "", 3)}[found.unit]
    return f"{found.value / scale:.{digits}f}{unit}", f"{found.standard_error / scale:.{digits}f}", str(found.records)
