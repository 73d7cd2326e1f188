"""The catalogue's files, found beside the code of `vramplan_profiles`."""

from __future__ import annotations

import csv
import os

from vramplan_profiles import DATA


def shipped_text(name: str) -> str:
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        return file.read()


def shipped_rows(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file by column name."""
    with open(os.path.join(DATA, name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
