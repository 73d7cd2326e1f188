"""What torch's FSDP2 leaves on a process, against the estimate."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vramplan.catalog import find_model, find_stack
from vramplan.estimator.phases import StepMemory
from vramplan.recipe import Recipe
from vramplan.resolve import resolve
from vramplan.step.setting import Setting

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "float32",
    "hidden_act": "silu",
}  # fmt: skip
TENSORS = 2 * 9 + 3


@pytest.mark.rig
def test_what_fsdp_leaves_on_a_process(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed.fsdp")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).parent / "sharded_step.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), port], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout.splitlines()[-1])
    stack = find_stack("hf-trainer")
    asked = Recipe(method="full", dtype="bf16", autocast="bf16", optimizer="adamw", gpus=2, sharding="fsdp")
    step = StepMemory(Setting(find_model(str(tmp_path)), resolve(asked, "full", stack), stack, None))
    assert 0 <= step.static.base - held["weights"] <= 512 * TENSORS
    assert 0 <= step.gradients - held["gradients"] <= 512 * TENSORS
    assert 0 <= step.static.optimizer.state_bytes - held["states"] <= 2 * 512 * TENSORS
