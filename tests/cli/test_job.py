"""Options of a job and of the money, and `vramplan data`."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from vramplan.cli.app import App
from vramplan.cli.app import app as vramplan
from vramplan.cli.job_options import job_options
from vramplan.cli.market_options import market_options
from vramplan.cli.quantities import Amount, Duration
from vramplan.cost import Job, Market
from vramplan.data import Lengths
from vramplan.errors import VramplanError


@pytest.fixture
def ask() -> Any:
    """A command with both groups of options; gives what it was asked, or how it was refused."""
    heard: list[tuple[Job, Market]] = []

    @click.command()
    @job_options
    @market_options
    def command(job: Job, market: Market) -> None:
        heard.append((job, market))

    def invoke(*arguments: str) -> Any:
        heard.clear()
        group = App("vramplan", commands={"ask": command})
        group.get_command = lambda ctx, name: command  # type: ignore[method-assign,assignment]
        result = CliRunner().invoke(group, ["ask", *arguments], catch_exceptions=False)
        return heard[0] if heard else result

    return invoke


def _refused(result: Result, said: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "number"),
    [("50M", 50_000_000), ("1.5B", 1_500_000_000), ("200k", 200_000), ("7", 7), ("2 T", 2 * 10**12), ("0.5k", 500)],
)
def test_amounts(text: str, number: int) -> None:
    assert Amount().convert(text, None, None) == number


@pytest.mark.parametrize("text", ["0", "-5", "1e30", "1" + "0" * 30, "0.5", "M", "5X", "", "nan", "1,000", "²", "1_0"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(VramplanError, match="like 200k, 50M or 1.5B"):
        Amount().convert(text, None, None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30min", 1800), ("1.5h", 5400), ("7d", 604_800)])
def test_durations(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["24", "h", "-1h", "5m", "1e9h", "99999999d", ""])
def test_no_durations(text: str) -> None:
    with pytest.raises(VramplanError, match="a time with its unit"):
        Duration().convert(text, None, None)


def test_a_job_of_tokens(ask: Any) -> None:
    job, market = ask("--tokens", "50M", "--epochs", "2.5", "--eval-tokens", "1M", "--save-every", "500")
    assert (job.tokens, job.epochs, job.evaluation_tokens, job.save_every_steps) == (
        50_000_000,
        Decimal("2.5"),
        10**6,
        500,
    )
    assert (market.kinds, market.usd_per_gpu_hour, market.machine, market.currency) == (
        ("on_demand",),
        None,
        None,
        None,
    )
    job, _ = ask("--examples", "10k", "--length", "512", "--packing", "bfd", "--startup", "10min")
    assert job.lengths == Lengths.of({512: 10_000})
    assert (job.packing, job.startup_s) == ("bfd", 600)


def test_a_job_of_a_file(ask: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "abcdefgh"}\n{"text": "ab"}\n', encoding="utf-8")
    job, _ = ask("--data", str(path), "--chars-per-token", "2")
    assert job.lengths == Lengths.from_examples([4, 1])


def test_the_money(ask: Any) -> None:
    _, market = ask(
        "--tokens", "1", "--kind", "spot", "--kind", "on_demand", "--provider", "aws", "--spot-interruptions", "3",
        "--spot-checkpoint", "10min", "--currency", "EUR=0.92", "--power-price", "0.3", "--grid-intensity", "380",
    )  # fmt: skip
    assert (market.kinds, market.providers) == (("spot", "on_demand"), ("aws",))
    assert (market.spot.interruptions_per_day, market.spot.checkpoint_every_s, market.spot.restart_s) == (3, 600, 900)
    assert (market.currency.code, market.currency.per_usd) == ("EUR", Decimal("0.92"))
    assert (market.power.usd_per_kwh, market.power.grams_co2_per_kwh) == (Decimal("0.3"), 380.0)
    _, market = ask("--tokens", "1", "--price", "1.85")
    assert market.usd_per_gpu_hour == Decimal("1.85")
    _, market = ask("--tokens", "1", "--purchase", "250000", "--purchase-gpus", "8", "--utilisation", "0.7")
    assert (market.machine.gpus, market.machine.years, market.machine.utilisation) == (8, 4, Decimal("0.7"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one of --tokens, --examples with --length, --data"),
        (("--tokens", "1", "--examples", "1", "--length", "5"), "only one of"),
        (("--examples", "5"), "go together"),
        (("--tokens", "1e30"), "--tokens: '1e30'"),
        (("--tokens", "1" + "0" * 30), "--tokens"),
        (("--tokens", "5", "--epochs", "0"), "--epochs"),
        (("--tokens", "5", "--packing", "bdf"), "--packing 'bdf'; nearest: bfd"),
        (("--tokens", "5", "--startup", "5"), "--startup"),
        (("--data", "none.jsonl"), "none.jsonl: no such file"),
        (("--data", "."), "a folder"),
        (("--tokens", "5", "--price", "-1"), "--price"),
        (("--tokens", "5", "--price", "1", "--purchase", "5"), "only one of them"),
        (("--tokens", "5", "--currency", "EUR"), "like EUR=0.92"),
        (("--tokens", "5", "--currency", "euro=1"), "three capital letters"),
        (("--tokens", "5", "--currency", "EUR=0"), "EUR=0"),
        (("--tokens", "5", "--pue", "0.9"), "--pue"),
        (("--tokens", "5", "--utilisation", "0"), "--utilisation"),
        (("--tokens", "5", "--kind", "spt"), "nearest: spot"),
    ],
)
def test_jobs_that_are_refused(ask: Any, arguments: tuple[str, ...], said: str) -> None:
    _refused(ask(*arguments), said)


def _data(*arguments: str) -> Result:
    return CliRunner().invoke(vramplan, ["data", *arguments], prog_name="vramplan", catch_exceptions=False)


def test_data_in_every_format(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * n}) + "\n" for n in range(1, 50)) + "{\n", encoding="utf-8")
    table = _data(str(path), "--chars-per-token", "1", "--batch", "7", "--seq-len", "40")
    assert table.exit_code == 0
    assert "line 50: not JSON" in table.stdout
    assert max(len(line) for line in table.stdout.splitlines()[1:]) <= 80
    words = ("--chars-per-token", "1", "--batch", "7", "--per-step", "14", "--seq-len", "40", "--packing", "bfd")
    document = json.loads(_data(str(path), *words, "--json").stdout)
    assert (document["schema_version"], document["examples"], document["tokens"]) == (1, 49, 1225)
    assert (document["bad"], document["epoch"]["cut_tokens"]) == (1, sum(range(1, 10)))
    assert [way["name"] for way in document["ways"]] == [
        "shuffled", "grouped by length", "packed, bfd", "packed, wrapped",
    ]  # fmt: skip
    assert {**document["ways"][2], "name": ""} == {**document["epoch"], "name": ""}
    assert (
        "| --- |" in _data(str(path), "--format", "markdown").stdout
        or "| ---: |" in _data(str(path), "--format", "markdown").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.jsonl",), "no such file"),
        ((".",), "a folder"),
        (("none.jsonl", "--batch", "0"), "--batch"),
        (("none.jsonl", "--chars-per-token", "0"), "--chars-per-token"),
        ((), "FILE"),
    ],
)
def test_data_that_is_refused(arguments: tuple[str, ...], said: str) -> None:
    _refused(_data(*arguments), said)


def test_a_progress_bar_for_people_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from vramplan.cli import progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    path = tmp_path / "data.txt"
    path.write_bytes(b"x" * 100)
    for terminal, patience_s, shown in (
        (Terminal(), 0.0, True),
        (Terminal(), 60.0, False),
        (io.StringIO(), 0.0, False),
    ):
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(progress, "PATIENCE_S", patience_s)
        with progress.Progress(str(path)) as bar:
            bar(40)
            bar(100)
        assert ("data.txt" in terminal.getvalue()) is shown
        assert ("100%" in terminal.getvalue()) is shown
