"""Prices: the table, a user's own file, today's offers; what is wrong with a price list is told by line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vramplan.catalog import find_gpu, gpus, prices
from vramplan.catalog.price_file import add_prices, read_price_file, write_price_file
from vramplan.catalog.price_refresh import GPUS, current_prices
from vramplan.cli.app import app
from vramplan.cost import hires
from vramplan.errors import VramplanError
from vramplan.price import Price, current_date
from vramplan_profiles import DATA

TODAY = date(2026, 11, 22)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="vramplan", catch_exceptions=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the user's own prices."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "vramplan" / "prices.csv"


HEADER = "date,provider,region,instance_type,gpu_key,gpu_count,usd_per_hour_instance,pricing,note\n"
ROW = "2026-11-20,ours,basement,rack-1,H100 SXM,8,12.00,reserved,negotiated\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        path = tmp_path / "list.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return written


def test_one_card_reads_as_all_do() -> None:
    """The shortcut for one card gives the same rows, and no cell of the table goes over a line's end."""
    listed = tuple(prices())
    for gpu in gpus():
        assert tuple(prices(gpu.key)) == tuple(price for price in listed if price.gpu_key == gpu.key)
    with (Path(DATA) / "prices.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(listed)
    assert {price.gpu_key for price in listed} <= {gpu.key for gpu in gpus()}


@pytest.mark.parametrize(("day", "age", "stale"), [(8, 45, False), (7, 46, True)])
def test_age(day: int, age: int, stale: bool) -> None:
    price = _price(date=date(2026, 10, day))
    assert (price.age_days(TODAY), price.is_stale(TODAY)) == (age, stale)
    assert price.age_days(date(2026, 1, 1)) == 0


def test_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VRAMPLAN_TODAY", "2020-01-02")
    assert current_date() == date(2020, 1, 2)
    monkeypatch.delenv("VRAMPLAN_TODAY")
    assert current_date() == date.today()
    monkeypatch.setenv("VRAMPLAN_TODAY", "tomorrow")
    with pytest.raises(VramplanError, match="VRAMPLAN_TODAY"):
        current_date()


def _price(**more: Any) -> Price:
    words = {
        "date": TODAY, "provider": "ours", "region": "basement", "instance": "rack-1", "gpu_key": "h100", "count": 8,
        "usd_per_hour": Decimal("12.00"), "kind": "reserved", "note": "negotiated", "source": "list.csv",
    }  # fmt: skip
    return Price(**(words | more))


def test_a_users_file(write: Callable[[str], str]) -> None:
    (price,) = read_price_file(write(HEADER + ROW))
    assert price == _price(date=date(2026, 11, 20))
    (by_gpu,) = read_price_file(
        write("date,provider,gpu_key,pricing,gpu_count,usd_per_gpu_hour\n2026-11-20,ours,l4,own,4,0.5\n")
    )
    assert (by_gpu.usd_per_hour, by_gpu.usd_per_gpu_hour, by_gpu.instance) == (Decimal("2.0"), Decimal("0.5"), "l4")
    with pytest.raises(VramplanError, match=r"4 GPUs at 2.0 are not a machine at 2.0"):
        read_price_file(
            write(
                "date,provider,gpu_key,pricing,gpu_count,usd_per_gpu_hour,usd_per_hour_instance\n"
                "2026-11-20,ours,l4,own,4,2.0,2.0\n"
            )
        )


def test_written_and_read_again(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "prices.csv")
    kept = (_price(), _price(note="with, comma and\nline", usd_per_hour=Decimal("0.000001")))
    write_price_file(path, kept)
    assert read_price_file(path) == kept
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["prices.csv"]


BAD = {
    "no header": ("a,b\n1,2\n", "lacks the columns date, provider, gpu_key, pricing"),
    "empty": ("", "the file is empty"),
    "date": (ROW.replace("2026-11-20", "20.11.2026"), "list.csv:2: date: '20.11.2026'"),
    "gpu": (ROW.replace("H100 SXM", "h10000"), "unknown GPU 'h10000'"),
    "no gpu": (ROW.replace("H100 SXM", ""), "gpu_key: missing"),
    "no provider": (ROW.replace("ours", ""), "provider: missing"),
    "count": (ROW.replace(",8,", ",0,"), "gpu_count: '0'"),
    "price": (ROW.replace("12.00", "twelve"), "usd_per_hour_instance: 'twelve'"),
    "tiny": (ROW.replace("12.00", "1e-400"), "usd_per_hour_instance: '1e-400'"),
    "no price": (ROW.replace("12.00", ""), "usd_per_gpu_hour: ''"),
    "free": (ROW.replace("12.00", "0"), "usd_per_hour_instance: '0'"),
    "nan": (ROW.replace("12.00", "NaN"), "usd_per_hour_instance: 'NaN'"),
    "kind": (ROW.replace("reserved", "on demand"), "unknown pricing 'on demand'; nearest: on_demand"),
    "cells": (ROW.replace(",negotiated", ",a,b"), "list.csv:2: too many or too few cells"),
    "second row": (ROW + ROW.replace("12.00", "x"), "list.csv:3:"),
}


@pytest.mark.parametrize("case", BAD)
def test_price_lists_that_are_refused(write: Callable[[str], str], home: Path, case: str) -> None:
    text, said = BAD[case]
    path = write(text if case in ("no header", "empty") else HEADER + text)
    for arguments in (("prices", "import", path), ("prices", "--prices", path)):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not home.exists()


def test_import_keeps_and_replaces(write: Callable[[str], str], home: Path) -> None:
    assert run("prices", "import", write(HEADER + ROW)).stdout == f"1 prices put into {home} (1 in all)\n"
    assert run("prices", "import", write(HEADER + ROW.replace("12.00", "16.00"))).exit_code == 0
    assert run("prices", "import", write(HEADER + ROW.replace("2026-11-20", "2026-11-21"))).stdout.endswith(
        "(2 in all)\n"
    )
    mine = json.loads(run("prices", "--provider", "ours", "--json").stdout)["prices"]
    assert [(row["date"], row["usd_per_hour"], row["stale"]) for row in mine] == [
        ("2026-11-21", "12.00", False), ("2026-11-20", "16.00", False),
    ]  # fmt: skip
    # The newest price of a machine counts, a user's like any other.
    assert hires(prices("h100"), "h100", 8, kinds=("reserved",), today=TODAY)[0].usd_per_hour == 12


def test_a_price_file_of_the_moment(write: Callable[[str], str]) -> None:
    path = write(HEADER + ROW)
    rows = json.loads(run("prices", "--prices", path, "--kind", "reserved", "--json").stdout)["prices"]
    assert [row["provider"] for row in rows] == ["ours"]
    assert [price.provider for price in prices("h100", path) if price.kind == "reserved"] == ["ours"]


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (("--gpu", "L4"), "gpu", "l4"),
        (("--provider", "gcp"), "provider", "gcp"),
        (("--region", "us-east-1"), "region", "us-east-1"),
        (("--kind", "spot"), "kind", "spot"),
        (("--count", "8"), "count", 8),
    ],
)
def test_filters(options: tuple[str, ...], field: str, value: object) -> None:
    rows = json.loads(run("prices", *options, "--json").stdout)["prices"]
    everything = json.loads(run("prices", "--json").stdout)["prices"]
    assert 0 < len(rows) < len(everything)
    assert rows == [row for row in everything if row[field] == value]


