"""Estimate against dry run: two ways to one number that share no code. The whole grid is `make cross-check`."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from vramplan_bench.cross_check import CASES, check, sample

LLAMA = "HuggingFaceTB/SmolLM2-1.7B"
OTHERS = (
    ("google/gemma-2-2b", 2),
    ("google/gemma-3-270m", 4),
    ("EleutherAI/pythia-1.4b", 1),
    ("bigscience/bloom-560m", 0),
    ("ibm-granite/granite-3.0-2b-base", 4),
    ("mistralai/Mixtral-8x7B-v0.1", 5),
    ("deepseek-ai/DeepSeek-V2-Lite", 4),
    ("microsoft/Phi-3-mini-128k-instruct", 8),
)


@pytest.mark.parametrize(("model", "case"), [*((LLAMA, case) for case in range(len(CASES))), *OTHERS])
def test_peak_and_states(model: str, case: int) -> None:
    title = str(CASES[case])
    if find_spec("liger_kernel") is None and any(word in title for word in ("liger", "fused")):
        pytest.skip("needs liger-kernel")
    row = check((model, CASES[case]))
    assert not row.error
    assert row.miss("peak") == pytest.approx(0, abs=0.01)
    assert row.miss("backward") == pytest.approx(0, abs=0.01)
    assert row.state_differences() == {}


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    assert list(sample(5, seed=1)) == list(sample(5, seed=1)) != list(sample(5, seed=2))
