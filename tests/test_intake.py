"""`--from FILE`: what configuration files of training tools say, what they leave open, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramplan import VramplanError, estimate, read_recipe
from vramplan.catalog.tool_keys import tool_keys
from vramplan.cli.app import app
from vramplan.intake import Intake
from vramplan.intake.document import parse_document
from vramplan.intake.merge import merge_documents

SAMPLES = Path(__file__).parent / "samples" / "configs"
BROKEN = {
    "bomb.yaml": "bomb.yaml: holds more than 100,000 values",
    "cut.json": "cut.json:3: not JSON, or cut off",
    "cut.yaml": "cut.yaml:3: not YAML that can be read",
    "cycle.yaml": "cycle.yaml:1: an alias that holds itself",
    "dpo.yaml": "dpo.yaml:1: beta: preference and reward training is not described",
    "list.yaml": "list.yaml: holds a list",
    "nobodys.yaml": "nobody's configuration, its keys are apiVersion, kind, metadata",
    "not-a-number.yaml": "not-a-number.yaml:2: per_device_train_batch_size: 'many' is not a whole number",
    "tag.yaml": "tag.yaml:1: not YAML that can be read: could not determine a constructor",
    "twice.json": "twice.json: key 'r' stands twice",
    "twice.yaml": "twice.yaml:4: key 'lora_r' stands twice, first on line 3",
}
READABLE = sorted(path.name for path in SAMPLES.iterdir() if path.name not in BROKEN)


def read(name: str, *more: str) -> Intake:
    return read_recipe(*(SAMPLES / each for each in (name, *more)))


def of(text: str, path: str = "file.yaml") -> Intake:
    return merge_documents([parse_document(path, text)])


# What a person reads out of each sample, by the documentation of its tool.
DECIDED: dict[str, tuple[str, tuple[str, ...], str | None, dict[str, Any]]] = {
    "trl-sft.yaml": ("meta-llama/Llama-3.1-8B", ("qlora",), "trl", {
        "rank": 32, "targets": "k_proj,o_proj,q_proj,v_proj", "quant": "nf4-dq", "dtype": "bf16", "autocast": "bf16",
        "batch": 4, "seq_len": 4096, "grad_accum": 8, "checkpointing": True, "attention": "flash2",
        "lora_dropout": 0.05,
    }),
    "handbook-qlora.yaml": ("mistralai/Mistral-7B-v0.1", ("qlora",), "trl", {
        "rank": 16, "targets": "down_proj,gate_proj,k_proj,o_proj,q_proj,up_proj,v_proj", "quant": "nf4",
        "dtype": "bf16", "autocast": "bf16", "batch": 4, "seq_len": 2048, "grad_accum": 2, "checkpointing": True,
        "attention": "flash2", "lora_dropout": 0.05,
    }),
    "axolotl-qlora.yaml": ("NousResearch/Meta-Llama-3-8B", ("qlora",), "hf-trainer", {
        "rank": 32, "targets": "all-linear", "quant": "nf4-dq", "optimizer": "paged_adamw_32bit", "batch": 2,
        "seq_len": 4096, "grad_accum": 4, "checkpointing": True, "attention": "flash2", "lora_dropout": 0.05,
    }),
    "axolotl-full-zero.yaml": ("meta-llama/Llama-3.1-8B", ("full",), "liger", {
        "quant": "none", "dtype": "bf16", "autocast": "bf16", "optimizer": "adamw_fused", "batch": 1, "seq_len": 8192,
        "grad_accum": 8, "checkpointing": True, "attention": "flash2", "loss": "fused-linear", "sharding": "zero3",
    }),
    "llama-factory-lora.yaml": ("meta-llama/Meta-Llama-3-8B-Instruct", ("lora",), "hf-trainer", {
        "rank": 8, "targets": "all-linear", "quant": "none", "dtype": "bf16", "autocast": "bf16", "batch": 1,
        "seq_len": 2048, "grad_accum": 8, "lora_dropout": 0.0,
    }),
    "llama-factory-full.yaml": ("Qwen/Qwen2.5-7B", ("full",), "hf-trainer", {
        "quant": "none", "dtype": "fp32", "autocast": "bf16", "batch": 1, "seq_len": 4096, "grad_accum": 2,
        "attention": "flash2", "sharding": "zero3",
    }),
    "llama-factory-qlora.yaml": ("meta-llama/Llama-3.1-8B", ("qlora",), "liger", {
        "rank": 16, "targets": "q_proj,v_proj", "quant": "nf4-dq", "dtype": "fp16", "autocast": "fp16", "batch": 4,
        "seq_len": 1024, "lora_dropout": 0.0,
    }),
    "train-peft.py": ("mistralai/Mistral-7B-v0.1", ("qlora",), "hf-trainer", {
        "rank": 32, "targets": "q_proj,v_proj", "quant": "nf4", "dtype": "fp16", "autocast": "fp16", "kbit_prep": True,
        "optimizer": "paged_adamw_8bit", "batch": 4, "checkpointing": True, "lora_dropout": 0.05,
    }),
    "train-unsloth.py": ("unsloth/Meta-Llama-3.1-8B", ("qlora",), "unsloth", {
        "rank": 16, "targets": "down_proj,gate_proj,k_proj,o_proj,q_proj,up_proj,v_proj", "quant": "nf4-dq",
        "autocast": "bf16", "optimizer": "adamw_8bit", "batch": 2, "seq_len": 2048, "grad_accum": 4,
        "lora_dropout": 0.0,
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", DECIDED)
def test_what_a_file_decides(name: str) -> None:
    model, methods, stack, knobs = DECIDED[name]
    found = read(name)
    assert (found.model, found.methods, found.stack) == (model, methods, stack)
    assert found.knobs.decided() == knobs
    assert found.unsettled == ()


def test_partial_files_leave_the_rest_open() -> None:
    arguments = read("training_args.json")
    assert (arguments.model, arguments.methods, arguments.stack) == (None, (), "hf-trainer")
    assert arguments.knobs.quant is arguments.knobs.seq_len is arguments.knobs.rank is None
    adapter = read("adapter_config.json")
    assert (adapter.methods, adapter.stack) == (("lora", "qlora"), None)
    assert adapter.knobs.decided() == {"rank": 64, "targets": "k_proj,o_proj,q_proj,v_proj", "lora_dropout": 0.1}
    assert read("bitsandbytes.json").knobs.decided() == {"quant": "fp4-dq"}
    assert read("accelerate-single.yaml").knobs.decided() == {"autocast": "fp16", "sharding": "none", "gpus": 1}


@pytest.mark.parametrize("name", READABLE)
def test_golden(golden: Callable[[str, str], None], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes for people: what came from where, unknown keys, what is not described, what is in dispute."""
    monkeypatch.chdir(SAMPLES)
    found = read_recipe(name)
    lines = [*found.notes(), "", *(f"in dispute, {'/'.join(u.knobs)}: {u.text}" for u in found.unsettled)]
    golden(f"intake/{name}.txt", "\n".join(lines).strip() + "\n")


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    with pytest.raises(VramplanError) as caught:
        read(name)
    assert BROKEN[name] in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_not_a_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "the folder holds no adapter_config.json")):
        with pytest.raises(VramplanError, match=said):
            read_recipe(path)
    (tmp_path / "empty.yaml").write_text("\n")
    (tmp_path / "notes.yaml").write_text("# nothing\n")
    (tmp_path / "latin.yaml").write_bytes("base_model: café".encode("latin-1"))
    (tmp_path / "large.yaml").write_text("base_model: x\n#" + "x" * 300_000)
    for name, said in (
        ("empty.yaml", "empty"), ("notes.yaml", "empty"), ("latin.yaml", "UTF-8"),
        ("large.yaml", "larger than 256 KiB"),
    ):  # fmt: skip
        with pytest.raises(VramplanError, match=said):
            read_recipe(tmp_path / name)
    with pytest.raises(VramplanError, match="no file"):
        read_recipe()
    with pytest.raises(VramplanError, match="17 files"):
        read_recipe(*["x"] * 17)


