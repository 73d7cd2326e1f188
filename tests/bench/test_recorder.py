"""MemoryRecorder on real trainings of the Trainer and of TRL on the CPU, and its counting on a card that is played."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

import vramplan_bench
from tests.bench.conftest import tiny
from vramplan.accuracy import accuracy
from vramplan.errors import VramplanError
from vramplan.record import Record, read_records
from vramplan_bench import MemoryRecorder
from vramplan_bench.real_job.tally import Tally

pytestmark = pytest.mark.rig
LENGTH = 24


def _model() -> Any:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**tiny("llama")))


def _rows(rows: int, length: int = LENGTH) -> list[dict[str, list[int]]]:
    return [{"input_ids": [1 + i % 9] * length, "labels": [1 + i % 9] * length} for i in range(rows)]


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    longest = max(len(row["input_ids"]) for row in rows)
    return {key: torch.tensor([row[key] + [0] * (longest - len(row[key])) for row in rows]) for key in rows[0]}


def _arguments(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"), "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "max_steps": 8, "report_to": "none", "save_strategy": "no", "use_cpu": True, "optim": "adamw_torch",
        "disable_tqdm": True, "seed": 1, **more,
    }  # fmt: skip


def _train(folder: Path, recorder: MemoryRecorder, rows: list[Any], model: Any = None, **more: Any) -> None:
    arguments = TrainingArguments(**_arguments(folder, **more))
    Trainer(
        model=model or _model(), args=arguments, train_dataset=rows, data_collator=_collate, callbacks=[recorder]
    ).train()


def _only(path: Path) -> Record:
    (record,) = read_records(path)
    return record


def test_a_training_of_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    recorder = MemoryRecorder(path)
    _train(tmp_path, recorder, _rows(40))
    record = _only(path)
    assert record == recorder.record
    assert (record.kind, record.outcome, record.request.gpu, record.request.layers) == ("cpu", "ok", None, 2)
    expected = {
        "method": "full", "stack": "hf-trainer", "quant": "none", "dtype": "fp32", "kbit_prep": False,
        "autocast": "none", "optimizer": "adamw", "batch": 2, "seq_len": LENGTH, "grad_accum": 2,
        "checkpointing": False, "attention": "sdpa", "loss": "standard", "gpus": 1, "sharding": "none",
    }  # fmt: skip
    assert dict(record.request.recipe) == expected
    assert [step.step for step in record.steps] == list(range(1, 9))
    assert record.tokens_per_s is not None
    assert record.step_time_s is not None
    # five timed steps of 2 x 2 x 24 tokens; their median and their mean lie near each other
    assert record.tokens_per_s * record.step_time_s == pytest.approx(2 * 2 * LENGTH, rel=0.9)
    assert record.allocated_bytes is None
    assert "CPU" in record.absent["allocated_bytes"]
    assert record.effective is not None
    assert record.effective.trainable == record.effective.parameters
    assert "varied_lengths" not in record.flags


def test_lengths_that_vary_are_flagged(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    rows = [row for length in (6, 8, 10, 48) for row in _rows(10, length)]
    _train(tmp_path, MemoryRecorder(path), rows)
    record = _only(path)
    assert record.request.recipe["seq_len"] == 48
    assert "varied_lengths" in record.flags


def test_lora_is_read_back(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    path = tmp_path / "records.jsonl"
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")
    _train(tmp_path, MemoryRecorder(path), _rows(40), get_peft_model(_model(), config), gradient_checkpointing=True)
    knobs = _only(path).request.recipe
    assert (knobs["method"], knobs["rank"], knobs["targets"]) == ("lora", 4, "q_proj,v_proj")
    assert (knobs["lora_dropout"], knobs["adapter_dtype"], knobs["checkpointing"]) == (0.1, "fp32", True)


def test_a_training_of_trl(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(1, 900)} | {"<pad>": 0}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="w1"
    )
    path = tmp_path / "records.jsonl"
    data = Dataset.from_list([{"input_ids": row["input_ids"]} for row in _rows(40)])
    arguments = trl.SFTConfig(**_arguments(tmp_path, bf16=False, max_length=LENGTH, gradient_accumulation_steps=1))
    trl.SFTTrainer(
        model=_model(), args=arguments, train_dataset=data, processing_class=tokenizer,
        peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[MemoryRecorder(path)],
    ).train()  # fmt: skip
    record = _only(path)
    knobs = record.request.recipe
    assert record.outcome == "ok"
    assert (knobs["stack"], knobs["method"], knobs["targets"], knobs["rank"]) == ("trl", "lora", "all-linear", 8)
    assert (knobs["loss"], knobs["seq_len"], knobs["checkpointing"]) == ("chunked", LENGTH, True)
    assert record.tokens_per_s is not None


class _Stop(torch.nn.Module):
    """Raises in the n-th forward."""

    def __init__(self, error: BaseException, at: int) -> None:
        super().__init__()
        self.error, self.left = error, at

    def forward(self, hidden: Any) -> Any:
        self.left -= 1
        if not self.left:
            raise self.error
        return hidden


@pytest.mark.parametrize(
    ("error", "at", "outcome", "flag"),
    [
        (KeyboardInterrupt(), 15, "ok", True),  # seven whole steps, four of them timed
        (KeyboardInterrupt(), 3, "killed", True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 5, "oom", True),
        (ValueError("bad data"), 15, "error", True),
    ],
)
def test_a_training_that_ends_early(tmp_path: Path, error: BaseException, at: int, outcome: str, flag: bool) -> None:
    path = tmp_path / "records.jsonl"
    model = _model()
    model.model.norm = torch.nn.Sequential(model.model.norm, _Stop(error, at))
    with pytest.raises(type(error)), MemoryRecorder(path) as recorder:
        _train(tmp_path, recorder, _rows(40), model)
    record = _only(path)
    assert (record.outcome, "interrupted" in record.flags) == (outcome, flag)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_what_cannot_be_written_is_told_before_the_training_or_costs_nothing_after_it(tmp_path: Path) -> None:
    model = _model()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(VramplanError, match="No such file or directory"):
        _train(tmp_path, MemoryRecorder(tmp_path / "gone" / "r.jsonl"), _rows(32), model)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    with pytest.warns(RuntimeWarning, match="no record of this training: /dev/full: No space left"):
        _train(tmp_path, MemoryRecorder("/dev/full"), _rows(32), model)
    assert not all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_two_trainings_two_records_and_accuracy_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    recorder = MemoryRecorder(path)
    for _ in range(2):
        _train(tmp_path, recorder, _rows(40), max_steps=2)
    first, second = read_records(path)
    assert first.cell_id == second.cell_id
    assert first.absent["tokens_per_s"].startswith("0 steps after 3 to warm up")
    assert [row.status for row in accuracy([path]).rows] == ["unsupported", "unsupported"]  # a model without a name


def test_a_process_that_ends_in_the_middle(tmp_path: Path) -> None:
    """Nobody caught the exception: the record is written as the interpreter leaves."""
    path = tmp_path / "records.jsonl"
    code = (
        "from types import SimpleNamespace as N\n"
        "import torch\n"
        "from transformers import AutoConfig, AutoModelForCausalLM, TrainingArguments\n"
        "from vramplan_bench import MemoryRecorder\n"
        f"recorder = MemoryRecorder({str(path)!r})\n"
        "model = AutoModelForCausalLM.from_config(AutoConfig.for_model('gpt2', n_embd=16, n_layer=1, n_head=2))\n"
        f"args = TrainingArguments(output_dir={str(tmp_path)!r}, use_cpu=True)\n"
        "recorder.on_train_begin(args, N(is_world_process_zero=True), None, model=model)\n"
        "recorder.on_step_begin(args, None, None)\n"
        "raise torch.OutOfMemoryError('CUDA out of memory')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert (_only(path).outcome, _only(path).reason) == ("oom", "CUDA out of memory")


class _Cuda:
    """torch.cuda's counters: peaks rise as told."""

    def __init__(self) -> None:
        self.peak = self.resets = 0

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return False

    def memory_stats(self) -> dict[str, int]:
        return {"allocated_bytes.all.peak": self.peak, "reserved_bytes.all.peak": 2 * self.peak}

    def reset_peak_memory_stats(self) -> None:
        self.resets += 1


