"""Files of the user's: read within bounds, since nothing in them is trusted, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import VramplanError, one_line


def user_path(*names: str) -> str:
    """A file or folder among the user's own settings (XDG base directory specification)."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(config, "vramplan", *names)


def read_text(path: str | os.PathLike[str], what: str, most_bytes: int, *, if_empty: str = "") -> str:
    """The text of a file that should hold `what` ("a runs file"), in UTF-8 with or without a byte order mark.

    Raises VramplanError in one line, with `if_empty` behind it for a file that holds nothing.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        raise VramplanError(f"{name}: a folder, not {what}")
    if os.path.exists(name) and not os.path.isfile(name):  # a pipe that nobody fills would be waited for
        raise VramplanError(f"{name}: not a regular file")
    try:
        with open(name, "rb") as file:
            data = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise VramplanError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise VramplanError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > most_bytes:
        raise VramplanError(f"{name}: larger than {most_bytes // 2**20} MiB, so not {what}")
    if not data.strip():
        raise VramplanError(f"{name}: the file is empty{if_empty}")
    return _decoded(data, name)


def _decoded(data: bytes, name: str) -> str:
    try:
        text, wrong = data.decode("utf-8-sig"), data.find(b"\0")
    except UnicodeDecodeError as error:
        text, wrong = "", error.start
    if wrong >= 0:
        line = data.count(b"\n", 0, wrong) + 1
        raise VramplanError(f"{name}:{line}: not a text file in UTF-8")
    return text


def read_object(path: str | os.PathLike[str], what: str, most_bytes: int) -> dict[str, Any]:
    """The JSON object in a file that should hold `what`. Raises VramplanError."""
    name = os.fspath(path)
    return parse_object(read_text(name, what, most_bytes), name)


def parse_object(text: str, where: str) -> dict[str, Any]:
    """The JSON object that `text` holds; `where` names it in errors. Raises VramplanError."""
    import json

    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise VramplanError(f"{where}:{error.lineno}: not JSON, or cut off: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise VramplanError(f"{where}: not a usable JSON: {one_line(error, 80)}") from None
    if not isinstance(values, dict):
        raise VramplanError(f"{where}: holds a JSON {type(values).__name__}, not an object")
    return values


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number that JSON allows")


def refuse_unwritable(path: str, *, force: bool) -> None:
    """Say at once what would stop `write_whole` later: a folder, another file without `force`. Raises VramplanError."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise VramplanError(f"{path} is a folder; name a file")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise VramplanError(f"{path} is no regular file; name another, or write to the standard output")
    if os.path.lexists(path) and not force:
        raise VramplanError(f"{path} exists; --force writes over it")
    if not os.path.isdir(folder):
        raise VramplanError(f"{path}: no folder {folder!r}")


def write_whole(path: str, write: Callable[[str], object], *, force: bool) -> None:
    """Let `write` fill a file beside `path` and rename it: a failure leaves what was there before, and nothing else.

    Raises VramplanError in one line: no room, no right to write there, a file that came to be there meanwhile.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        write(part)
        refuse_unwritable(path, force=force)
        os.replace(part, target)
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror or error}") from None
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def write_text(path: str, text: str, *, force: bool) -> None:
    """The same for a text, in UTF-8 with its own line ends."""

    def fill(part: str) -> None:
        with open(part, "w", encoding="utf-8", newline="") as file:
            file.write(text)

    write_whole(path, fill, force=force)


def save_text(path: str, text: str) -> None:
    """Keep a text for later answers: folders are made, an older one is replaced. Raises VramplanError."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None
    write_text(path, text, force=True)
