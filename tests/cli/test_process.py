"""The command as a process: what it loads, and how it behaves in a pipe, without Unicode, when cut short."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ESTIMATE = ("estimate", "llama-70b", "--gpu", "a100-80")
HEAVY = {
    "torch",
    "transformers",
    "pandas",
    "plotly",
    "numpy",
    "rich",
    "importlib.metadata",
    "urllib.request",
    "difflib",
}


def vramplan(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from vramplan.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, timeout=60, check=False)


def _loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split("\n")[-2].split())


def test_import_loads_nothing_heavy() -> None:
    loaded = _loaded("import vramplan")
    assert not loaded & (HEAVY | {"click", "json", "dataclasses"})


def test_estimate_loads_only_what_it_needs() -> None:
    call = f"from vramplan.cli.app import app\ntry: app({list(ESTIMATE)})\nexcept SystemExit: pass"
    assert not _loaded(call) & (HEAVY | {"vramplan.cost.bill", "vramplan_reports.markdown", "vramplan.cli.models"})


def test_plain_in_a_pipe() -> None:
    done = vramplan(*ESTIMATE, FORCE_COLOR="1", PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert max(map(len, done.stdout.decode().splitlines())) <= 80


def test_without_unicode() -> None:
    done = vramplan("explain", *ESTIMATE[1:], PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("ascii")
    assert "####" in text
    assert "?" not in text


def test_reader_that_has_seen_enough() -> None:
    command = [sys.executable, "-c", "from vramplan.cli import main; main()", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_interrupted() -> None:
    code = (
        "import vramplan.cli.app as module\n"
        "def app(): raise KeyboardInterrupt\n"
        "module.app = app\n"
        "from vramplan.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def _in_a_shell(redirection: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from vramplan.cli import main; main()", "estimate", "llama-1b"]
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)


def test_closed_output() -> None:
    done = _in_a_shell(">&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_full_disk() -> None:
    done = _in_a_shell("> /dev/full")
    assert (done.returncode, done.stderr) == (2, "vramplan: No space left on device\n")
