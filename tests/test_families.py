"""The parser of config.json figures, against the model table and against transformers itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from vramplan.catalog import ModelEntry, models
from vramplan.errors import InvalidValueError, UnknownNameError, UnsupportedError
from vramplan.families import LIBRARY_TYPES, MODULES, REFUSED, known_types, model_from_config
from vramplan.model import Linear, Model, Norm
from vramplan.units import allocated

ENTRIES = list(models())


def refused(entry: ModelEntry) -> bool:
    variants = ("ibm-granite/granite-4.0-h-", "google/gemma-4-E")
    return entry.model_type in REFUSED or entry.id.startswith(variants)


READABLE = [entry for entry in ENTRIES if not refused(entry)]
ONE_OF_EACH = list({entry.model_type: entry for entry in READABLE if entry.model_type not in LIBRARY_TYPES}.values())
VARIANTS = [
    next(entry for entry in READABLE if entry.id == id)
    for id in (
        "CohereLabs/c4ai-command-r-plus",  # norms on q and k
        "deepseek-ai/DeepSeek-V2-Lite",  # queries not compressed
        "facebook/opt-350m",  # post-norm, projected embeddings
        "ibm-granite/granite-3b-code-base-2k",  # biases in a Llama
        "LGAI-EXAONE/EXAONE-4.0-32B",  # windows, and layers without positions
        "meta-llama/Llama-4-Scout-17B-16E",
        "microsoft/Phi-4-mini-instruct",  # three quarters rotated
        "stabilityai/stablelm-2-12b",  # parallel, a norm for each head
        "tiiuae/falcon-7b",
        "zai-org/GLM-4.5-Air",
    )
]


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: entry.id)
def test_parameters_equal_the_librarys_count(entry: ModelEntry) -> None:
    assert entry.model().parameters == entry.computed_params


@pytest.mark.parametrize("entry", [e for e in ENTRIES if refused(e)], ids=lambda entry: entry.id)
def test_models_beyond_the_parts_are_refused_by_name(entry: ModelEntry) -> None:
    with pytest.raises(UnsupportedError, match=rf"{entry.id}.*{entry.model_type}.*vramplan bench dry"):
        entry.model()


def test_each_module_reads_the_types_it_is_listed_with() -> None:
    from importlib import import_module

    for module, types in MODULES.items():
        assert sorted(import_module(f"vramplan.families.{module}").READERS) == sorted(types.split())
    assert {entry.model_type for entry in ENTRIES} <= {*known_types(), *REFUSED}


# --- against the library ----------------------------------------------------------------------------------------------


def shortened(config: dict[str, Any], layers: int = 8) -> dict[str, Any]:
    """The same model with fewer layers: what differs from layer to layer shows in eight of them."""
    key = next(key for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config)
    layers = min(layers, config[key])
    return {k: v[:layers] if isinstance(v, list) and len(v) == config[key] else v for k, v in config.items()} | {
        key: layers
    }


def library_model(config: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))


def listed_linears(model: Model) -> Counter[tuple[str, int, int, bool, bool]]:
    def row(m: Linear) -> tuple[str, int, int, bool, bool]:
        return m.name, m.inputs, m.outputs, m.bias, m.quantizable

    rows = Counter({row(model.head): 1})
    for matrix, count in model.linears():
        rows[row(matrix)] += count
    return rows


def library_linears(library: Any) -> Counter[tuple[str, int, int, bool, bool]]:
    import torch
    from transformers.pytorch_utils import Conv1D

    rows: Counter[tuple[str, int, int, bool, bool]] = Counter()
    for path, module in library.named_modules():
        if isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
        elif isinstance(module, torch.nn.Linear):
            outputs, inputs = module.weight.shape
        else:
            continue
        quantizable = type(module) in (torch.nn.Linear, Conv1D)
        rows[path.rpartition(".")[2], inputs, outputs, module.bias is not None, quantizable] += 1
    return rows


def listed_norms(model: Model) -> Counter[tuple[str, int, bool]]:
    def row(norm: Norm) -> tuple[str, int, bool]:
        return norm.name, norm.parameters, norm.kind == "rms_unit_offset"

    rows = Counter(row(norm) for norm in (model.final_norm, model.embedding_norm) if norm)
    for block in model.blocks:
        for norm in set(block.all_norms):  # one module that norms q as well as k is listed twice
            rows[row(norm)] += block.count
    return rows


def library_norms(library: Any) -> Counter[tuple[str, int, bool]]:
    rows: Counter[tuple[str, int, bool]] = Counter()
    seen: list[str] = []
    for path, module in library.named_modules():
        kind = type(module).__name__
        if "Norm" in kind and not any(path.startswith(f"{above}.") for above in seen):
            seen.append(path)
            elements = sum(p.numel() for p in module.parameters())
            rows[path.rpartition(".")[2], elements, kind.startswith("Gemma") and kind != "Gemma4RMSNorm"] += 1
    return rows


@pytest.mark.rig
@pytest.mark.parametrize("entry", [*ONE_OF_EACH, *VARIANTS], ids=lambda entry: entry.id)
def test_parts_are_the_librarys(entry: ModelEntry) -> None:
    config = shortened(dict(entry.config))
    model, library = model_from_config(config, id=entry.id), library_model(config)
    assert listed_linears(model) == library_linears(library)
    assert listed_norms(model) == library_norms(library)
    assert library.get_input_embeddings().weight.numel() == model.embedding_parameters
    assert (library.get_output_embeddings().weight is library.get_input_embeddings().weight) == model.tied_embeddings
    assert sum(p.numel() for p in library.parameters()) == model.parameters
    assert (library._supports_sdpa, library._supports_flash_attn) == (model.sdpa, model.flash)
    # as allocated: the library's are in the dtype that they are made in
    buffers = [allocated(b.nbytes) for name, b in library.named_buffers() if not name.endswith("inv_freq")]
    layers = sum(block.count * sum(allocated(size) for size in block.buffers) for block in model.blocks)
    assert sum(buffers) == allocated(model.buffer_bytes) + layers
    kinds = sum(name.endswith("inv_freq") for name, _ in library.named_buffers())
    assert kinds == 2 * model.rotary_kinds * any(block.attention.rotary_dim for block in model.blocks)


@pytest.mark.rig
@pytest.mark.parametrize("entry", [*ONE_OF_EACH, *VARIANTS], ids=lambda entry: entry.id)
def test_positions_and_windows_are_the_librarys(entry: ModelEntry) -> None:
    config = shortened(dict(entry.config))
    model, library = model_from_config(config, id=entry.id), library_model(config)
    rotated = {2 * b.numel() for name, b in library.named_buffers() if name.endswith("inv_freq")}
    if rotated:
        assert {block.attention.rotary_dim for block in model.blocks} - {0} == rotated
    windows = Counter(
        m.sliding_window if getattr(m, "is_sliding", True) else None
        for m in library.modules()
        if hasattr(m, "sliding_window") and (hasattr(m, "o_proj") or hasattr(m, "dense"))
    )
    if windows:
        listed: Counter[int | None] = Counter()
        for block in model.blocks:
            listed[block.attention.window] += block.count
        assert listed == windows


# --- a user's file ----------------------------------------------------------------------------------------------------

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "dtype": "bfloat16",
}


def read(**changes: object) -> Model:
    return model_from_config({**LLAMA, **changes}, id="config.json")


def test_absent_keys_take_the_familys_rule() -> None:
    attention = read().blocks[0].attention
    assert (attention.heads, attention.kv_heads, attention.qk_head_dim) == (4, 4, 16)
    assert read(head_dim=None, num_key_value_heads=None) == read()
    assert not read().tied_embeddings
    assert read(torch_dtype="float16", dtype=None).dtype == "fp16"


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [None, "64", True, 0, -1, 2**32, 64.0, float("nan"), [64], {"a": 1}])
def test_an_impossible_figure_names_file_and_key(key: str, value: object) -> None:
    with pytest.raises(InvalidValueError, match=rf"config\.json: {key}: .* is not a whole number"):
        read(**{key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 3}, "hidden_size: 64 is not a multiple of the 3 attention heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3 is not a divisor of the 4 attention heads"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: 'yes' is not true or false"),
        ({"attention_dropout": 2}, "attention_dropout: 2 is not a number from 0 to 1"),
        ({"dtype": "float8"}, "dtype: 'float8' is not one of bfloat16, float16, float32"),
        ({"model_type": None}, "model_type: a missing key is not a word"),
        ({"text_config": 3}, "text_config: 3 is not an object"),
        ({"text_config": LLAMA | {"vocab_size": 0}}, "text_config: vocab_size: 0 is not"),
    ],
)
def test_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_type_and_activation_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"nearest: .*llama"):
        read(model_type="lama")
    with pytest.raises(UnknownNameError, match=r"nearest: .*gelu"):
        read(hidden_act="gelo")


def test_a_multimodal_config_gives_its_text_tower() -> None:
    model = model_from_config({"model_type": "llava", "text_config": LLAMA, "vision_config": {}}, id="config.json")
    assert model.parameters == read().parameters
    assert "text tower of llava" in model.notes[0]


def test_null_is_not_the_same_as_absent_where_the_library_tells_them_apart() -> None:
    mistral = LLAMA | {"model_type": "mistral", "num_key_value_heads": 2}

    def windows(**changes: object) -> list[int | None]:
        config = {"model_type": "mistral3", "text_config": mistral | changes}
        return [block.attention.window for block in model_from_config(config, id="config.json").blocks]

    assert windows() == [4096]
    assert windows(sliding_window=None) == [None]
    with pytest.raises(InvalidValueError, match="num_key_value_heads: a missing key"):
        read(model_type="mistral")


def test_gemma_3_4b_as_published_leaves_figures_to_the_library() -> None:
    tower = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    model = model_from_config({"model_type": "gemma3", "text_config": tower, "torch_dtype": "bfloat16"}, id="4b")
    entry = next(entry for entry in ENTRIES if entry.id == "google/gemma-3-4b-pt")
    assert model.blocks == entry.model().blocks
    assert (model.parameters, model.dtype) == (entry.computed_params, "bf16")


def test_a_quantised_checkpoint_is_told() -> None:
    assert "stored quantised (gptq)" in read(quantization_config={"quant_method": "gptq"}).notes[0]
    assert "fp32 assumed" in read(dtype=None).notes[0]


def test_dropouts_that_training_leaves_on() -> None:
    def dropouts(id: str) -> tuple[float, float, float]:
        model = next(entry for entry in ENTRIES if entry.id == id).model()
        return model.dropout, model.attention_dropout, model.embedding_dropout

    assert dropouts("openai-community/gpt2") == (0.1, 0.1, 0.1)
    assert dropouts("facebook/opt-1.3b") == (0.1, 0, 0)
    assert dropouts("microsoft/phi-2") == (0.1, 0, 0)
    assert dropouts("bigcode/starcoder2-3b") == (0.1, 0.1, 0.1)
    assert dropouts("meta-llama/Llama-3.1-8B") == (0, 0, 0)