def test_unknown_keys_name_their_line_and_the_nearest_known() -> None:
    (file,) = read("trl-sft.yaml").files
    assert file.unknown == (f"{SAMPLES / 'trl-sft.yaml'}:20: learing_rate (nearest: learning_rate)",)
    assert "output_dir" in file.without_influence
    assert "lora_r" in file.understood
    assert not set(file.understood) & set(file.without_influence)


# Text of a file -> knobs in dispute and a part of what is said.
DISPUTES = {
    "bf16 and fp16": ("output_dir: o\nbf16: true\nfp16: true\n", ("autocast",), "file.yaml:2: bf16 and fp16 are both"),
    "4 and 8 bit": (
        "dataset_name: d\nuse_peft: true\nload_in_4bit: true\nload_in_8bit: true\n",
        ("quant",), "load_in_8bit are both",
    ),
    "full and 4 bit": ("base_model: m\nload_in_4bit: true\n", ("method", "quant"), "cannot be trained"),
    "full and 4 bit, llama-factory": (
        "finetuning_type: full\nquantization_bit: 4\n", ("method", "quant"), "file.yaml:1: finetuning_type",
    ),
    "qlora without bits": ("base_model: m\nadapter: qlora\nlora_r: 8\n", ("method", "quant"), "without load_in_4bit"),
    "axolotl without rank": ("base_model: m\nadapter: lora\n", ("rank",), "lora_r is missing"),
    "axolotl's batches": (
        "base_model: m\nmicro_batch_size: 2\ngradient_accumulation_steps: 4\nbatch_size: 16\n",
        ("batch", "grad_accum"), "batch_size is 16, but",
    ),
    "two dtypes": ("dataset_name: d\ndtype: float16\ntorch_dtype: bfloat16\n", ("dtype",), "dtype is bf16"),
    "optimizer": ("output_dir: o\noptim: galore_adamw\n", ("optimizer",), "'galore_adamw' is not described"),
    "attention": ("dataset_name: d\nattn_implementation: flex_attention\n", ("attention",), "'flex_attention'"),
    "some layers": (
        "dataset_name: d\nlora_target_modules: ['model.layers.0.self_attn.q_proj']\n", ("targets",), "some layers",
    ),
    "some layers by pattern": (
        r"peft_type: LORA" "\n" r"target_modules: '.*\.layers\.(3|7)\.self_attn\.(q|v)_proj'" "\n",
        ("targets",), "some layers",
    ),
    "a pattern of anything": ("peft_type: LORA\ntarget_modules: '.*'\n", ("targets",), "a pattern"),
    "endless texts": ("dataset_name: d\nmax_length: null\n", ("seq_len",), "leaves their length open"),
    "deepspeed's batches": (
        "deepspeed: {train_batch_size: 9}\nper_device_train_batch_size: 2\n", ("batch", "grad_accum"), "9 sequences",
    ),
    "deepspeed elsewhere": ("output_dir: o\ndeepspeed: none/ds.json\n", ("sharding",), "which is not there"),
    "hybrid shards": ("output_dir: o\nfsdp: hybrid_shard auto_wrap\n", ("sharding",), "'hybrid_shard auto_wrap'"),
}  # fmt: skip