def test_old_prices_are_marked_and_left_out_on_request() -> None:
    document = json.loads(run("prices", "--gpu", "h100", "--json").stdout)
    assert document["today"] == "2026-11-22"
    assert {row["stale"] for row in document["prices"]} == {True, False}
    assert all(row["stale"] == (row["age_days"] > 45) for row in document["prices"])
    stale = sum(row["stale"] for row in document["prices"])
    table = run("prices", "--gpu", "h100").stdout
    assert f"{stale} of {len(document['prices'])} prices are stale: more than 45 days old on 2026-11-22" in table
    assert table.count(" *\n") == stale
    young = json.loads(run("prices", "--gpu", "h100", "--max-age", "45", "--json").stdout)["prices"]
    assert len(young) == len(document["prices"]) - stale
    assert "stale" not in run("prices", "--gpu", "h100", "--max-age", "45").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--provider", "gpc"), "unknown provider 'gpc'; nearest: gcp"),
        (("--region", "us-est-1"), "nearest: us-east-1"),
        (("--kind", "spt"), "--kind 'spt'; nearest: spot"),
        (("--max-age", "0"), "--max-age"),
        (("--max-age", "1"), "none of 382 prices passes"),
        (("--count", "x"), "--count"),
        (("--prices", "none.csv"), "none.csv: no such file"),
        (("import",), "takes one file"),
        (("import", "a", "b"), "takes one file"),
        (("import", "none.csv"), "none.csv: no such file"),
        (("refresh", "now"), "leave out 'now'"),
    ],
)
def test_questions_without_an_answer(arguments: tuple[str, ...], said: str) -> None:
    result = run("prices", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def _offer(name: str | None, memory: float | None, price: float = 2.5, spot: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        provider="runpod", instance_name="m", location="EU", price=price, gpu_count=2, gpu_name=name,
        gpu_memory=memory, spot=spot,
    )  # fmt: skip


@pytest.fixture
def gpuhunt(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the package, with three offers."""
    module = ModuleType("gpuhunt")

    class Catalog:
        offers = (_offer("H100", 80.0), _offer("L4", 24.0, 0.3, True), _offer("H100", 99.0), _offer(None, None))

        def __init__(self, auto_reload: bool) -> None:
            self.loaded = auto_reload

        def load(self) -> None:
            self.loaded = True

        def query(self, min_gpu_count: int) -> list[SimpleNamespace]:
            assert self.loaded and min_gpu_count == 1
            return list(self.offers)

    module.Catalog = Catalog  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gpuhunt", module)
    return module


def test_refresh(gpuhunt: ModuleType, home: Path) -> None:
    result = run("prices", "refresh")
    assert result.stdout == f"2 prices put into {home} (2 in all; 2 offers of unknown cards left out)\n"
    kept = read_price_file(str(home))
    assert [(p.gpu_key, p.count, p.usd_per_hour, p.kind, p.date, p.source) for p in kept] == [
        ("h100", 2, Decimal("2.5"), "on_demand", TODAY, "gpuhunt"), ("l4", 2, Decimal("0.3"), "spot", TODAY, "gpuhunt"),
    ]  # fmt: skip
    assert run("prices", "refresh").stdout.endswith("(2 in all; 2 offers of unknown cards left out)\n")


def test_refresh_without_network(gpuhunt: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("all providers\nfailed") from OSError("name not known")

    monkeypatch.setattr(gpuhunt.Catalog, "load", fails)
    result = run("prices", "refresh")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "vramplan: prices cannot be refreshed, no network? (OSError: name not known)\n"
    assert not home.exists()


def test_refresh_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    result = run("prices", "refresh")
    assert result.exit_code == 2
    assert result.stderr == "vramplan: refreshing prices needs the package gpuhunt: pip install 'vramplan[prices]'\n"


def test_refresh_finds_nothing(gpuhunt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpuhunt.Catalog, "offers", (_offer("TPU", 16.0), _offer("L4", 24.0, 0.0)))
    with pytest.raises(VramplanError, match="no price of a known card"):
        current_prices(TODAY)


def test_names_of_gpuhunt() -> None:
    """Its names lead to cards of that size, and are still its names where it is installed."""
    for (_, memory), key in GPUS.items():
        assert abs(find_gpu(key).memory_gb_marketing - memory) <= 20, key
    hunt = pytest.importorskip("gpuhunt", exc_type=ImportError)
    known = {(card.name, card.memory) for card in (*hunt.KNOWN_NVIDIA_GPUS, *hunt.KNOWN_AMD_GPUS)}
    assert set(GPUS) <= known


def test_a_broken_file_of_ones_own_is_told(home: Path) -> None:
    home.parent.mkdir()
    home.write_text(HEADER + ROW.replace("12.00", "x"), encoding="utf-8")
    with pytest.raises(VramplanError, match="prices.csv:2: usd_per_hour_instance: 'x'"):
        tuple(prices("h100"))
    with pytest.raises(VramplanError):
        add_prices((_price(),))
    assert "x" in home.read_text(encoding="utf-8")
