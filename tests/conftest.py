"""What every test shares: golden files, and Hypothesis without a clock (machines are shared)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")

# A suite in the background inherits an ignored Ctrl-C, and so would the children that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"

# The age of prices, and the tester's own prices and profiles, are no part of what is tested.
os.environ["VRAMPLAN_TODAY"] = "2026-11-22"
NO_CONFIG = TemporaryDirectory(prefix="vramplan-tests-")
os.environ["XDG_CONFIG_HOME"] = NO_CONFIG.name


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with the file of that name in tests/golden; `make golden` writes the files anew."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {name}: `make golden` writes it"
        assert text == path.read_text(encoding="utf-8")

    return check