@pytest.mark.parametrize("case", DISPUTES)
def test_in_dispute(case: str) -> None:
    text, knobs, said = DISPUTES[case]
    found = of(text)
    assert [u.knobs for u in found.unsettled] == [knobs]
    assert said in found.unsettled[0].text
    with pytest.raises(VramplanError, match="settles it"):
        found.check()
    found.check(typed=knobs[:1])


# Key and value -> knob and value, within the shortest file of the tool.
SAID = {
    "trl": ("dataset_name: d\nuse_peft: true\n", {
        "dtype: auto": ("dtype", None), "dtype: float16": ("dtype", "fp16"), "fp16: true": ("autocast", "fp16"),
        "bf16: false": ("autocast", "none"), "gradient_checkpointing: false": ("checkpointing", False),
        "optim: adamw_bnb_8bit": ("optimizer", "adamw_8bit"), "optim: lion_32bit": ("optimizer", "lion"),
        "optim: sgd\noptim_args: momentum=0.9": ("optimizer", "sgd_momentum"), "optim: sgd": ("optimizer", "sgd"),
        "load_in_8bit: true": ("quant", "int8"), "load_in_4bit: true\nbnb_4bit_quant_type: fp4": ("quant", "fp4"),
        "use_liger_kernel: true": ("loss", "chunked"), "max_seq_length: 77": ("seq_len", 77),
        "lora_target_modules: all-linear": ("targets", "all-linear"),
        r"lora_target_modules: '.*\.(q_proj|v_proj)$'": ("targets", "q_proj,v_proj"),
        r"lora_target_modules: '.*\.(?:self_attn|mlp)\.(q|k)_proj$'": ("targets", "k_proj,q_proj"),
        r"lora_target_modules: 'model.layers.[\d]+.(mlp|self_attn).(up|q)_proj'": ("targets", "q_proj,up_proj"),
        r"lora_target_modules: 'model\.layers\.\d+\.(self_attn\.(q|k)_proj|mlp\.(experts\.)?up_proj)'":
            ("targets", "k_proj,q_proj,up_proj"),
        "model_init_kwargs: {attn_implementation: eager}": ("attention", "eager"),
        "deepspeed: {zero_optimization: {stage: 1}}": ("sharding", "zero1"),
        "fsdp: true": ("sharding", "fsdp"), "fsdp: [shard_grad_op, auto_wrap]": ("sharding", "zero2"),
    }),
    "axolotl": ("base_model: m\n", {
        "bf16: true": ("autocast", "bf16"), "bfloat16: true": ("autocast", "none"), "fp16: true": ("dtype", "fp16"),
        "bf16: false": ("dtype", "fp32"), "bf16: auto": ("dtype", None),
        "adapter: qlora\nlora_r: 8\nload_in_4bit: true": ("quant", "nf4-dq"),
        "adapter: lora\nlora_r: 8\nload_in_8bit: true": ("quant", "int8"),
        "adapter: qlora\nlora_r: 8\nload_in_4bit: true\nbnb_config_kwargs: {bnb_4bit_use_double_quant: false}":
            ("quant", "nf4"),
        "gradient_checkpointing: offload": ("checkpointing", True), "eager_attention: true": ("attention", "eager"),
        "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]": ("loss", "fused-linear"),
        "plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_cross_entropy: true": ("loss", "fused-ce"),
        "micro_batch_size: 2\nbatch_size: 8": ("grad_accum", 4), "fsdp_config: {version: 2}": ("sharding", "fsdp"),
        "fsdp_config: {reshard_after_forward: false}": ("sharding", "zero2"),
        "deepspeed: deepspeed_configs/zero2.json": ("sharding", "zero2"),
    }),
    "llama-factory": ("finetuning_type: lora\n", {
        "quantization_bit: 8": ("quant", "int8"),
        "quantization_bit: 4\ndouble_quantization: false": ("quant", "nf4"),
        "pure_bf16: true": ("dtype", "bf16"), "bf16: true": ("dtype", "bf16"), "fp16: true": ("dtype", "fp16"),
        "disable_gradient_checkpointing: true": ("checkpointing", False),
        "gradient_checkpointing: false": ("checkpointing", None), "flash_attn: disabled": ("attention", "eager"),
        "flash_attn: auto": ("attention", None), "lora_target: q_proj,v_proj": ("targets", "q_proj,v_proj"),
        "deepspeed: examples/deepspeed/ds_z0_config.json": ("sharding", "ddp"),
    }),
}  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "line"), [(tool, line) for tool, (_, lines) in SAID.items() for line in lines]
)  # fmt: skip
def test_what_a_key_says(tool: str, line: str) -> None:
    file, lines = SAID[tool]
    knob, value = lines[line]
    found = of(f"{file}{line}\n")
    assert found.unsettled == ()
    assert getattr(found.knobs, knob) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peft_type: IA3\n", "'IA3' is not described"),
        ("base_model: m\nrl: grpo\n", "rl: preference and reward"),
        ("base_model: m\nadapter: mora\n", "'mora' is not described; lora and qlora are"),
        ("stage: dpo\nfinetuning_type: lora\n", "'dpo' is not described"),
        ("finetuning_type: freeze\n", "'freeze' is not described"),
        (
            "model_class: llm\ntemplate: qwen\nmicro_batch_size: 1\ncutoff_len: 1\n",
            "LLaMA-Factory's v1 files are not read",
        ),
        ("dataset_name: d\nloss_type: sigmoid\n", "no loss of SFT"),
        ("distributed_type: MEGATRON_LM\nnum_processes: 2\n", "'MEGATRON_LM' is not described"),
        ("dataset_name: d\nlora_dropout: 1.5\n", "file.yaml:2: lora_dropout: 1.5 is not a number from 0"),
        ("dataset_name: d\nlora_r: 100000000\n", "file.yaml:2: lora_r: 100000000 is not a whole number"),
        ("dataset_name: d\ndtype: bfloat17\n", "file.yaml:2: dtype: 'bfloat17' is not one of"),
        ("dataset_name: d\nuse_peft: maybe\n", "file.yaml:2: use_peft: 'maybe' is not true or false"),
        ("dataset_name: d\nlora_target_modules: [1, 2]\n", "file.yaml:2: lora_target_modules"),
        ("dataset_name: d\nbnb_4bit_quant_type: int4\n", "not nf4 or fp4"),
        ("zero_optimization: {stage: 4}\n", "file.yaml:1: zero_optimization.stage: 4 is not a ZeRO stage"),
        ("zero_optimization: 3\n", "file.yaml:1: zero_optimization: 3 is not a table"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(VramplanError, match="file.yaml") as caught:
        of(text)
    assert said in str(caught.value)


def test_files_together(tmp_path: Path) -> None:
    both = read("training_args.json", "adapter_config.json", "bitsandbytes.json")
    assert (both.methods, both.model) == (("qlora",), "meta-llama/Llama-3.1-8B")
    assert (both.knobs.rank, both.knobs.quant, both.knobs.batch) == (64, "fp4-dq", 2)
    ranks = read("trl-sft.yaml", "adapter_config.json")
    assert [u.knobs for u in ranks.unsettled] == [("rank",)]
    assert "rank is 32" in ranks.unsettled[0].text
    assert "lora_r) and 64 (" in ranks.unsettled[0].text
    # What a tool does where nothing is said gives way to what another file says; a launcher's precision does too.
    assert (read("llama-factory-qlora.yaml", "accelerate-single.yaml").knobs.autocast) == "fp16"
    launched = read("trl-sft.yaml", "accelerate-fsdp.yaml")
    assert (launched.knobs.gpus, launched.knobs.sharding, launched.knobs.autocast) == (8, "fsdp", "bf16")
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}}')
    (tmp_path / "run.yaml").write_text("output_dir: o\ndeepspeed: ds.json\nper_device_train_batch_size: 1\n")
    found = read_recipe(tmp_path / "run.yaml")
    assert (found.knobs.sharding, [file.kind for file in found.files]) == ("zero3", ["TrainingArguments", "DeepSpeed"])


