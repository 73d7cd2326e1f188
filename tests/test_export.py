"""Configurations written for other tools: read back to the same recipe, and taken by the tools themselves."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from vramplan import Recipe, VramplanError, export_recipe, read_recipe
from vramplan.catalog import find_model, find_stack
from vramplan.cli.app import app
from vramplan.cli.export import KINDS as CLI_KINDS
from vramplan.export import KINDS, ExportedFile, ExportKind, Schedule, export
from vramplan.export.write import resolve_for_file
from vramplan.export.yaml_text import YamlText
from vramplan.recipe import METHODS, ResolvedRecipe, Sharding
from vramplan.resolve import resolve
from vramplan.step.setting import target_names

MODELS = ("llama-8b", "gpt2", "mixtral")
KNOBS: tuple[dict[str, Any], ...] = (
    {}, {"batch": 4, "seq_len": 512, "grad_accum": 8, "rank": 64}, {"dtype": "fp16", "autocast": "fp16"},
    {"dtype": "fp32", "autocast": "none"}, {"dtype": "fp32", "autocast": "bf16"}, {"dtype": "bf16", "autocast": "none"},
    {"dtype": "fp16", "autocast": "none"}, {"optimizer": "sgd_momentum", "checkpointing": False},
    {"optimizer": "paged_adamw_8bit", "targets": "attention"}, {"attention": "flash2", "lora_dropout": 0.0},
    {"attention": "eager", "adapter_dtype": "bf16"}, {"attention": "sdpa-math", "kbit_prep": True},
    {"quant": "int8"}, {"quant": "nf4"}, {"quant": "fp4-dq"}, {"quant": "gptq-int4"}, {"loss": "fused-linear"},
    {"loss": "fused-ce"}, {"loss": "standard"}, {"adapter_dtype": "fp32", "lora_dropout": 0.1},
)  # fmt: skip
STACKS = ("trl", "hf-trainer", "peft-kbit", "liger", "unsloth", "litgpt")


def resolved(method: str, stack: str = "trl", **knobs: Any) -> ResolvedRecipe:
    recipe = Recipe(method=method, **knobs)  # type: ignore[arg-type]
    return resolve_for_file(recipe, recipe.method, find_stack(stack))


def grid() -> Iterator[tuple[str, ResolvedRecipe]]:
    """Every recipe of the lists above that a method can take, some of them on several GPUs."""
    shards: Iterator[Sharding] = itertools.cycle(("none", "zero1", "zero2", "zero3", "fsdp", "ddp"))
    models = itertools.cycle(MODELS)
    for method, stack, knobs in itertools.product(METHODS, STACKS, KNOBS):
        try:
            recipe = resolved(method, stack, **knobs)
        except VramplanError:
            continue
        sharding = next(shards)
        yield next(models), replace(recipe, sharding=sharding, gpus=1 if sharding == "none" else 4)


GRID = tuple(grid())


def back(file: ExportedFile, path: Path, recipe: ResolvedRecipe) -> ResolvedRecipe:
    """What the written file says when it is read as anybody's."""
    path = path / file.name
    path.write_text(file.text, encoding="utf-8")
    found = read_recipe(path)
    assert found.unsettled == ()
    assert all(source.unknown == () for source in found.files)
    method = recipe.method if not found.methods or recipe.method in found.methods else found.methods[0]
    return resolve_for_file(found.recipe(method), method, find_stack(found.stack or "trl"))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "accelerate"])
def test_round_trip(kind: ExportKind, tmp_path: Path) -> None:
    """Every knob comes back as planned, but for those that the file itself says it cannot have."""
    assert len(GRID) > 250
    for name, recipe in GRID:
        model = find_model(name)
        file = export(kind, model, recipe)
        found = back(file, tmp_path, recipe)
        lost = {loss.knob for loss in file.lost}
        for knob, planned in recipe.as_dict().items():
            runs = getattr(found, knob)
            if knob in lost:
                assert str(runs) == next(loss.runs_as for loss in file.lost if loss.knob == knob)
                assert runs != planned
            elif knob == "targets" and recipe.has_adapters:
                assert target_names(model, runs) == target_names(model, planned)
            elif knob == "stack":
                assert find_stack(runs).fused_mlp == find_stack(planned).fused_mlp
            elif knob == "adapter_dtype" and not recipe.has_adapters:
                continue
            elif not (knob == "method" and recipe.quant == "int8"):
                assert runs == planned, (knob, recipe, file.text)
        assert {knob for knob, runs in file.runs.as_dict().items() if runs != getattr(recipe, knob)} == lost
        for loss in file.lost:
            assert str(loss)[:60] in file.text.replace("\n#   ", " "), "a loss stands in the file's comments"


