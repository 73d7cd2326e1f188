"""A config.json from the user's disk or from the hub: untrusted, so every way it can be broken has its line."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import VramplanError
from ..files import read_object

LARGEST_FILE_BYTES = 4 * 2**20
"""Real ones have a few KiB; quantised mixtures with a list of exceptions reach some hundred."""


def looks_like_path(name: str) -> bool:
    """Written as a path: a separator behind a leading `.`, `/` or `~`, or a name that ends in .json."""
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..") or name.endswith(".json")


def read_config_file(path: str) -> tuple[str, Mapping[str, object]]:
    """The file's path and its keys. `path` is a config.json or the folder that holds one."""
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        path = os.path.join(path, "config.json")
        if not os.path.exists(path):
            raise VramplanError(f"{os.path.dirname(path)}: the folder holds no config.json")
    return path, read_object(path, "a model's config.json", LARGEST_FILE_BYTES)