def test_peaks_belong_to_their_phase() -> None:
    cuda, ticks = _Cuda(), count()
    tally = Tally(cuda, lambda: float(next(ticks)))
    for step in range(1, 6):
        tally.begin_step()
        tally.begin_micro_batch((2, 100), chunked=False)
        for phase, peak in (("forward", 10), ("backward", 30 + step), ("optimizer_step", 50 if step == 1 else 20)):
            cuda.peak = peak
            tally.read(phase)
        tally.end_step()
    cuda.peak = 99
    tally.read("evaluate")
    peaks = {key: value.allocated_bytes for key, value in tally.peaks.items()}
    assert peaks["optimizer_step", 1] == 50
    assert peaks["backward", 2] == 35
    assert tally.steady_peaks is not None
    assert (tally.steady_peaks.allocated_bytes, tally.steady_peaks.reserved_bytes) == (35, 70)  # not the first, no eval
    assert [step.allocated_bytes for step in tally.raw] == [50, 32, 33, 34, 35]
    # the clock ticks at begin and end: a step takes 2 from the second on, one of them between steps
    assert [step.duration_s for step in tally.raw] == [1, 2, 2, 2, 2]
    assert tally.tokens_per_s is None  # two timed steps are too few


class _Board:
    """NVML of a card on which others hold 1,000 bytes."""

    def __init__(self, cuda: _Cuda) -> None:
        self.cuda, self.looks = cuda, 0

    def used_bytes(self) -> int:
        self.looks += 1
        return 1000 + (3 * self.cuda.peak if self.cuda.peak else 0)

    def facts(self) -> dict[str, str]:
        return {"gpu": "NVIDIA A100-SXM4-80GB"}


