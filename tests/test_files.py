"""Files of the user's: what is wrong with one is a line that names it; a write leaves the whole file or the old one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vramplan.errors import VramplanError
from vramplan.files import read_object, read_text, refuse_unwritable, save_text, user_path, write_text, write_whole

MIB = 2**20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty; write one"),
        (b" \n\t\n", "the file is empty; write one"),
        (b"a\nb\n\xff\n", ":3: not a text file in UTF-8"),
        (b"a\n\0", ":2: not a text file in UTF-8"),
        ("text".encode("utf-16"), ":1: not a text file in UTF-8"),
        (b"x" * (MIB + 1), "larger than 1 MiB, so not a list"),
    ],
)
def test_a_text_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(VramplanError) as caught:
        read_text(path, "a list", MIB, if_empty="; write one")
    assert str(caught.value).startswith(str(path)) and str(caught.value).endswith(said)
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        (tmp_path, "a folder, not a list"), (tmp_path / "none", "no such file"),
        (tmp_path / "pipe", "not a regular file"), ("a\0b", "null byte"), ("n" * 300, "name too long"),
    ):  # fmt: skip
        with pytest.raises(VramplanError, match=f"(?i){said}"):
            read_text(name, "a list", MIB)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa\r\nü".encode())
    assert read_text(path, "a list", MIB) == "a\r\nü"


def test_json_that_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, said in (
        ('{"a":\n', "a.json:2: not JSON, or cut off"), ("[1]", "holds a JSON list"), ("1", "holds a JSON int"),
        ('{"a": NaN}', "NaN is not a number"), ("[" * 100_000, "not a usable JSON"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(VramplanError, match=said):
            read_object(path, "an answer", MIB)


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(part: str) -> None:
        Path(part).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(VramplanError, match=r"a\.txt: No space left on device"):
        write_whole(str(path), fail, force=True)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    path, link = str(tmp_path / "a.txt"), tmp_path / "link.txt"
    write_text(path, "one\r\n", force=False)
    with pytest.raises(VramplanError, match="exists; --force writes over it"):
        write_text(path, "two", force=False)
    assert Path(path).read_bytes() == b"one\r\n"
    link.symlink_to(path)
    write_text(str(link), "two", force=True)
    assert link.is_symlink() and Path(path).read_text() == "two"
    for name, said in ((tmp_path, "is a folder"), (tmp_path / "none" / "a", "no folder")):
        with pytest.raises(VramplanError, match=said):
            refuse_unwritable(str(name), force=True)


def test_what_is_kept_lies_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = user_path("notes", "a.txt")
    assert path == str(tmp_path / "vramplan" / "notes" / "a.txt")
    save_text(path, "one")
    save_text(path, "two")
    assert Path(path).read_text() == "two"
    with pytest.raises(VramplanError, match="exists|Not a directory"):
        save_text(os.path.join(path, "b"), "three")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_path() == "/home/someone/.config/vramplan"
