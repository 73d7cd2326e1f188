"""Bytes of weights, quantisation constants, adapters, optimizer states: by other arithmetic, and by the libraries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from vramplan.catalog import ModelEntry, find_gpu, find_stack, models
from vramplan.families import REFUSED, model_from_config
from vramplan.model import Experts, Model
from vramplan.recipe import Method, Recipe
from vramplan.resolve import resolve
from vramplan.step.optimizer import optimizer_memory
from vramplan.step.setting import Setting
from vramplan.step.weights import Part, adapters, buffers, quantized, targeted, trainable, unquantized

Shapes = list[tuple[int, int]]
RANKS = (8, 16, 64)
REFUSED_VARIANTS = ("ibm-granite/granite-4.0-h-", "google/gemma-4-E")
READABLE = [e for e in models() if e.model_type not in REFUSED and not e.id.startswith(REFUSED_VARIANTS)]


def setting(model: Model, method: Method, stack: str = "hf-trainer", **knobs: Any) -> Setting:
    found = find_stack(stack)
    return Setting(model, resolve(Recipe(**knobs), method, found), found, None)


# --- the matrices of a layer, straight from the config ---------------------------------------------------------------


def _attention(c: dict[str, Any]) -> Shapes:
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    size = c.get("head_dim") or hidden // heads
    q, kv = heads * size, (c.get("num_key_value_heads") or heads) * size
    return [(hidden, q), (hidden, kv), (hidden, kv), (q, hidden)]


def _gated(c: dict[str, Any], width: str = "intermediate_size") -> Shapes:
    return [(c["hidden_size"], c[width])] * 2 + [(c[width], c["hidden_size"])]


def _plain(hidden: int, width: int) -> Shapes:
    return [(hidden, width), (width, hidden)]


def llama_like(c: dict[str, Any]) -> Shapes:
    return _attention(c) + _gated(c)


def two_matrix_mlp(c: dict[str, Any]) -> Shapes:
    return _attention(c) + _plain(c["hidden_size"], c["intermediate_size"])


def fused_gate_up(c: dict[str, Any]) -> Shapes:
    hidden, width = c["hidden_size"], c["intermediate_size"]
    return [*_attention(c), (hidden, 2 * width), (width, hidden)]


def phi3(c: dict[str, Any]) -> Shapes:
    q, k, v, o = _attention(c)
    return [(c["hidden_size"], q[1] + k[1] + v[1]), o, *fused_gate_up(c)[-2:]]


def granite_hybrid(c: dict[str, Any]) -> Shapes:
    hidden, width = c["hidden_size"], c["shared_intermediate_size"]
    return [*_attention(c), (hidden, 2 * width), (width, hidden)]


def fused_qkv(hidden: str) -> Callable[[dict[str, Any]], Shapes]:
    """BLOOM, GPT-2, MPT, GPT-NeoX: three square matrices in one, an MLP four times as wide unless it says otherwise."""

    def shapes(c: dict[str, Any]) -> Shapes:
        h = c[hidden]
        width = c.get("intermediate_size") or c.get("n_inner") or 4 * h
        kv = h // c["n_head"] if c.get("multi_query") else h
        return [(h, h + 2 * kv), (h, h), *_plain(h, width)]

    return shapes


def gptj(c: dict[str, Any]) -> Shapes:
    h = c["n_embd"]
    return [(h, h)] * 4 + _plain(h, 4 * h)


def opt(c: dict[str, Any]) -> Shapes:
    h = c["hidden_size"]
    return [(h, h)] * 4 + _plain(h, c["ffn_dim"])


def falcon(c: dict[str, Any]) -> Shapes:
    h, heads = c["hidden_size"], c["num_attention_heads"]
    kv = c["num_kv_heads"] if c["new_decoder_architecture"] else 1 if c["multi_query"] else heads
    return [(h, h + 2 * kv * (h // heads)), (h, h), *_plain(h, 4 * h)]


def gemma4(c: dict[str, Any]) -> Shapes:
    """All layers: those without a window have wider heads, fewer keys, and no matrix of values."""
    h, heads, width = c["hidden_size"], c["num_attention_heads"], c["intermediate_size"]
    narrow, wide = c["head_dim"], c["global_head_dim"]
    sliding = [(h, heads * narrow), *[(h, c["num_key_value_heads"] * narrow)] * 2, (heads * narrow, h)]
    full = [(h, heads * wide), (h, c["num_global_key_value_heads"] * wide), (heads * wide, h)]
    mlp = [(h, width), (h, width), (width, h)]
    return [s for kind in c["layer_types"] for s in (sliding if kind == "sliding_attention" else full) + mlp]


LLAMA_LIKE = (
    "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "granite", "internlm2", "llama",
    "ministral3", "mistral", "olmo", "olmo2", "olmo3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm",
)  # fmt: skip
DENSE: dict[str, Callable[[dict[str, Any]], Shapes]] = {
    **dict.fromkeys(LLAMA_LIKE, llama_like),
    **dict.fromkeys(("apertus", "arcee", "nemotron", "phi", "starcoder2"), two_matrix_mlp),
    **dict.fromkeys(("glm", "glm4"), fused_gate_up),
    "phi3": phi3,
    "granitemoehybrid": granite_hybrid,
    "bloom": fused_qkv("hidden_size"),
    "gpt_neox": fused_qkv("hidden_size"),
    "mpt": fused_qkv("d_model"),
    "gpt2": fused_qkv("n_embd"),
    "gpt_bigcode": fused_qkv("n_embd"),
    "gptj": gptj,
    "opt": opt,
    "falcon": falcon,
    "gemma4_text": gemma4,
}
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers")


def is_mixture(entry: ModelEntry) -> bool:
    return any(isinstance(block.feed_forward, Experts) for block in entry.model().blocks)


DENSE_ENTRIES = [entry for entry in READABLE if not is_mixture(entry)]


def matrices(entry: ModelEntry) -> Shapes:
    """(inputs, outputs) of every matrix outside embedding and head."""
    c = dict(entry.config)
    layers = next(c[key] for key in LAYER_KEYS if key in c)
    found = DENSE[entry.model_type](c) * (1 if entry.model_type == "gemma4_text" else layers)
    outer = c.get("word_embed_proj_dim", c.get("hidden_size"))
    if outer != c.get("hidden_size"):
        found += [(outer, c["hidden_size"]), (c["hidden_size"], outer)]
    return found


def blocks(n: int, size: int) -> int:
    return (n + size - 1) // size


def rounded(size_bytes: int) -> int:
    return blocks(size_bytes, 512) * 512


def byte_sum(parts: Iterable[Part]) -> int:
    return sum(part.bytes for part in parts)


def elements(parts: Iterable[Part]) -> int:
    return sum(part.count * part.elements for part in parts)


def test_every_dense_type_of_the_catalogue_has_its_own_arithmetic() -> None:
    assert {entry.model_type for entry in DENSE_ENTRIES} == set(DENSE)
    assert len(DENSE_ENTRIES) > 180


@pytest.mark.parametrize("entry", DENSE_ENTRIES, ids=lambda entry: entry.id)
def test_weights_and_constants_of_a_dense_model(entry: ModelEntry) -> None:
    model, sizes = entry.model(), [a * b for a, b in matrices(entry)]
    for dtype, width in (("bf16", 2), ("fp32", 4)):
        assert byte_sum(unquantized(setting(model, "lora", dtype=dtype))) == width * entry.computed_params
        assert byte_sum(unquantized(setting(model, "full", dtype=dtype))) == width * entry.computed_params
    if entry.model_type == "falcon":  # matrices of its own class, which the quantiser leaves alone
        assert not quantized(setting(model, "qlora"))
        assert byte_sum(unquantized(setting(model, "qlora"))) == 2 * entry.computed_params
        return
    rest = entry.computed_params - sum(sizes)
    packed = sum(blocks(n, 2) for n in sizes)
    single = sum(16 * 4 + 4 * blocks(n, 64) for n in sizes)
    double = sum(16 * 4 + blocks(n, 64) + 4 * blocks(blocks(n, 64), 256) + 256 * 4 + 4 for n in sizes)
    rows = sum(4 * outputs for _, outputs in matrices(entry))
    for quant, expected in (("nf4", packed + single), ("nf4-dq", packed + double), ("int8", sum(sizes) + rows)):
        # under autocast 8-bit matrices behind a LayerNorm cast their biases to fp32
        c = setting(model, "qlora", quant=quant, autocast="none")
        assert byte_sum(quantized(c)) == expected
        assert byte_sum(unquantized(c)) == 2 * rest


@pytest.mark.parametrize("entry", DENSE_ENTRIES, ids=lambda entry: entry.id)
def test_adapters_and_states_of_a_dense_model(entry: ModelEntry) -> None:
    model, shapes = entry.model(), matrices(entry)
    for rank in RANKS:
        pairs = [n for a, b in shapes for n in (rank * a, rank * b)]
        wide = setting(model, "lora", rank=rank, adapter_dtype="fp32")
        half = setting(model, "qlora", rank=rank, adapter_dtype="bf16")
        assert (byte_sum(adapters(wide)), byte_sum(adapters(half))) == (4 * sum(pairs), 2 * sum(pairs))
        states = optimizer_memory("adamw", trainable(wide))
        assert states.state_bytes == 2 * sum(rounded(4 * n) for n in pairs)
        assert states.temporary_bytes == sum(rounded(4 * n) for n in pairs)
        counted = optimizer_memory("adamw_fused", trainable(half)).state_bytes
        assert counted == sum(2 * rounded(2 * n) + 512 for n in pairs)


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: entry.id)
def test_no_parameter_is_lost_or_counted_twice(entry: ModelEntry) -> None:
    """Mixtures included: what is quantised and what is not are the model."""
    model = entry.model()
    assert elements(unquantized(setting(model, "full"))) == entry.computed_params
    frozen = sum(sum(b.extra_parameters) * b.count for b in model.blocks) if model.model_type == "ernie4_5_moe" else 0
    assert elements(trainable(setting(model, "full"))) == entry.computed_params - frozen
    for quant in ("nf4", "nf4-dq", "fp4", "int8"):
        c = setting(model, "qlora", quant=quant)
        matrices = elements(p for p in quantized(c) if p.name.endswith((" packed", " int8")))
        assert matrices + elements(unquantized(c)) == entry.computed_params


def test_tables_beside_the_parameters() -> None:
    """GPT-J keeps 2048 x 64 fp32 sines and cosines a layer, SantaCoder a 2048 x 2048 mask."""
    by_id = {entry.id: entry.model() for entry in READABLE}
    gptj = setting(by_id["EleutherAI/gpt-j-6b"], "lora")
    assert buffers(gptj) >= 28 * 2048 * 64 * 4
    assert buffers(setting(by_id["bigcode/gpt_bigcode-santacoder"], "lora")) >= 2048 * 2048
    assert buffers(setting(by_id["meta-llama/Llama-3.1-8B"], "lora")) == 2 * 512  # inv_freq, twice 64 fp32


# --- against PEFT and transformers -----------------------------------------------------------------------------------

ONE_OF_EACH = list({e.model_type: e for e in READABLE if e.model_type not in ("internlm2", "kimi_k2")}.values())


def shortened(entry: ModelEntry, layers: int = 4) -> dict[str, Any]:
    """Few layers, yet one of each kind."""
    config = dict(entry.config)
    key = next(key for key in LAYER_KEYS if key in config)
    per_layer = {k: v[:layers] for k, v in config.items() if isinstance(v, list) and len(v) == config[key]}
    return config | per_layer | {key: min(layers, config[key])}


def library_model(config: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(**config), dtype=torch.bfloat16
        )


def peft_count(library: Any, targets: str | list[str], rank: int) -> int:
    """Trainable parameters that PEFT makes of a fresh model."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=rank, target_modules=targets, task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(library, config, low_cpu_mem_usage=True)
    return sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


