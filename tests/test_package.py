"""The wheel: only prefixed names at its top level, its data readable, its import light."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"vramplan", "vramplan_bench", "vramplan_profiles", "vramplan_reports"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents, as pip would lay them out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("vramplan-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _python(site: Path, code: str) -> str:
    """Run `code` on the unpacked wheel, away from the checkout."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parent, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_top_level_names(unpacked: Path) -> None:
    tops = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert tops == PACKAGES
    assert all((unpacked / name / "py.typed").exists() for name in PACKAGES)


def test_licence_and_metadata(unpacked: Path) -> None:
    (info,) = unpacked.glob("*.dist-info")
    assert {path.name for path in (info / "licenses").iterdir()} == {"LICENSE", "NOTICE"}
    needed = [line for line in (info / "METADATA").read_text().splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in needed if "extra ==" not in line] == [
        "Requires-Dist: click>=8.2",
        "Requires-Dist: pyyaml>=6.0",
    ]


def test_answers_with_its_own_data(unpacked: Path) -> None:
    code = (
        "import vramplan; assert vramplan.__file__.startswith({site!r}), vramplan.__file__\n"
        "from vramplan.cli.app import app; app(['estimate', 'llama-70b', '--gpu', 'a100-80'])"
    )
    assert "meta-llama/" in _python(unpacked, code.format(site=str(unpacked)))


def test_every_data_file_is_there(unpacked: Path) -> None:
    data = ROOT / "profiles" / "vramplan_profiles"
    kept = {path.relative_to(data) for path in data.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in kept if not (unpacked / "vramplan_profiles" / path).exists()} == set()


def test_every_suite_is_there(unpacked: Path) -> None:
    shipped = {path.name for path in (unpacked / "vramplan_bench" / "suites").iterdir()}
    assert shipped == {path.name for path in (ROOT / "bench" / "vramplan_bench" / "suites").glob("*.toml")} != set()


def test_pages_and_schemas_are_there(unpacked: Path) -> None:
    """Style, script, example and JSON Schemas of reports stand beside their modules."""
    folders = (
        ROOT / "vramplan" / "budget",
        *(ROOT / "reports" / "vramplan_reports" / name for name in ("budget", "page")),
    )
    kept = {path for folder in folders for path in folder.iterdir() if path.suffix in (".css", ".js", ".json", ".toml")}
    assert len(kept) == 5
    roots = {path: ROOT if "vramplan_reports" not in path.parts else ROOT / "reports" for path in kept}
    assert [path for path in kept if not (unpacked / path.relative_to(roots[path])).exists()] == []