def test_a_model_with_bits_in_it() -> None:
    found = read("bnb-model")
    assert found.methods == ("qlora",)
    answer = estimate(found.model or "", "t4", found.recipe())
    assert answer.estimates[0].recipe.quant == "nf4-dq"
    assert read("gptq-model").knobs.quant == "gptq-int4"


def test_toml_and_json_of_the_same_keys() -> None:
    expected = of("base_model: m\nsequence_len: 64\nadapter: lora\nlora_r: 4\n")
    toml = of('base_model = "m"\nsequence_len = 64\nadapter = "lora"\nlora_r = 4\n', "file.toml")
    as_json = of('{"base_model": "m", "sequence_len": 64, "adapter": "lora", "lora_r": 4}', "file.json")
    assert toml.knobs == as_json.knobs == expected.knobs
    assert toml.sources["rank"] == "file.toml:4: lora_r"


def test_recipe_takes_options_over_the_files() -> None:
    found = read("trl-sft.yaml")
    assert found.recipe().rank == 32
    assert found.recipe(rank=8, batch=1) == replace(found.recipe(), rank=8, batch=1)
    assert found.recipe("full").quant is None
    with pytest.raises(VramplanError, match="leave the method open: lora, qlora"):
        read("adapter_config.json").recipe()
    assert read("contradictory.yaml").recipe(optimizer="sgd", autocast="bf16", targets="attention").optimizer == "sgd"


