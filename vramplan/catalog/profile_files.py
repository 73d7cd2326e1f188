"""Fitted profiles by name: a file, one of the user's (`~/.config/vramplan/profiles`), or one that comes along.

A profile called after its card and stack (`t4-transformers-5`) is used for them without being asked for; the user's
comes before the shipped one of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vramplan_profiles import DATA

from ..errors import InvalidValueError, UnknownNameError, VramplanError
from ..files import user_path

if TYPE_CHECKING:
    from ..profile import Profile

SUFFIX = ".json"
NO_PROFILE = "none"
"""Asked for by name, it answers without any profile."""


def user_folder() -> str:
    """Where the profiles of this user lie."""
    return user_path("profiles")


def _folders() -> tuple[str, str]:
    return user_folder(), os.path.join(DATA, "fitted")


def default_name(gpu_key: str, stack: str) -> str:
    """What a profile is called that is to be used without being asked for."""
    return f"{gpu_key}-{stack}"


def profile_paths() -> dict[str, str]:
    """Name -> file of every profile there is."""
    found: dict[str, str] = {}
    for folder in _folders():
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if name.endswith(SUFFIX):
                found.setdefault(name.removesuffix(SUFFIX), os.path.join(folder, name))
    return found


def profiles() -> Iterator[Profile]:
    """Every profile, the user's first."""
    from ..profile import read_profile

    yield from map(read_profile, profile_paths().values())


def find_profile(name_or_path: str) -> Profile:
    """The profile of that name, or in that file. Raises UnknownNameError, or what is wrong with the file."""
    from ..profile import read_profile

    known = profile_paths()
    if name_or_path in known:
        return read_profile(known[name_or_path])
    if os.sep in name_or_path or name_or_path.endswith(SUFFIX) or os.path.isfile(name_or_path):
        return read_profile(name_or_path)
    hint = "`vramplan profiles` lists them; `vramplan calibrate` makes one"
    raise UnknownNameError("profile", name_or_path, known, hint=hint)


def profile_for(gpu_key: str, stack: str) -> Profile | None:
    """The profile that is used for a card and stack unless another is asked for, if there is one."""
    name = default_name(gpu_key, stack) + SUFFIX
    for folder in _folders():
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            from ..profile import read_profile

            profile = read_profile(path)
            if (profile.gpu_key, profile.stack) == (gpu_key, stack):
                return profile
    return None


def check_name(name: str) -> None:
    """A name that can be a file's, and is not taken for something else. Raises InvalidValueError."""
    plain = name == os.path.basename(name) and not name.startswith(".") and not name.endswith(SUFFIX)
    if not name or not plain or name == NO_PROFILE:
        raise InvalidValueError("profile name", name, "a plain name (not `none`, no folder, no .json)")


def remove_profile(name: str) -> str:
    """Delete a profile of the user; the file that is gone. Raises VramplanError for one that came along."""
    path = profile_paths().get(name)
    if path is None:
        raise UnknownNameError("profile", name, profile_paths(), hint="`vramplan profiles` lists them")
    if os.path.dirname(path) != user_folder():
        raise VramplanError(f"profile {name!r} came with vramplan ({path}); `--profile none` answers without it")
    try:
        os.remove(path)
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None
    return path
