"""Garbage in a config.json: whatever the keys hold, a model comes out or a VramplanError does."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vramplan.catalog import models
from vramplan.errors import VramplanError
from vramplan.families import known_types, model_from_config
from vramplan.model import Experts, Model

ENTRIES = list(models())
KEYS = sorted(
    {key for entry in ENTRIES for key in entry.config} | {"rope_scaling", "quantization_config", "text_config"}
)

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([0, -1, 1, 2**31, 2**31 + 1, 2**63, 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["silu", "gelu", "bfloat16", "auto", "sliding_attention", "llama"])
)
garbage = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def check(config: dict[str, Any]) -> None:
    try:
        model = model_from_config(config, id="config.json")
    except VramplanError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
    else:
        check_figures(model)


def check_figures(model: Model) -> None:
    assert model.parameters > 0
    assert min(model.hidden_size, model.vocab_size, model.layers) > 0
    assert min(model.learned_positions, model.buffer_bytes, model.rotary_kinds) >= 0
    assert all(0 <= share <= 1 for share in (model.dropout, model.attention_dropout, model.embedding_dropout))
    for block in model.blocks:
        a = block.attention
        assert min(block.count, a.heads, a.kv_heads, a.qk_head_dim, a.v_head_dim) > 0
        assert a.heads % a.kv_heads == 0 and 0 <= a.rotary_dim <= a.qk_head_dim
        assert a.window is None or a.window > 0
        assert all(m.inputs > 0 and m.outputs > 0 for m in block.linears)
        if isinstance(block.feed_forward, Experts):
            assert 0 < block.feed_forward.per_token <= block.feed_forward.count


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(ENTRIES), st.dictionaries(st.sampled_from(KEYS), garbage, min_size=1, max_size=4))
def test_a_real_config_with_garbage_in_it(entry: Any, changes: dict[str, Any]) -> None:
    check({**entry.config, **changes})


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(known_types()), st.dictionaries(st.sampled_from(KEYS), garbage, max_size=12))
def test_garbage_alone(model_type: str, config: dict[str, Any]) -> None:
    check({**config, "model_type": model_type})


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(ENTRIES), st.data())
def test_a_config_with_a_key_less(entry: Any, data: st.DataObject) -> None:
    absent = data.draw(st.sampled_from(sorted(entry.config)))
    check({key: value for key, value in entry.config.items() if key != absent})
