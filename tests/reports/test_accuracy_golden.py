"""How a comparison is written, with rows made by hand; and docs/accuracy.md, which shows what the command says."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from vramplan.accuracy import Accuracy, Measured, Predicted, Row, summarize
from vramplan.accuracy import accuracy as compare
from vramplan.cli.app import app
from vramplan.estimator.result import Verdict
from vramplan.runs import Outcome
from vramplan.units import GIB
from vramplan_reports import accuracy, markdown, scatter, terminal

Golden = Callable[[str, str], None]
ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "../shared/corpus/runs.csv"
PUBLIC = (CORPUS, CORPUS.with_name("throughput.csv"))
PLOTS = ROOT / "docs/accuracy"
DOCUMENT = ROOT / "docs/accuracy.md"
BLOCK = re.compile(r"```console\n\$ (vramplan (?:accuracy|calibrate) .*)\n((?:.*\n)*?)```\n")


def _row(
    id: str, error: float, outcome: Outcome, fits: Verdict | None, *, stack: str = "trl", method: str = "lora"
) -> Row:
    size = 20 * GIB
    predicted = int(size * (1 + error))
    known = size if outcome == "ok" else None
    return Row(
        id=id, where=f"runs.csv:{len(id)}", status="ok", stack=stack, method=method, model="meta-llama/Llama-3.1-8B",
        gpus=1, gpu="a100-80", assumed={"loss": "chunked"},
        predicted=Predicted(allocated_bytes=predicted, reserved_bytes=predicted, device_bytes=predicted, fits=fits),
        measured=Measured(allocated_bytes=known, reserved_bytes=None, device_bytes=known, tokens_per_s_per_gpu=812.5,
                          outcome=outcome),
    )  # fmt: skip


@pytest.fixture
def compared() -> Accuracy:
    nothing = Measured(
        allocated_bytes=None, reserved_bytes=None, device_bytes=None, tokens_per_s_per_gpu=None, outcome="ok"
    )
    several = "several GPUs: not yet"
    rows = (
        _row("a", 0.004, "ok", "fits"),
        _row("b", -0.021, "ok", "fits", stack="liger"),
        _row("c", 0.25, "ok", "does_not_fit", method="qlora"),
        _row("d", 12.0, "ok", None, stack="unsloth", method="qlora"),
        _row("e", 0.0, "oom", "fits"),
        _row("f", 0.0, "oom", "does_not_fit"),
        _row("g", 0.0, "presumed_oom", "tight"),
        _row("h", 0.0, "fits", "fits"),
        Row(id="i", where="runs.csv:10", status="unsupported", reason=several, gpus=8, measured=nothing),
        Row(id="j", where="runs.csv:11", status="unsupported", reason=several, gpus=2, measured=nothing),
        Row(
            id="k\x1b[2J", where="runs.csv:12", status="error", reason="runs.csv:12: micro_batch: 'f\x1b' is no number"
        ),
    )
    return summarize(("runs.csv",), rows)


def test_golden(golden: Golden, compared: Accuracy) -> None:
    golden("reports/accuracy.txt", terminal.render(accuracy.sheet(compared), width=80, color=False))
    golden("reports/accuracy.md", markdown.render(accuracy.sheet(compared)))
    golden("reports/accuracy.json", json.dumps(accuracy.document(compared), indent=2) + "\n")


def test_nothing_to_compare(compared: Accuracy) -> None:
    """Rows without an answer make no empty tables."""
    text = terminal.render(accuracy.sheet(summarize(("runs.csv",), compared.rows[-3:])), width=80, color=False)
    assert "Verdicts" not in text
    assert "Allocated" not in text
    assert "nan" not in text


def _run(match: re.Match[str]) -> str:
    output = CliRunner().invoke(app, shlex.split(match[1])[1:], prog_name="vramplan").output
    return f"```console\n$ {match[1]}\n{output}```\n"


@pytest.mark.skipif(not CORPUS.exists(), reason="the public runs lie beside the repository, not in it")
def test_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make golden` writes the figures of docs/accuracy.md anew."""
    monkeypatch.chdir(ROOT)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == 3
    fresh = BLOCK.sub(_run, text)
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(fresh, encoding="utf-8")
    else:
        assert text == fresh


@pytest.mark.skipif(not CORPUS.exists(), reason="the public runs lie beside the repository, not in it")
def test_pictures() -> None:
    fresh = scatter.plots(compare(PUBLIC))
    assert set(fresh) == {"allocated.svg", "reserved.svg", "device.svg", "tokens-per-s.svg"}
    for name, text in fresh.items():
        if os.environ.get("UPDATE_GOLDEN"):
            (PLOTS / name).write_text(text, encoding="utf-8")
        assert (PLOTS / name).read_text(encoding="utf-8") == text


def test_a_picture_by_hand() -> None:
    """A run that was predicted as measured lies on the diagonal; twice as much lies above it."""
    text = scatter.plot("Device, GiB", {"a <b>": [(1.0, 1.0), (100.0, 100.0)], "c": [(10.0, 20.0)]})
    root = ElementTree.fromstring(text)
    groups = list(root.iter("{http://www.w3.org/2000/svg}g"))
    dots = [[(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in group] for group in groups]
    for x, y in dots[0]:
        assert x - scatter.MARGIN == pytest.approx(16 + scatter.SIZE - y, abs=0.2)
    ((x, y),) = dots[1]
    assert 16 + scatter.SIZE - y > x - scatter.MARGIN + 20
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", "10", "100", "a <b> (2)", "c (1)"} <= set(words)


def test_plots_are_written(tmp_path: Path) -> None:
    sample = ROOT / "tests/samples/runs.csv"
    folder = tmp_path / "deep" / "plots"
    result = CliRunner().invoke(app, ["accuracy", str(sample), "--plots", str(folder)])
    assert result.exit_code == 0
    assert {path.name for path in folder.iterdir()} >= {"allocated.svg", "device.svg"}
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(app, ["accuracy", str(sample), "--plots", str(tmp_path / "file")])
    assert (failed.exit_code, failed.stdout) == (2, "")
