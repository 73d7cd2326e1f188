"""Today's prices through the gpuhunt package (extra [prices]), which downloads the catalogues that dstack publishes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from ..errors import VramplanError
from ..price import Price

GPUS: dict[tuple[str, int], str] = {
    ("A10", 24): "a10", ("A10G", 24): "a10g", ("A16", 16): "a16", ("A40", 48): "a40", ("A100", 40): "a100-40",
    ("A100", 80): "a100-80", ("A4000", 16): "rtx-a4000", ("A4500", 20): "rtx-a4500", ("A5000", 24): "rtx-a5000",
    ("A6000", 48): "rtx-a6000", ("B200", 180): "b200", ("B300", 270): "b300", ("GB200", 186): "gb200",
    ("GB300", 270): "gb300", ("GH200", 96): "gh200-96", ("H100", 80): "h100", ("H100NVL", 94): "h100-nvl",
    ("H200", 141): "h200", ("H200NVL", 141): "h200-nvl", ("L4", 24): "l4", ("L40", 48): "l40", ("L40S", 48): "l40s",
    ("MI210", 64): "mi210", ("MI250", 128): "mi250", ("MI250X", 128): "mi250x", ("MI300X", 192): "mi300x",
    ("MI350X", 288): "mi350x", ("MI355X", 288): "mi355x", ("P100", 16): "p100-16", ("RTX2000Ada", 16): "rtx-2000-ada",
    ("RTX3070", 8): "rtx-3070", ("RTX3080", 10): "rtx-3080-10", ("RTX3080Ti", 12): "rtx-3080-ti",
    ("RTX3090", 24): "rtx-3090", ("RTX3090Ti", 24): "rtx-3090-ti", ("RTX4000Ada", 20): "rtx-4000-ada",
    ("RTX4060Ti", 16): "rtx-4060-ti-16", ("RTX4070", 12): "rtx-4070", ("RTX4070SUPER", 12): "rtx-4070-super",
    ("RTX4070Ti", 12): "rtx-4070-ti", ("RTX4070TiSUPER", 16): "rtx-4070-ti-super", ("RTX4080", 16): "rtx-4080",
    ("RTX4080SUPER", 16): "rtx-4080-super", ("RTX4090", 24): "rtx-4090", ("RTX5070", 12): "rtx-5070",
    ("RTX5070Ti", 16): "rtx-5070-ti", ("RTX5080", 16): "rtx-5080", ("RTX5090", 32): "rtx-5090",
    ("RTX6000Ada", 48): "rtx-6000-ada", ("RTXPRO4500", 32): "rtx-pro-4500", ("RTXPRO6000", 96): "rtx-pro-6000",
    ("T4", 16): "t4", ("V100", 16): "v100-16", ("V100", 32): "v100-32",
}  # fmt: skip
"""gpuhunt's name and GB -> key of the catalogue (gpuhunt 0.1.34, KNOWN_NVIDIA_GPUS and KNOWN_AMD_GPUS)."""
FORM_UNSAID = {"a100-80": "SXM or PCIe", "h100": "SXM or PCIe", "a100-40": "SXM or PCIe", "v100-16": "SXM or PCIe"}
"""Cards that the name alone does not tell apart."""


class Refreshed(NamedTuple):
    prices: tuple[Price, ...]
    skipped: int
    """Offers of cards that the catalogue does not have."""


def current_prices(today: date) -> Refreshed:
    """What gpuhunt's catalogues offer now. Raises VramplanError without the package or the network."""
    offers = _offers()
    found = tuple(_prices(offers, today))
    if not found:
        raise VramplanError("gpuhunt gave no price of a known card; the prices stay as they are")
    return Refreshed(found, len(offers) - len(found))


def _offers() -> list[Any]:
    try:
        from gpuhunt import Catalog
    except ImportError:
        raise VramplanError("refreshing prices needs the package gpuhunt: pip install 'vramplan[prices]'") from None
    logging.disable(logging.CRITICAL)  # it logs a traceback for every provider
    try:
        catalog = Catalog(auto_reload=False)
        if not os.environ.get("GPUHUNT_CATALOG_DIR"):
            catalog.load()
        return list(catalog.query(min_gpu_count=1))
    except Exception as error:  # the package lets errors of every provider through
        cause = error.__cause__ or error
        said = " ".join(str(getattr(cause, "reason", cause)).split())[:120]
        raise VramplanError(f"prices cannot be refreshed, no network? ({type(cause).__name__}: {said})") from None
    finally:
        logging.disable(logging.NOTSET)


def _prices(offers: Iterable[Any], today: date) -> Iterator[Price]:
    for offer in offers:
        key = GPUS.get((offer.gpu_name or "", round(offer.gpu_memory or 0)))
        if key is None or offer.price <= 0:
            continue
        yield Price(
            date=today,
            provider=offer.provider,
            region=offer.location,
            instance=offer.instance_name,
            gpu_key=key,
            count=offer.gpu_count,
            usd_per_hour=Decimal(str(offer.price)),
            kind="spot" if offer.spot else "on_demand",
            note=f"{FORM_UNSAID[key]} is not said" if key in FORM_UNSAID else "",
            source="gpuhunt",
        )