@pytest.mark.rig
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # what PEFT says of patterns and Conv1D
@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=lambda entry: entry.id)
@pytest.mark.parametrize("targets", ["all-linear", "attention", "q_proj,v_proj"])
def test_trainable_counts_are_pefts(entry: ModelEntry, targets: str) -> None:
    config = shortened(entry)
    model = model_from_config(config, id=entry.id)
    names = {matrix.name for matrix, _ in model.linears()}
    if targets == "q_proj,v_proj" and not {"q_proj", "v_proj"} <= names:
        pytest.skip("this model has no q_proj and v_proj")
    for rank in RANKS:
        c = setting(model, "lora", rank=rank, targets=targets)
        asked: str | list[str] = "all-linear" if targets == "all-linear" else sorted(c.targets)
        assert elements(adapters(c)) == peft_count(library_model(config), asked, rank)


def test_attention_means_q_k_v_o_or_their_equivalents() -> None:
    def names(id: str) -> set[str]:
        entry = next(entry for entry in READABLE if entry.id == id)
        return {matrix.name for matrix, _ in targeted(setting(entry.model(), "lora", targets="attention"))}

    assert names("meta-llama/Llama-3.1-8B") == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert names("bigscience/bloom-560m") == {"query_key_value", "dense"}
    assert names("microsoft/phi-2") == {"q_proj", "k_proj", "v_proj", "dense"}
    assert names("microsoft/Phi-3-mini-4k-instruct") == {"qkv_proj", "o_proj"}
    assert names("facebook/opt-1.3b") == {"q_proj", "k_proj", "v_proj", "out_proj"}
    # transformers calls the MLP's last matrix c_proj as well, and PEFT goes by names
    assert names("openai-community/gpt2") == {"c_attn", "c_proj"}


