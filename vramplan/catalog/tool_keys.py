"""Which keys the configuration files of training tools have (`tool_keys.json`, each list with its source)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from .files import shipped_text


@cache
def _tables() -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = json.loads(shipped_text("tool_keys.json"))
    return tables


@cache
def tool_keys(tool: str) -> frozenset[str]:
    """Keys of `trl`, `axolotl`, `llama-factory`, ...; those of some tools come in several lists."""
    return frozenset(_tables()[tool]["keys"])
