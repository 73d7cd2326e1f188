"""What cannot be answered: code 2, one or two lines on stderr that name the mistake, nothing on stdout."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]

BAD = {
    "unknown command": (("estimat",), "'estimat'; nearest: estimate"),
    "unknown option": (("estimate", "llama-70b", "--bach", "2"), "--batch"),
    "no model": (("estimate",), "MODEL"),
    "two models": (("estimate", "llama-70b", "mixtral"), "mixtral"),
    "unknown model": (("estimate", "lama-70b"), "'lama-70b'; nearest:"),
    "empty model": (("estimate", ""), "''"),
    "unknown gpu": (("estimate", "llama-70b", "--gpu", "a100-08"), "'a100-08'; nearest:"),
    "unknown stack": (("estimate", "llama-70b", "--stack", "tlr"), "trl"),
    "unknown method": (("estimate", "llama-70b", "--method", "qlra"), "--method 'qlra'; nearest: qlora"),
    "unknown optimizer": (("estimate", "llama-70b", "--optimizer", "adamw-8bit"), "adamw_8bit"),
    "unknown target": (("estimate", "llama-70b", "--targets", "q_prj"), "q_prj"),
    "unknown format": (("estimate", "llama-70b", "--format", "jsn"), "--format 'jsn'; nearest: json"),
    "missing folder": (("estimate", "./no/such/folder"), "./no/such/folder"),
    "missing file": (("estimate", "none.json"), "none.json"),
    "dropout of one": (("estimate", "llama-70b", "--lora-dropout", "1"), "--lora-dropout"),
    "dropout not a number": (("estimate", "llama-70b", "--lora-dropout", "nan"), "--lora-dropout"),
    "sharding alone": (("estimate", "llama-70b", "--sharding", "fsdp"), "say --gpus 2 or more"),
    "no such model in a list": (("models", "zzzz"), "zzzz"),
    "no such gpu in a list": (("gpus", "zzzz"), "zzzz"),
    "unknown gpu of prices": (("prices", "--gpu", "zzzz"), "zzzz"),
    "unknown stack to show": (("stacks", "--show", "tlr"), "trl"),
}
COUNTS = ("--batch", "--seq-len", "--rank", "--grad-accum", "--gpus")
NO_COUNTS = ("0", "-1", "1.5", "1e30", "nan", "inf", "", "many", "1_000", "²", "9" * 40)


def _assert_refused(result: Result, named: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert 1 <= len(lines) <= 2, result.stderr
    assert named in result.stderr
    assert lines[0].startswith("vramplan: ")
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("case", BAD)
def test_bad_input(run: Run, case: str) -> None:
    arguments, named = BAD[case]
    _assert_refused(run(*arguments), named)


@pytest.mark.parametrize("option", COUNTS)
@pytest.mark.parametrize("value", NO_COUNTS)
def test_counts(run: Run, option: str, value: str) -> None:
    _assert_refused(run("estimate", "llama-70b", "--gpu", "a100-80", option, value), option)


def test_a_failure_of_ours_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.delenv("VRAMPLAN_DEBUG", raising=False)
    monkeypatch.setattr("vramplan.cli.gpus.find_gpu", breaks)
    result = run("gpus", "--show", "h100")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("vramplan: internal error: RuntimeError: two lines\n")
    monkeypatch.setenv("VRAMPLAN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run("gpus", "--show", "h100")