@pytest.mark.rig
@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=lambda entry: entry.id)
def test_quantised_matrices_are_those_transformers_replaces(entry: ModelEntry) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    config = shortened(entry)
    library = library_model(config)
    chosen = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    replace_with_bnb_linear(library, get_keys_to_not_convert(library), chosen)
    replaced: Counter[tuple[str, int]] = Counter()
    for path, module in library.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            replaced[path.rpartition(".")[2], module.in_features * module.out_features] += 1
    listed: Counter[tuple[str, int]] = Counter()
    for part in quantized(setting(model_from_config(config, id=entry.id), "qlora")):
        if part.name.endswith(" packed"):
            listed[part.name.removesuffix(" packed"), part.elements] += part.count
    assert listed == replaced


# --- against bitsandbytes' quantiser ---------------------------------------------------------------------------------


@pytest.mark.rig
@pytest.mark.parametrize("shape", [(64, 64), (1, 2048), (63, 65), (320, 96), (256, 1024), (2304, 768), (130, 128)])
@pytest.mark.parametrize("quant", ["nf4", "nf4-dq", "fp4"])
def test_four_bit_constants_are_bitsandbytes_own(shape: tuple[int, int], quant: str) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    packed, state = functional.quantize_4bit(
        torch.randn(shape, dtype=torch.bfloat16), quant_type=quant[:3], compress_statistics=quant.endswith("-dq")
    )
    real = {"packed": packed, "scales": state.absmax, "code": state.code}
    if state.nested:
        real |= {"nested scales": state.state2.absmax, "nested code": state.state2.code, "offset": state.offset}
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in real.items()}
    assert {p.name.removeprefix("x "): p.bytes for p in quantized(one_matrix(shape, quant))} == sizes


