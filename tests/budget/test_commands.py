"""`vramplan report` as people use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vramplan.cli.app import app
from vramplan_reports.budget.files import WRITERS

Golden = Callable[[str, str], None]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)], prog_name="vramplan")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    assert run("init", path).exit_code == 0
    return path


def test_options(golden: Golden) -> None:
    """Frozen: add, never rename or remove."""
    context = click.Context(app)
    group = app.get_command(context, "report")
    assert isinstance(group, click.Group)
    lines = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        lines += [name, *(f"    {' '.join((*p.opts, *p.secondary_opts))}" for p in command.params)]
    golden("cli/options-report.txt", "\n".join(lines) + "\n")


def test_init_then_build(example: Path) -> None:
    found = run("build", example)
    assert found.exit_code == 0, found.stdout
    assert found.stdout.startswith("Support assistant\n")


def test_init_prints() -> None:
    assert run("init", "-").stdout.startswith("# A project of fine-tunes.")


def test_nothing_is_written_over(example: Path, tmp_path: Path) -> None:
    before = example.read_bytes()
    again = run("init", example)
    assert again.exit_code == 2 and "exists; --force writes over it" in again.stderr
    assert example.read_bytes() == before
    page = tmp_path / "report.html"
    page.write_text("mine")
    assert run("build", example, "-o", page).exit_code == 2
    assert page.read_text() == "mine"
    assert run("build", example, "-o", page, "--force").exit_code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_every_kind_of_file(example: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"r{suffix}" for suffix in WRITERS]
    result = run("build", example, *(word for path in paths for word in ("-o", path)))
    assert result.exit_code == 0 and result.stdout == ""
    assert all(path.stat().st_size for path in paths)
    printed = run("build", example, "--json").stdout
    assert json.loads(printed) == json.loads((tmp_path / "r.json").read_text())


def test_exit_codes(example: Path) -> None:
    text = example.read_text()
    example.write_text(text.replace("budget_usd = 1000", "budget_usd = 5"))
    assert text != example.read_text()
    assert run("build", example).exit_code == 1
    assert run("build", example.with_suffix(".none")).exit_code == 2
    assert run("build", example, "-o", "x.pdf").exit_code == 2


def test_a_failed_build_leaves_nothing(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: str, budget: object) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(WRITERS, ".html", half)
    result = run("build", example, "-o", tmp_path / "r.html")
    assert result.exit_code == 2 and "No space left on device" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenario.toml"]


def test_a_broken_scenario_writes_nothing(example: Path, tmp_path: Path) -> None:
    example.write_text(example.read_text().replace("llama-8b", "llama-9b").replace("rank = 16", "rnak = 16"))
    result = run("build", example, "-o", tmp_path / "r.html")
    assert result.exit_code == 2 and result.stdout == ""
    assert "3 mistakes" in result.stderr and "nearest: rank" in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_without_plotly(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("build", example, "-o", tmp_path / "r.html")
    assert result.exit_code == 2
    assert result.stderr == "vramplan: pages need plotly: pip install 'vramplan[reports]'\n"


def test_diff(example: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.toml"
    new.write_text(example.read_text().replace("runs = { value = 4,", "runs = { value = 5,"))
    result = run("diff", example, new)
    assert result.exit_code == 0 and "moved most by Tune: full runs (4 → 5)" in result.stdout
    assert run("diff", example, new, "-o", tmp_path / "d.md").exit_code == 0
    assert (tmp_path / "d.md").read_text().startswith("# Support assistant: what changed")


@pytest.mark.parametrize("name", ["scenario", "budget"])
def test_schema(name: str) -> None:
    assert json.loads(run("schema", name).stdout)["$schema"].endswith("2020-12/schema")


def test_nothing_heavy_is_loaded(example: Path, tmp_path: Path) -> None:
    """A page needs plotly's script, not plotly; and no report needs torch, pandas or numpy."""
    code = (
        "import sys\nfrom vramplan.cli.app import app\n"
        f"try:\n    app(['report', 'build', {str(example)!r}, '-o', {str(tmp_path / 'r.html')!r}])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'plotly', 'transformers', 'xlsxwriter'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_report_does_not_depend_on_where_it_is_built(tmp_path: Path) -> None:
    """Not on the folder of the scenario, nor on how it was named."""
    written = []
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        folder.mkdir(parents=True)
        (folder / "d.jsonl").write_text('{"text": "one two three"}\n' * 50)
        assert run("init", folder / "s.toml").exit_code == 0
        text = (folder / "s.toml").read_text().replace('tokens = "3M"', 'data = "d.jsonl"')
        (folder / "s.toml").write_text(text)
        assert run("build", folder / "s.toml", "-o", folder / "r.html", "-o", folder / "r.json").exit_code == 0
        written.append(((folder / "r.html").read_bytes(), (folder / "r.json").read_bytes()))
    assert written[0] == written[1]
    assert b"vramplan data d.jsonl" in written[0][1]
