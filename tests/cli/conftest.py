"""The command line in this process: exit code, stdout and stderr apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from vramplan.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments, prog_name="vramplan", catch_exceptions=False)
        assert "\x1b" not in result.stdout
        return result

    return invoke