def test_a_training_on_a_card_is_compared_with_its_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is played; the record is one that `accuracy` answers."""
    cuda = _Cuda()
    board: Any = _Board(cuda)
    now = [0.0]
    recorder = MemoryRecorder(tmp_path / "records.jsonl", cuda=cuda, board=board, clock=lambda: now[0])
    monkeypatch.setattr("vramplan_bench.real_job.recorder.on_cuda", lambda model: True)
    monkeypatch.setattr("vramplan_bench.real_job.readback._card", lambda model: "a100-80")
    model = _model()
    model.config._name_or_path, model.config.num_hidden_layers = "HuggingFaceTB/SmolLM2-135M", 30

    def works(*_: Any) -> None:
        cuda.peak = 500_000_000
        now[0] += 0.5

    model.register_forward_pre_hook(works)
    _train(tmp_path, recorder, _rows(120), model, max_steps=26)
    record = _only(tmp_path / "records.jsonl")
    assert (record.kind, record.allocated_bytes, record.reserved_bytes) == ("cuda", 500_000_000, 10**9)
    assert (record.device_bytes, record.device_baseline_bytes) == (1_500_000_000, 1000)
    assert board.looks == 1 + 3 + 1  # before, in the first steps, and in the 25th
    assert record.tokens_per_s == pytest.approx(2 * 2 * LENGTH)  # two forwards a step, half a second each
    assert {phase.name for phase in record.phases} == {"forward", "backward", "optimizer_step"}
    assert record.machine["gpu"] == "NVIDIA A100-SXM4-80GB"
    (row,) = accuracy([tmp_path / "records.jsonl"]).rows
    assert (row.status, row.gpu) == ("ok", "a100-80")
    assert row.error("allocated") is not None
    assert row.error("tokens_per_s") is not None


def test_speed_is_of_the_timed_steps_and_pauses_do_not_count() -> None:
    now = [0.0]
    tally = Tally(None, lambda: now[0])
    for step in range(8):
        tally.begin_step()
        tally.begin_micro_batch((4, 50), chunked=True)
        now[0] += 10.0 if step < 3 else 2.0
        tally.end_step()
        tally.pause()
        now[0] += 1000.0  # an evaluation
    assert tally.tokens_per_s == pytest.approx(100.0)
    assert tally.step_time_s == 2.0
    assert tally.step_time_cv == 0.0
    assert tally.flags == ()
    assert tally.chunked


def test_waiting_for_data_is_flagged() -> None:
    now = [0.0]
    tally = Tally(None, lambda: now[0])
    for _ in range(8):
        tally.begin_step()
        tally.begin_micro_batch((4, 50), chunked=False)
        now[0] += 1.0
        tally.end_step()
        now[0] += 0.5
    assert tally.flags == ("waits_for_data",)


def test_the_package_stays_light() -> None:
    code = "import sys, vramplan_bench; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not hasattr(vramplan_bench, "NoSuchThing")