# The command line.


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="vramplan", catch_exceptions=False)


def answered(*arguments: str) -> dict[str, Any]:
    result = run("estimate", *arguments, "--json")
    assert result.exit_code in (0, 1), result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_estimate_from_a_file() -> None:
    sample = str(SAMPLES / "trl-sft.yaml")
    document = answered("--from", sample, "--gpu", "a100-80")
    (only,) = document["estimates"]
    assert document["model"]["id"] == "meta-llama/Llama-3.1-8B"
    assert (only["recipe"]["rank"], only["recipe"]["stack"], only["recipe"]["loss"]) == (32, "trl", "chunked")
    assert only["notes"][0].startswith(f"From {sample} (TRL): model meta-llama/Llama-3.1-8B, method qlora, rank 32")
    plain = answered(
        "llama-8b", "--gpu", "a100-80", "--method", "qlora", "--rank", "32", "--targets", "attention", "--batch", "4",
        "--seq-len", "4096", "--grad-accum", "8", "--attention", "flash2", "--lora-dropout", "0.05",
    )  # fmt: skip
    assert only["memory"] == plain["estimates"][0]["memory"]


def test_options_win_over_files() -> None:
    sample = str(SAMPLES / "trl-sft.yaml")
    (only,) = answered("gpt2", "--from", sample, "--batch", "1", "--stack", "hf-trainer", "--targets", "attention")[
        "estimates"
    ]
    assert (only["recipe"]["batch"], only["recipe"]["stack"], only["recipe"]["loss"]) == (1, "hf-trainer", "standard")
    assert "The command line decides instead of the files: model, stack, targets, batch." in only["notes"]
    methods = answered("--from", sample, "--method", "full", "--method", "lora", "--gpu", "b200")["estimates"]
    assert [(each["method"], each["recipe"]["quant"]) for each in methods] == [("full", "none"), ("lora", "none")]
    both = answered("--from", str(SAMPLES / "adapter_config.json"))["estimates"]
    assert [each["method"] for each in both] == ["lora", "qlora"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "none.yaml"), "none.yaml: no such file"),
        (("--from", str(SAMPLES / "training_args.json")), "MODEL is missing, and the files name none"),
        (("--from", str(SAMPLES / "contradictory.yaml")), "--optimizer on the command line settles it"),
        (("--from", str(SAMPLES / "contradictory.yaml"), "--optimizer", "sgd"), "--autocast on the command line"),
        (("--from", str(SAMPLES / "bits-without-adapter.yaml")), "--method or --quant on the command line"),
        (("--from", str(SAMPLES / "twice.yaml")), "lora_r"),
        (("--gpu", "t4"), "MODEL"),
    ],
)
def test_refused_on_the_command_line(arguments: tuple[str, ...], said: str) -> None:
    result = run("estimate", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert 1 <= len(result.stderr.splitlines()) <= 2


def test_a_dispute_settled_by_options() -> None:
    found = answered(
        "--from", str(SAMPLES / "bits-without-adapter.yaml"), "--method", "qlora", "--gpu", "a100-80"
    )["estimates"]  # fmt: skip
    assert [(each["method"], each["recipe"]["quant"]) for each in found] == [("qlora", "nf4")]


# Laws.

KEYS = sorted(
    {"base_model", "dataset_name", "adapter", "load_in_4bit", "lora_r", "bf16", "fp16", "deepspeed", "fsdp", "optim",
     "fsdp_config", "gradient_checkpointing", "zero_optimization", "distributed_type", "num_processes", "peft_type",
     "target_modules", "r", "finetuning_type", "quantization_bit", "cutoff_len", "per_device_train_batch_size",
     "model_type", "hidden_size", "quantization_config", "lora_target_modules", "max_length", "plugins", "rl",
     "model_init_kwargs", "attn_implementation", "batch_size", "deepspeed_config", "gradient_checkpointing_kwargs"}
)  # fmt: skip
word = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
leaf = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), word, st.sampled_from(("auto", "lora", "bf16", "4", "true"))
)
value = st.one_of(leaf, st.lists(leaf, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), word), leaf))