def test_round_trip_of_a_launcher(tmp_path: Path) -> None:
    for _, recipe in GRID[::3]:
        file = export("accelerate", find_model("llama-8b"), recipe)
        assert file.lost == ()
        found = back(file, tmp_path, recipe)
        assert (found.gpus, found.sharding) == (recipe.gpus, recipe.sharding)
        assert read_recipe(tmp_path / file.name).knobs.autocast in (recipe.autocast, None)


def test_trainer_and_launcher_together_lose_nothing(tmp_path: Path) -> None:
    recipe = replace(resolved("qlora", batch=2, seq_len=4096), sharding="zero2", gpus=8)
    names = []
    for kind in ("trl", "accelerate"):
        file = export(kind, find_model("llama-8b"), recipe)
        names.append(tmp_path / file.name)
        names[-1].write_text(file.text)
    found = read_recipe(*names)
    assert resolve_for_file(found.recipe(), "qlora", find_stack(found.stack or "")) == recipe


# Plan (method, stack, knobs) and kind -> knobs that the kind cannot have.
LOSSES: list[tuple[str, str, dict[str, Any], ExportKind, set[str]]] = [
    ("qlora", "trl", {}, "trl", set()),
    ("full", "trl", {}, "trl", set()),
    ("qlora", "trl", {}, "python", set()),
    ("qlora", "hf-trainer", {}, "axolotl", set()),
    ("qlora", "hf-trainer", {}, "llama-factory", set()),
    ("full", "hf-trainer", {"dtype": "fp32"}, "llama-factory", set()),
    ("full", "hf-trainer", {"dtype": "fp32"}, "axolotl", {"dtype"}),
    ("qlora", "trl", {}, "axolotl", {"loss"}),
    ("qlora", "trl", {}, "llama-factory", {"loss", "adapter_dtype"}),
    ("qlora", "liger", {}, "llama-factory", set()),
    ("qlora", "liger", {}, "axolotl", set()),
    ("qlora", "liger", {}, "trl", {"loss", "adapter_dtype"}),
    ("qlora", "peft-kbit", {}, "trl", {"kbit_prep", "loss", "adapter_dtype"}),
    ("qlora", "peft-kbit", {}, "python", {"loss"}),
    ("lora", "trl", {"attention": "sdpa-math"}, "trl", {"attention"}),
    ("qlora", "trl", {"quant": "gptq-int4"}, "trl", {"quant", "method", "adapter_dtype"}),
    ("qlora", "unsloth", {}, "llama-factory", set()),
    ("qlora", "unsloth", {}, "trl", {"stack", "loss", "adapter_dtype"}),
]


@pytest.mark.parametrize(("method", "stack", "knobs", "kind", "lost"), LOSSES)
def test_what_a_tool_cannot_have(
    method: str, stack: str, knobs: dict[str, Any], kind: ExportKind, lost: set[str]
) -> None:
    file = export(kind, find_model("llama-8b"), resolved(method, stack, **knobs))
    assert {loss.knob for loss in file.lost} == lost
    assert len(file.warnings) == len(lost)


def test_the_number_of_gpus_is_the_launchers() -> None:
    (warning,) = export("trl", find_model("llama-8b"), resolved("lora"), gpus=8).warnings
    assert warning == "gpus 8 runs as 1: the launcher's: `--to accelerate` writes it"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["qlora", "full-zero3"])
def test_golden(golden: Callable[[str, str], None], kind: ExportKind, case: str) -> None:
    recipe = resolved("qlora", batch=2, seq_len=4096, grad_accum=4, targets="attention")
    if case == "full-zero3":
        recipe = replace(resolved("full", "liger", optimizer="sgd_momentum"), sharding="zero3", gpus=8)
    file = export(kind, find_model("llama-8b"), recipe, job=Schedule(steps=100, dataset="trl-lib/Capybara"))
    golden(f"export/{case}-{file.name}.txt", file.text)


def test_deterministic_and_by_name() -> None:
    one = export_recipe("axolotl", "llama-8b", Recipe(method="lora"), gpu="t4")
    assert one == export_recipe("axolotl", find_model("llama-8b"), Recipe(method="lora"), gpu="t4")
    assert (one.name, "fp16: true" in one.text) == ("axolotl.yaml", True)
    assert CLI_KINDS == KINDS


def test_a_model_on_disk_is_named_by_its_folder(tmp_path: Path) -> None:
    folder = Path(__file__).parent / "samples" / "configs" / "bnb-model"
    for path in (folder, folder / "config.json"):
        file = export_recipe("trl", path, Recipe())
        (tmp_path / file.name).write_text(file.text)
        assert read_recipe(tmp_path / file.name).model == str(folder)


