"""Finding models, GPUs and prices: what each name means, and what is said where none does."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from vramplan.catalog import aliases, find_gpu, find_model, gpus, models, prices
from vramplan.catalog.config_file import LARGEST_FILE_BYTES
from vramplan.errors import UnknownNameError, VramplanError

LLAMA_CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "torch_dtype": "float16",
}


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_table_is_whole() -> None:
    rows = list(models())
    assert len(rows) == 240
    assert sum(len(row.ids) for row in rows) == 443
    assert len({id.casefold() for row in rows for id in row.ids}) == 443
    for row in rows:
        assert row.source and row.computed_params > 0 and row.stored_dtype, row.id
        assert row.check_ok in ("exact", "explained", "no_published"), row.id
        assert (row.published_total_params is None) == (row.check_ok == "no_published"), row.id
        assert row.check_note or row.check_ok != "explained", row.id


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("llama-70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("llama-65b", "huggyllama/llama-65b"),
        ("llama-33b", "huggyllama/llama-30b"),
        ("llama-7b", "huggyllama/llama-7b"),
        ("llama2-13b", "meta-llama/Llama-2-13b-hf"),
        ("llama-2-13b-chat", "meta-llama/Llama-2-13b-hf"),
        ("llama3-8b", "meta-llama/Meta-Llama-3-8B"),
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("Llama 3.1 8B", "meta-llama/Llama-3.1-8B"),
        ("LLAMA3.1_8B", "meta-llama/Llama-3.1-8B"),
        ("qwen2.5-7b", "Qwen/Qwen2.5-7B"),
        ("qwen-2.5-7b", "Qwen/Qwen2.5-7B"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("qwen3-4b", "Qwen/Qwen3-4B"),
        ("mixtral", "mistralai/Mixtral-8x7B-v0.1"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.3"),
        ("mistral-7b-v0.1", "mistralai/Mistral-7B-v0.1"),
        ("gemma2-9b", "google/gemma-2-9b"),
        ("gemma-3-4b", "google/gemma-3-4b-pt"),
        ("phi-4", "microsoft/phi-4"),
        ("bloom-560m", "bigscience/bloom-560m"),
        ("gpt2", "openai-community/gpt2"),
        ("gpt-2", "openai-community/gpt2"),
        ("gpt-oss-20b", "openai/gpt-oss-20b"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("kimi-k2", "moonshotai/Kimi-K2-Instruct"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("META-LLAMA/llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    ],
)
def test_names_of_models(name: str, id: str) -> None:
    model = find_model(name)
    assert (model.id, model.alias) == (id, name)


def test_an_id_needs_no_alias_and_a_sister_is_told() -> None:
    assert find_model("meta-llama/Llama-3.1-8B").alias is None
    sister = find_model("meta-llama/Llama-3.1-8B-Instruct")
    assert sister.notes[0] == "meta-llama/Llama-3.1-8B-Instruct has the shape of meta-llama/Llama-3.1-8B"
    assert "fp8" in find_model("deepseek-v3").notes[-1]


def test_every_alias_leads_to_a_row_and_every_hub_id_to_its_own() -> None:
    ids = {row.id for row in models()}
    assert set(aliases().values()) <= ids
    from vramplan.catalog.model_table import _find_entries

    for row in models():
        for id in row.ids:
            assert [found.id for found in _find_entries(id)] == [row.id], id
            assert len(_find_entries(id.rpartition("/")[2])) == 1, id


@pytest.mark.parametrize(
    "name", ["qwen-34b", "gemma-22b", "llama", "llama-3", "yi-16b", "8b", "", "-", "a" * 10_000, "\0"]
)
def test_no_model_is_guessed(name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_model(name)


def test_an_unknown_model_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"'llama-71b'; nearest: llama-.*llama-70b"):
        find_model("llama-71b")
    with pytest.raises(UnknownNameError, match=r"'metalama/Llama-3.1-8B'; nearest: meta-llama/Llama-3.1-8B.*--online"):
        find_model("metalama/Llama-3.1-8B")


def test_a_config_file_by_folder_by_name_and_by_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(LLAMA_CONFIG))
    monkeypatch.chdir(tmp_path)
    for name in (str(file), str(file.parent), "./mine", "mine", "mine/config.json"):
        model = find_model(name)
        assert model.parameters == 6_738_415_616
        assert model.id.endswith("mine/config.json")
        assert model.source == model.id


def test_a_folder_does_not_hide_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("gpt2").id == "openai-community/gpt2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"  \n", "the file is empty"),
        (b'{"model_type": "llama", "hidden', "config.json:1: not JSON, or cut off"),
        (b"model_type: llama", "config.json:1: not JSON, or cut off"),
        (b"[1, 2]", "holds a JSON list, not an object"),
        (b"3", "holds a JSON int, not an object"),
        (b"{}", "model_type: a missing key is not a word"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file"),
        (b'{"model_type": "llama", "hidden_size": NaN}', "NaN is not a number that JSON allows"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not a usable JSON"),
        (b"[" * 100_000, "not a usable JSON"),
        (b'{"a": "' + b"x" * LARGEST_FILE_BYTES + b'"}', "larger than 4 MiB"),
        (json.dumps(LLAMA_CONFIG).replace("4096", '"4096"').encode(), "hidden_size: '4096' is not a whole number"),
    ],
)
def test_a_broken_config_file_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(VramplanError) as caught:
        find_model(str(file))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match=r"holds no config\.json"):
        find_model(str(tmp_path))
    with pytest.raises(VramplanError, match="no such file"):
        find_model("./nowhere")
    with pytest.raises(VramplanError, match="no such file"):
        find_model("mine.json")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(VramplanError, match="not a regular file"):
        find_model(str(tmp_path))


def pretend_hub(monkeypatch: pytest.MonkeyPatch, download: Callable[..., str]) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    utils = SimpleNamespace(disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)


def test_online_without_the_package_or_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(message: str) -> None:
        with pytest.raises(VramplanError, match=message):
            find_model("somebody/some-model", online=True)

    def slow(*_: object, **__: object) -> str:
        time.sleep(0.5)
        return ""

    def absent(*_: object, **__: object) -> str:
        raise OSError("404 Client Error.\nEntry not found")

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ask(r"somebody/some-model: --online needs huggingface_hub")
    monkeypatch.setattr("vramplan.catalog.hub.TIME_LIMIT_S", 0.05)
    pretend_hub(monkeypatch, slow)
    ask("the hub did not answer within 0.05 s")
    pretend_hub(monkeypatch, absent)
    ask(r"no config\.json from the hub: 404 Client Error\.$")


def test_online_reads_what_the_hub_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_CONFIG))
    pretend_hub(monkeypatch, lambda *_, **__: str(file))
    model = find_model("somebody/some-model", online=True)
    assert (model.id, model.source) == ("somebody/some-model", "config.json on the hub")


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_the_gpu_table_is_whole() -> None:
    rows = list(gpus())
    assert len(rows) == len({row.key for row in rows}) == 81
    for row in rows:
        assert row.source and row.name and row.capacity_bytes > 0, row.key
        assert find_gpu(row.key) is row
        assert find_gpu(row.name) is row
        for alias in row.aliases:
            assert find_gpu(alias) is row
    assert find_gpu("t4").compute_capability == (7, 5)
    assert find_gpu("mi300x").compute_capability is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a100-80", "a100-80"),
        ("A100 80GB", "a100-80"),
        ("a100-80gb", "a100-80"),
        ("A100_80GB", "a100-80"),
        ("a100-40gb", "a100-sxm-40"),
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("GeForce RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("h100", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("nvidia a100-sxm4-80gb", "a100-80"),
        ("Tesla T4", "t4"),
        ("RTX 6000 Ada", "rtx-6000-ada"),
        ("AMD Instinct MI300X OAM", "mi300x"),
    ],
)
def test_names_of_gpus(name: str, key: str) -> None:
    assert find_gpu(name).key == key


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("a100", ["a100-40 (40 GB)", "a100-sxm-40 (40 GB)", "a100-pcie-80 (80 GB)", "a100-80 (80 GB)"]),
        ("NVIDIA A100", ["a100-40", "a100-80"]),
        ("v100", ["v100-16", "v100-32"]),
        ("3080", ["rtx-3080-10 (10 GB)"]),
        ("RTX 4060 Ti", ["rtx-4060-ti-16 (16 GB)"]),
    ],
)
def test_an_ambiguous_gpu_lists_the_candidates(name: str, candidates: list[str]) -> None:
    with pytest.raises(VramplanError, match="several memory sizes") as caught:
        find_gpu(name)
    assert all(candidate in str(caught.value) for candidate in candidates)


@pytest.mark.parametrize("name", ["h10", "a10080000", "rtx", "", "nvidia", "g" * 10_000])
def test_no_gpu_is_guessed(name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_gpu(name)


def test_an_unknown_gpu_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown GPU 'a100-90'; nearest: a100-80"):
        find_gpu("a100-90")


# --- prices -----------------------------------------------------------------------------------------------------------


def test_the_price_table_is_whole() -> None:
    rows = list(prices())
    keys = {gpu.key for gpu in gpus()}
    assert len(rows) == 382
    assert sum(row.kind == "spot" for row in rows) == 82
    for row in rows:
        assert row.gpu_key in keys, row
        assert row.provider and row.region and row.instance and row.source, row
        assert row.kind in ("on_demand", "spot")
        assert isinstance(row.usd_per_hour, Decimal) and row.usd_per_hour > 0 and row.count >= 1
        assert date(2026, 1, 1) < row.date <= date(2026, 11, 22)


def test_the_price_of_one_gpu() -> None:
    row = next(row for row in prices() if row.count == 8)
    assert row.usd_per_gpu_hour * 8 == row.usd_per_hour