@given(values=st.dictionaries(st.one_of(st.sampled_from(KEYS), word), value, max_size=6))
@settings(max_examples=300)
def test_any_table_is_read_or_refused(values: dict[str, Any]) -> None:
    try:
        found = of(json.dumps(values), "file.json")
    except VramplanError as error:
        assert 1 <= len(str(error).splitlines()) <= 2
        return
    keys = [key for file in found.files for key in (*file.understood, *file.without_influence, *file.unknown)]
    assert len(keys) == len(values), "every key is understood, without influence, or unknown"
    found.notes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.one_of(st.binary(max_size=60), word.map(str.encode)), suffix=st.sampled_from((".yaml", ".json", ".py")))
def test_any_bytes_are_refused_or_read(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(data)
    with pytest.raises(VramplanError) as caught:
        read_recipe(path)
    assert 1 <= len(str(caught.value).splitlines()) <= 2


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    deep = {".yaml": "base_model: " + "[" * 5_000, ".json": '{"r":' + "[" * 100_000, ".py": "(" * 5_000}
    for suffix, text in deep.items():
        path = tmp_path / f"deep{suffix}"
        path.write_text(text)
        with pytest.raises(VramplanError, match="deep"):
            read_recipe(path)


# The tools themselves.


@pytest.mark.rig
def test_keys_are_those_of_the_installed_tools() -> None:
    import dataclasses

    from accelerate.commands.config.config_args import ClusterConfig
    from peft import LoraConfig
    from transformers import TrainingArguments
    from trl import ModelConfig, ScriptArguments, SFTConfig

    def names(*classes: Any) -> set[str]:
        return {field.name for each in classes for field in dataclasses.fields(each)}

    assert names(TrainingArguments) <= tool_keys("transformers")
    assert names(SFTConfig, ModelConfig, ScriptArguments) <= tool_keys("transformers") | tool_keys("trl")
    assert names(LoraConfig) <= tool_keys("peft")
    assert names(ClusterConfig) <= tool_keys("accelerate")


@pytest.mark.rig
def test_defaults_are_those_of_the_installed_tools(tmp_path: Path) -> None:
    from peft import LoraConfig
    from transformers import TrainingArguments
    from transformers.training_args import OptimizerNames
    from trl import ModelConfig, SFTConfig

    from vramplan.intake.trainer import OPTIMIZERS

    sft, model = SFTConfig(output_dir=str(tmp_path), use_cpu=True), ModelConfig()
    found = of("dataset_name: d\nuse_peft: true\n").knobs
    assert (found.batch, found.seq_len) == (sft.per_device_train_batch_size, sft.max_length)
    assert (sft.bf16, sft.gradient_checkpointing, str(sft.optim.value)) == (True, True, "adamw_torch_fused")
    assert (found.rank, found.lora_dropout) == (model.lora_r, model.lora_dropout)
    assert (found.dtype, model.dtype) == ("fp32", "float32")
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    plain = of("output_dir: o\n").knobs
    assert (plain.batch, plain.checkpointing) == (arguments.per_device_train_batch_size, False)
    assert (arguments.gradient_checkpointing or False, arguments.bf16, plain.autocast) == (False, False, "none")
    lora = of("peft_type: LORA\n").knobs
    assert (lora.rank, lora.lora_dropout) == (LoraConfig().r, LoraConfig().lora_dropout)
    known = {each.value for each in OptimizerNames}
    assert {name for name in OPTIMIZERS if name not in known} == {"adamw_apex_fused", "adamw_hf", "paged_adamw", "lion"}


@pytest.mark.rig
def test_trl_s_own_launcher_files(tmp_path: Path) -> None:
    """The configurations that TRL ships for accelerate."""
    import trl

    shipped = Path(trl.__file__).parent / "accelerate_configs"
    expected = {
        "single_gpu": "none", "multi_gpu": "ddp", "fsdp1": "fsdp", "fsdp2": "fsdp", "zero1": "zero1", "zero2": "zero2",
        "zero3": "zero3",
    }  # fmt: skip
    for name, sharding in expected.items():
        found = read_recipe(shipped / f"{name}.yaml")
        assert (found.knobs.sharding, found.files[0].unknown) == (sharding, ())
        assert found.knobs.gpus == (1 if name == "single_gpu" else 8)
    shutil.rmtree(tmp_path)
