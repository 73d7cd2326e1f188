"""What users and scripts rely on: commands, options, exit codes, JSON. A change here is a change of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import Result

from vramplan.cli.app import COMMANDS, PLUGINS, app

Run = Callable[..., Result]
Golden = Callable[[str, str], None]


def test_commands_and_options(golden: Golden) -> None:
    """Frozen: add, never rename or remove."""
    context = click.Context(app)
    lines = []
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        lines.append(name)
        for parameter in command.params:
            default = "" if parameter.default in (None, False, ()) else f" = {parameter.default}"
            names = " ".join((*parameter.opts, *parameter.secondary_opts))
            lines.append(f"    {names}{default}" if str(default).find("Sentinel") < 0 else f"    {names}")
    golden("cli/options.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(run: Run, golden: Golden, name: str) -> None:
    result = run(*([name] if name else []), "--help")
    assert result.exit_code == 0
    golden(f"cli/help{'-' if name else ''}{name}.txt", result.stdout)


def test_bare_command_is_help(run: Run) -> None:
    assert run().stdout == run("--help").stdout
    assert run().exit_code == 0


def test_exit_codes(run: Run) -> None:
    assert run("estimate", "llama-70b", "--gpu", "a100-80").exit_code == 0
    assert run("estimate", "llama-70b").exit_code == 0
    assert run("estimate", "llama-70b", "--gpu", "t4").exit_code == 1
    assert run("estimate", "llama-70b", "--gpu", "t4", "--gpu", "h200").exit_code == 0
    assert run("estimate", "llama-70b", "--gpu", "a100-80", "--method", "full").exit_code == 1
    assert run("explain", "llama-70b", "--gpu", "t4").exit_code == 1


def test_json_of_estimate(run: Run) -> None:
    document = json.loads(run("estimate", "llama-70b", "--gpu", "a100-80", "--json").stdout)
    assert document["schema_version"] == 1
    assert document["model"]["alias"] == "llama-70b"
    assert document["gpu"]["key"] == "a100-80"
    assert document["gpu"]["count"] == 1
    assert [estimate["method"] for estimate in document["estimates"]] == ["full", "lora", "qlora"]
    for estimate in document["estimates"]:
        memory = estimate["memory"]
        assert 0 < memory["allocated_bytes"] <= memory["reserved_bytes"] <= memory["device_bytes"]
        at_peak = [term["bytes"] for term in memory["terms"] if memory["binding_phase"] in term["phases"]]
        assert sum(at_peak) == memory["device_bytes"]
        assert estimate["headroom_bytes"] <= document["gpu"]["capacity_bytes"] - memory["device_bytes"]


def test_json_without_a_card_and_with_two(run: Run) -> None:
    document = json.loads(run("estimate", "llama-8b", "--method", "lora", "--format", "json").stdout)
    assert document["gpu"] is None
    assert document["estimates"][0]["verdict"] is None
    several = json.loads(run("estimate", "llama-8b", "--gpu", "t4", "--gpu", "h100", "--json").stdout)
    assert [answer["gpu"]["key"] for answer in several["answers"]] == ["t4", "h100"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("models", "llama", "8b"), "models"),
        (("models", "--show", "llama-70b"), "model"),
        (("gpus",), "gpus"),
        (("gpus", "--show", "A100 80GB"), "gpu"),
        (("stacks",), "stacks"),
        (("stacks", "--show", "trl"), "stack"),
        (("prices", "--gpu", "h100"), "prices"),
    ],
)
def test_catalogue_in_every_format(run: Run, arguments: tuple[str, ...], key: str) -> None:
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["schema_version"] == 1
    assert document[key]
    table = run(*arguments)
    assert table.exit_code == 0
    assert max(map(len, table.stdout.splitlines())) <= 80
    assert "| --- |" in run(*arguments, "--format", "markdown").stdout


def test_search_holds_every_word(run: Run) -> None:
    rows = json.loads(run("models", "LLAMA", "8b", "--json").stdout)["models"]
    assert all("llama" in json.dumps(row).lower() and "8b" in json.dumps(row).lower() for row in rows)


def test_prices_rise(run: Run) -> None:
    prices = [float(row["usd_per_gpu_hour"]) for row in json.loads(run("prices", "h100", "--json").stdout)["prices"]]
    assert prices == sorted(prices)


def test_commands_of_other_packages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group `vramplan.commands` becomes a command, with the same manners."""
    point = EntryPoint(name="hello", value="vramplan.cli.gpus:command", group=PLUGINS)
    monkeypatch.setattr("vramplan.cli.app._plugins", lambda: iter([point]))
    assert "hello" in run("--help").stdout
    assert run("hello", "h100").stdout == run("gpus", "h100").stdout
    assert "hello" in run("helo").stderr
