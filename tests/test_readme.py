"""README.md shows what the program prints: its console blocks are run, its Python session is a doctest."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from vramplan.cli.app import app

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"```console\n\$ vramplan (.*)\n((?:.*\n)*?)```\n")


def _run(match: re.Match[str]) -> str:
    output = CliRunner().invoke(app, shlex.split(match[1]), prog_name="vramplan").output
    return f"```console\n$ vramplan {match[1]}\n{output}```\n"


def test_readme_console() -> None:
    text = README.read_text(encoding="utf-8")
    run = BLOCK.sub(_run, text)
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(run, encoding="utf-8")
    else:
        assert text == run
    assert len(BLOCK.findall(text)) >= 3


def test_readme_python() -> None:
    assert doctest.testfile(str(README), module_relative=False).failed == 0
