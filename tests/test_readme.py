"""README.md and the guide show what the program prints: console blocks are run, the Python session is a doctest."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from vramplan.cli.app import app

ROOT = Path(__file__).parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")
BLOCK = re.compile(r"```console\n\$ vramplan (.*)\n((?:.*\n)*?)```\n")


def _run(match: re.Match[str]) -> str:
    output = CliRunner().invoke(app, shlex.split(match[1]), prog_name="vramplan").output
    return f"```console\n$ vramplan {match[1]}\n{output}```\n"


@pytest.mark.parametrize("page", [README, GUIDE], ids=lambda page: page.name)
def test_console_blocks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    run = BLOCK.sub(_run, text)
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(run, encoding="utf-8")
    else:
        assert text == run
    assert BLOCK.search(text)


@pytest.mark.parametrize("page", [README, GUIDE], ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Files exist, and headings of the guide are where links say."""
    for path, heading in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert path.startswith("https:") or target.exists(), path
        if heading:
            headings = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
            assert heading[1:] in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}, heading


def test_readme_python() -> None:
    assert doctest.testfile(str(README), module_relative=False).failed == 0
