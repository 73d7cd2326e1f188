"""Garbage on the command line and in files: an answer or code 2 with one or two lines, never a failure of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramplan.cli.app import app
from vramplan.recipe import CHOICES

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
number = st.one_of(st.integers().map(str), st.floats().map(str), text)
options = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("--batch", "--seq-len", "--rank", "--grad-accum", "--lora-dropout")), number),
        st.tuples(st.sampled_from(("--gpu", "--stack", "--targets", "--optimizer", "--nonsense")), text),
        *(st.tuples(st.just("--" + knob.replace("_", "-")), st.sampled_from(CHOICES[knob])) for knob in CHOICES),
    ),
    max_size=4,
).map(lambda pairs: [word for pair in pairs for word in pair])
model = st.one_of(st.sampled_from(("llama-8b", "gpt2", "mixtral", "gemma-2-9b", "bloom-560m")), text)


def _assert_answered_or_refused(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="vramplan")
    assert result.exit_code in (0, 1, 2)
    assert "internal error" not in result.stderr, result.stderr
    if result.exit_code == 2:
        assert result.stdout == ""
        assert 1 <= len(result.stderr.splitlines()) <= 2, result.stderr
    else:
        assert "nan" not in result.stdout
        for estimate in json.loads(result.stdout)["estimates"]:
            memory = estimate["memory"]
            assert 0 < memory["allocated_bytes"] <= memory["reserved_bytes"] <= memory["device_bytes"]
            assert all(term["bytes"] >= 0 for term in memory["terms"])


@given(model=model, options=options)
def test_arguments(model: str, options: list[str]) -> None:
    _assert_answered_or_refused("estimate", *options, "--json", "--", model)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_bytes_for_a_config(config: Path, data: bytes) -> None:
    config.write_bytes(data)
    _assert_answered_or_refused("estimate", str(config), "--json")


LLAMA = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 4,
    "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False,
    "hidden_act": "silu", "max_position_embeddings": 2048, "torch_dtype": "bfloat16",
}  # fmt: skip
junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text, st.lists(st.integers(), max_size=2))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(tuple(LLAMA)), junk, max_size=2), dropped=st.sampled_from(("", *LLAMA)))
def test_a_config_gone_wrong(config: Path, changes: dict[str, Any], dropped: str) -> None:
    values = {key: value for key, value in (LLAMA | changes).items() if key != dropped}
    config.write_text(json.dumps(values), encoding="utf-8")
    _assert_answered_or_refused("estimate", str(config), "--gpu", "t4", "--json")