@pytest.mark.rig
def test_eight_bit_constants_are_bitsandbytes_own() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    weight, scales, _ = functional.int8_vectorwise_quant(torch.randn(320, 96, dtype=torch.float16))
    sizes = [tensor.numel() * tensor.element_size() for tensor in (weight, scales)]
    assert [p.bytes for p in quantized(one_matrix((320, 96), "int8"))] == sizes


def one_matrix(shape: tuple[int, int], quant: str) -> Any:
    """A setting of a model that is one matrix, as far as `quantized` looks."""
    n = shape[0] * shape[1]
    matrix = SimpleNamespace(name="x", weights=n, outputs=shape[0], quantizable=True)
    return SimpleNamespace(
        quant=quant, quantizes=lambda _: True, model=SimpleNamespace(linears=lambda: iter([(matrix, 1)]))
    )


# --- against the optimizers ------------------------------------------------------------------------------------------

TENSORS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("embedding", (1000, 64)),
    ("q_proj", (64, 64)),
    ("experts in", (4, 64, 96)),
    ("up_proj", (400, 250)),  # 100,000 elements: the first that is paged
    ("down_proj", (400, 249)),
    ("norms", (4095,)),
    ("norms", (4096,)),
    ("head", (1000, 64)),
)


def parts_of(dtype: str, tensors: Iterable[tuple[str, tuple[int, ...]]] = TENSORS) -> list[Part]:
    found: list[Part] = []
    for name, shape in tensors:
        n, columns = 1, shape[-1] if len(shape) > 1 else 0
        for length in shape:
            n *= length
        found.append(Part(name, n, dtype, columns=columns, stacked=shape[0] if len(shape) == 3 else 1))
    return found