def test_refused() -> None:
    with pytest.raises(VramplanError, match="unknown kind of configuration 'axolot'; nearest: axolotl"):
        export("axolot", find_model("gpt2"), resolved("lora"))  # type: ignore[arg-type]
    with pytest.raises(VramplanError, match="batch is no single number"):
        export("trl", find_model("gpt2"), replace(resolved("lora"), batch=[1, 2]))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_does_not_break_out_of_its_place(kind: ExportKind, tmp_path: Path) -> None:
    """A model's path is somebody else's text: it stays in its string and its comment."""
    model = replace(find_model("gpt2"), id="a: b\nimport os; x'\"#\n- [")
    file = export(kind, model, resolved("lora"))
    if kind == "python":
        tree = ast.parse(file.text)
        assert [name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names] == ["torch"]
    else:
        values = yaml.safe_load(file.text)
        assert kind == "accelerate" or model.id in (values.get("model_name_or_path"), values.get("base_model"))


WORDS = {"on", "off", "yes", "no", "y", "n", "true", "false", "null"}
number = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
line = st.text(st.characters(exclude_categories=("Cs", "Cc")))
items = st.lists(st.text("aZ: #-'\"{[", max_size=5), min_size=1)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda key: key not in WORDS),
        st.one_of(number, line, items),
        max_size=4,
    )
)
def test_yaml_comes_back(values: dict[str, Any]) -> None:
    text = YamlText()
    for key, value in values.items():
        text.add(key, value, "a remark")
    assert (yaml.safe_load(text.text()) or {}) == values


# The command.


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("export", *arguments), prog_name="vramplan", catch_exceptions=False)


def test_command_prints_or_writes(tmp_path: Path) -> None:
    printed = run("llama-8b", "--to", "trl", "--gpu", "a100-80")
    assert printed.exit_code == 0
    assert printed.stdout == export_recipe("trl", "llama-8b", Recipe(), gpu="a100-80").text
    target = tmp_path / "mine.yaml"
    written = run("llama-8b", "--to", "trl", "--method", "qlora", "-o", str(target))
    assert (written.exit_code, written.stdout) == (0, f"Wrote {target}.\n")
    assert target.read_text() == printed.stdout
    into = run("llama-8b", "--to", "axolotl", "-o", str(tmp_path))
    assert (tmp_path / "axolotl.yaml").exists()
    assert into.stderr == "not as planned: loss chunked runs as standard: axolotl has the standard loss, and Liger's\n"


def test_command_does_not_write_over_a_file(tmp_path: Path) -> None:
    target = tmp_path / "trl-sft.yaml"
    target.write_text("mine")
    refused = run("llama-8b", "--to", "trl", "-o", str(tmp_path))
    assert (refused.exit_code, refused.stdout, target.read_text()) == (2, "", "mine")
    assert refused.stderr == f"vramplan: {target} exists; --force writes over it\n"
    assert run("llama-8b", "--to", "trl", "-o", str(target), "--force").exit_code == 0
    assert target.read_text().startswith("# meta-llama/Llama-3.1-8B, qlora")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("llama-8b",), "--to"),
        (("llama-8b", "--to", "axolot"), "axolotl"),
        (("--to", "trl"), "MODEL"),
        (("llama-8b", "--to", "trl", "--method", "lora", "--method", "full"), "a file holds one recipe"),
        (("llama-8b", "--to", "trl", "--gpu", "t4", "--gpu", "l4"), "a file holds one recipe"),
        (("llama-8b", "--to", "trl", "--epochs", "0"), "--epochs"),
        (("llama-8b", "--to", "trl", "--steps", "-1"), "--steps"),
        (("llama-8b", "--to", "trl", "-o", "/no/such/folder/x.yaml"), "No such file"),
    ],
)
def test_command_refuses(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_from_one_tool_to_another(tmp_path: Path) -> None:
    sample = Path(__file__).parent / "samples" / "configs" / "axolotl-qlora.yaml"
    result = run("llama-8b", "--from", str(sample), "--to", "llama-factory", "-o", str(tmp_path))
    assert result.exit_code == 0
    assert "From " in result.stderr
    first, second = read_recipe(sample).recipe(), read_recipe(tmp_path / "llama-factory.yaml").recipe()
    stack = find_stack("hf-trainer")
    assert resolve(first, "qlora", stack) == resolve(second, "qlora", stack)


# The tools themselves.


def sample_of_grid(step: int) -> Iterator[tuple[str, ResolvedRecipe]]:
    """A few dozen recipes; DeepSpeed's own are left out, since its configuration wants the package."""
    return ((name, recipe) for name, recipe in GRID[::step] if not recipe.sharding.startswith("zero"))


@pytest.mark.rig
def test_trl_takes_it(tmp_path: Path) -> None:
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    from vramplan.export.names import DTYPES, OPTIMIZERS

    for name, recipe in sample_of_grid(9):
        path = tmp_path / "trl.yaml"
        path.write_text(export("trl", find_model(name), recipe).text)
        parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))  # it keeps what it has read
        _, training, model, _ = parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true"])
        assert (training.per_device_train_batch_size, training.max_length) == (recipe.batch, recipe.seq_len)
        assert (training.bf16, training.fp16) == (recipe.autocast == "bf16", recipe.autocast == "fp16")
        assert training.optim.value == OPTIMIZERS[recipe.optimizer]
        assert (training.gradient_checkpointing, model.dtype) == (recipe.checkpointing, DTYPES[recipe.dtype])
        assert model.use_peft == recipe.has_adapters
        if recipe.has_adapters:
            assert (model.lora_r, model.lora_dropout) == (recipe.rank, recipe.lora_dropout)
        assert bool(training.fsdp) == (recipe.sharding == "fsdp")


