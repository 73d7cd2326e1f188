"""How numbers are written for people. GiB (2^30 bytes) exists here and nowhere below."""

from __future__ import annotations

from vramplan.units import GIB


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
