"""Tiny models and recipes for the rig. Every test here needs the extra [bench] but where it says otherwise."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

TINY: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True},
    "gemma2": {"model_type": "gemma2", "head_dim": 32},
    "phi3": {"model_type": "phi3", "pad_token_id": 0},
    "gpt_neox": {"model_type": "gpt_neox"},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": {"model_type": "gpt2", "n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 256},
}
_SHAPE = {
    "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000,
}  # fmt: skip


def tiny(family: str, **figures: Any) -> dict[str, Any]:
    """A small config of a family."""
    shape = {"vocab_size": 1000} if family == "gpt2" else _SHAPE
    return {**shape, **TINY[family], **figures}


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    pytest.importorskip("torch", reason="the rig needs the extra [bench]")
    from vramplan_bench.answer import quiet_libraries

    quiet_libraries()
    warnings.filterwarnings("ignore")