@pytest.mark.rig
def test_accelerate_takes_it(tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {"none": "NO", "ddp": "MULTI_GPU", "fsdp": "FSDP"}
    for name, recipe in GRID[::7]:
        path = tmp_path / "accelerate.yaml"
        path.write_text(export("accelerate", find_model(name), recipe).text)
        config = load_config_from_file(str(path))
        assert config.distributed_type.value == kinds.get(recipe.sharding, "DEEPSPEED")
        assert config.num_processes == recipe.gpus
        assert config.mixed_precision == {"none": "no"}.get(recipe.autocast, recipe.autocast)


@pytest.mark.rig
def test_axolotl_takes_it() -> None:
    """Where axolotl is installed; it pins its own torch and transformers."""
    schema = pytest.importorskip("axolotl.utils.schemas.config")
    for name, recipe in GRID[::3]:
        text = export("axolotl", find_model(name), recipe).text
        config = schema.AxolotlInputConfig(**yaml.safe_load(text))
        assert (config.micro_batch_size, config.sequence_len) == (recipe.batch, recipe.seq_len)
        assert config.adapter == {"full": None}.get(recipe.method, "qlora" if config.load_in_4bit else "lora")
        assert set(yaml.safe_load(text)) <= set(schema.AxolotlInputConfig.model_fields) | {
            "plugins", "liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_fused_linear_cross_entropy",
            "liger_cross_entropy",
        }  # fmt: skip


@pytest.mark.rig
def test_llama_factory_takes_it() -> None:
    """Where LLaMA-Factory is installed; it wants an older transformers, or DISABLE_VERSION_CHECK=1."""
    parser = pytest.importorskip("llamafactory.hparams.parser", exc_type=ImportError)
    from transformers import HfArgumentParser

    for name, recipe in sample_of_grid(9):
        values = yaml.safe_load(export("llama-factory", find_model(name), recipe).text)
        model, data, training, tuning, _ = HfArgumentParser(parser._TRAIN_ARGS).parse_dict(values | {"use_cpu": True})
        assert (training.per_device_train_batch_size, data.cutoff_len) == (recipe.batch, recipe.seq_len)
        assert tuning.finetuning_type == ("lora" if recipe.has_adapters else "full")
        assert model.disable_gradient_checkpointing is not recipe.checkpointing


LLAMA = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 64, "model_type": "llama",
    "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32",
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A random Llama of two layers with a tokenizer of forty words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = {key: value for key, value in LLAMA.items() if key not in ("model_type", "torch_dtype")}
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(tmp_path)  # type: ignore[arg-type]
    words = {word: index for index, word in enumerate(["<eos>", "<pad>", "<unk>", *(f"w{i}" for i in range(37))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.rig
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_script_trains(tiny: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script, run on the CPU as it is written, but for the data and the card."""
    import torch
    from datasets import Dataset

    recipe = resolved(
        method, dtype="fp32", autocast="none", seq_len=16, batch=2, grad_accum=2, adapter_dtype="bf16", rank=4,
        optimizer="adamw", targets="q_proj,v_proj",
    )  # fmt: skip
    model = find_model(str(tiny))
    file = export("python", replace(model, id=str(tiny)), recipe, job=Schedule(steps=1))
    assert file.lost == ()
    monkeypatch.chdir(tiny)
    script = file.text.replace('output_dir="output",', 'output_dir="output", use_cpu=True, report_to="none",')
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(script, file.name, "exec"), names)
    trainer = names["build_trainer"](Dataset.from_dict({"text": ["w1 w2 w3 w4"] * 8}))
    assert (trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps) == (2, 2)
    assert (trainer.args.max_length, trainer.args.optim.value) == (16, "adamw_torch")
    trained = {name: p.dtype for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert set(trained.values()) == {torch.bfloat16 if method == "lora" else torch.float32}
    if method == "lora":
        assert {name.split(".")[-4] for name in trained} == {"q_proj", "v_proj"}
        assert all(p.shape[0] == 4 for n, p in trainer.model.named_parameters() if "lora_A" in n)
    trainer.train()
    assert trainer.state.global_step == 1
