"""A config.json from the user's disk or from the hub: untrusted, so every way it can be broken has its line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NoReturn

from ..errors import VramplanError

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
    if not os.path.exists(path):
        raise VramplanError(f"{path}: no such file")
    if not os.path.isfile(path):
        raise VramplanError(f"{path}: not a regular file")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None
    return path, parse(data, path)


def parse(data: bytes, path: str) -> Mapping[str, object]:
    """The object that `data` holds as JSON; `path` is for errors."""
    if len(data) > LARGEST_FILE_BYTES:
        raise VramplanError(f"{path}: larger than {LARGEST_FILE_BYTES // 2**20} MiB, so not a model's config.json")
    if not data.strip():
        raise VramplanError(f"{path}: the file is empty")
    try:
        values = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise VramplanError(f"{path}: not a text file") from None
    except json.JSONDecodeError as error:
        raise VramplanError(f"{path}: not JSON, or cut off: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise VramplanError(f"{path}: not a usable JSON: {str(error)[:80]}") from None
    if not isinstance(values, dict):
        raise VramplanError(f"{path}: holds a JSON {type(values).__name__}, not an object")
    return values


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number that JSON allows")