@dataclass
class States:
    """Bytes that an optimizer really keeps, as the CUDA allocator would round them."""

    device: int = 0
    managed: int = 0
    seen: set[int] | None = None

    def add(self, tensor: Any) -> None:
        self.seen = self.seen or set()
        if id(tensor) in self.seen:  # code tables are shared
            return
        self.seen.add(id(tensor))
        size = rounded(tensor.numel() * tensor.element_size())
        if getattr(tensor, "is_paged", False):
            self.managed += size
        else:
            self.device += size


def parameters(dtype: str) -> list[Any]:
    torch = pytest.importorskip("torch")
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    made = [torch.nn.Parameter(torch.randn(shape).to(kinds[dtype])) for _, shape in TENSORS]
    for p in made:
        p.grad = torch.randn_like(p)
    return made


@pytest.mark.rig
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["adamw", "adamw_fused", "sgd", "sgd_momentum", "adafactor"])
def test_states_are_torchs_and_transformers(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    made = parameters(dtype)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        optimizer: Any = Adafactor(made, scale_parameter=False, relative_step=False, lr=1e-4)
    elif name.startswith("sgd"):
        optimizer = torch.optim.SGD(made, lr=1e-4, momentum=0.9 if name.endswith("momentum") else 0)
    else:
        optimizer = torch.optim.AdamW(made, lr=1e-4, fused=name == "adamw_fused", foreach=name == "adamw")
    optimizer.step()
    states = States()
    for state in optimizer.state.values():
        for key, value in state.items():
            if torch.is_tensor(value) and not (key == "step" and name == "adamw"):  # there the counter is on the host
                states.add(value)
    assert optimizer_memory(name, parts_of(dtype)).state_bytes == states.device


@pytest.mark.rig
@pytest.mark.parametrize("wide_embeddings", [False, True])
@pytest.mark.parametrize(
    "name", ["adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion", "lion_8bit", "paged_lion_8bit"]
)
def test_states_are_bitsandbytes_own(name: str, wide_embeddings: bool) -> None:
    """Its `init_state` on tensors without storage, as on a GPU; managed memory is stood in for."""
    torch = pytest.importorskip("torch")
    bnb = pytest.importorskip("bitsandbytes")
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    class Paged(torch.Tensor):
        is_paged = True

    def get_paged(*shape: int, dtype: Any, device: Any) -> Any:
        return torch.empty(*shape, dtype=dtype, device="meta").as_subclass(Paged)

    kind = bnb.optim.Lion if "lion" in name else bnb.optim.AdamW
    with (
        patch.object(bnb.functional, "get_paged", get_paged),
        patch.object(bnb.functional, "fill", lambda *_: None),
        patch.object(GlobalOptimManager, "_instance", None),
    ):
        made = [torch.nn.Parameter(torch.empty(shape, dtype=torch.bfloat16, device="meta")) for _, shape in TENSORS]
        optimizer = kind(made, optim_bits=8 if "8bit" in name else 32, is_paged=name.startswith("paged"))
        if wide_embeddings:
            GlobalOptimManager.get_instance().override_config(made[0], "optim_bits", 32)
        states = States()
        for index, p in enumerate(made):
            optimizer.init_state(optimizer.param_groups[0], p, 0, index)
            for value in optimizer.state[p].values():
                if torch.is_tensor(value):
                    states.add(value)
    memory = optimizer_memory(name, parts_of("bf16"), wide_embeddings=wide_embeddings)
    assert (memory.state_bytes, memory.paged_bytes) == (states.device, states.managed)


@pytest.mark.rig
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["adamw", "adamw_fused", "sgd_momentum", "adafactor"])
def test_temporaries_are_those_of_a_real_step(name: str, dtype: str) -> None:
    """The second step of the real optimizer, every storage followed."""
    torch = pytest.importorskip("torch")
    made = parameters(dtype)
    matrices, vectors = [p for p in made if p.dim() > 1], [p for p in made if p.dim() == 1]
    groups = [{"params": matrices}, {"params": vectors}]  # as the Trainer has them
    if name == "adafactor":
        from transformers.optimization import Adafactor

        optimizer: Any = Adafactor(groups, scale_parameter=False, relative_step=False, lr=1e-4)
    elif name == "sgd_momentum":
        optimizer = torch.optim.SGD(made, lr=1e-4, momentum=0.9, foreach=True)
    else:
        optimizer = torch.optim.AdamW(made, lr=1e-4, fused=name == "adamw_fused", foreach=name == "adamw")
    optimizer.step()
    kept = [*made, *(p.grad for p in made), *(v for state in optimizer.state.values() for v in state.values())]
    measured = peak_of(optimizer.step, kept)
    expected = optimizer_memory(name, parts_of(dtype)).temporary_bytes
    small = 64 * 512 if name == "adafactor" else 0  # means, scalars and factors of rows and columns
    assert expected <= measured <= expected + small


def peak_of(step: Callable[[], Any], kept: list[Any]) -> int:
    """Most bytes of new storages that are alive at once; those of `kept` are not new."""
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        now = peak = 0

        def __init__(self, known: set[int]) -> None:
            super().__init__()
            self.known = known

        def release(self, key: int, size: int) -> None:
            self.known.discard(key)
            self.now -= size

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if torch.is_tensor(tensor) and (key := tensor.untyped_storage()._cdata) not in self.known:
                    storage = tensor.untyped_storage()
                    size = rounded(storage.nbytes())
                    self.known.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.release, key, size)
            return out

    with Watch({t.untyped_storage()._cdata for t in kept if torch.is_tensor(t)}) as watch:
        step()
    return watch.peak


def test_a_card_does_not_change_what_is_stored() -> None:
    model = next(entry for entry in READABLE if entry.id == "meta-llama/Llama-3.1-8B").model()
    stack = find_stack("trl")
    recipe = resolve(Recipe(), "qlora", stack)
    sizes = {
        byte_sum([*quantized(c), *unquantized(c), *adapters(c)])
        for c in (Setting(model, recipe, stack, gpu) for gpu in (None, find_gpu("h100"), find_gpu("a100-80")))
    }
    assert len(sizes) == 1
