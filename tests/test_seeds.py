"""Seeds of trust: statements that people meet in tutorials, with this tool's own answer beside each.

The same data make docs/claims.md (`UPDATE_GOLDEN=1 pytest tests/test_seeds.py` writes it anew).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vramplan import Recipe, estimate
from vramplan.catalog import find_model, find_stack
from vramplan.estimator.result import Estimate
from vramplan.model import Experts
from vramplan.resolve import resolve
from vramplan.step.setting import Setting
from vramplan.step.weights import quantized, unquantized

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
VERDICTS = {True: "true", False: "false", None: "depends"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A claim, the kind of page that makes it, and a function that answers it: text, and whether it holds
    (None = depends)."""

    claim: str
    met_in: str
    holds: bool | None
    answer: Callable[[], tuple[str, bool | None]]


def one(model: str, gpu: str | None = None, stack: str = "trl", **knobs: Any) -> Estimate:
    return estimate(model, gpu, Recipe(**knobs), stack=stack).estimates[0]


def trainable(model: str, **knobs: Any) -> int:
    return one(model, method="lora", **knobs).parameters.trainable


def weight_bytes(model: str, quant: str, dtype: str = "bf16") -> int:
    """Bytes of the loaded weights, as tensors."""
    stack = find_stack("hf-trainer")
    asked = Recipe(quant=quant, dtype=dtype)  # type: ignore[arg-type]
    recipe = resolve(asked, "lora" if quant == "none" else "qlora", stack)
    c = Setting(find_model(model), recipe, stack, None)
    return sum(part.bytes for part in [*quantized(c), *unquantized(c)])


def gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"


def gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def counted(model: str, claimed: int, **knobs: Any) -> Callable[[], tuple[str, bool]]:
    def answer() -> tuple[str, bool]:
        found = trainable(model, **knobs)
        return f"{found:,} trainable parameters", found == claimed

    return answer


def fits(model: str, gpu: str, stack: str = "trl", **knobs: Any) -> Callable[[], tuple[str, bool | None]]:
    def answer() -> tuple[str, bool | None]:
        found = one(model, gpu, stack, method="qlora", **knobs)
        low, high = found.memory.device_interval_bytes
        text = f"{gib(low)} to {gib(high)} on the device with {stack}, batch 1 x {found.recipe.seq_len}: "
        text += f"{found.verdict}; largest batch {found.largest_micro_batch}"
        return text, {"fits": True, "tight": None, "does_not_fit": False}[str(found.verdict)]

    return answer


def thirty_two() -> tuple[str, bool]:
    double, half = trainable("llama-8b", rank=32), trainable("llama-8b", rank=16)
    return f"{half:,} with r = 16; {double:,} is r = 32", half == 83_886_080


def half_precision() -> tuple[str, bool]:
    half, single = (weight_bytes("meta-llama/Llama-2-7b-hf", "none", dtype) for dtype in ("fp16", "fp32"))
    return f"Llama-2-7B: {gb(half)} in fp16; {gb(single)} is fp32", round(half / 1e9) == 28


def double_quantisation() -> tuple[str, bool]:
    model = find_model("meta-llama/Llama-2-7b-hf")
    weights = sum(matrix.weights * count for matrix, count in model.linears())
    saved = weight_bytes(model.id, "nf4") - weight_bytes(model.id, "nf4-dq")
    bits = 8 * saved / weights
    return f"{bits:.3f} bits a quantised parameter, {gb(saved)} of Llama-2-7B", round(bits, 3) == 0.373


def eight_billion_in_four_bit() -> tuple[str, bool]:
    size, model = weight_bytes("llama-8b", "nf4-dq"), find_model("llama-8b")
    whole = 2 * (model.embedding_parameters + model.head.weights)
    text = f"{gib(size)}: embedding and head, {gib(whole)} of it, are not quantised"
    return text, round(size / 1e9) == 4


def seven_billion_qlora() -> tuple[str, bool | None]:
    sizes = {
        name: one(model, stack=stack, method="qlora", seq_len=512).memory.device_bytes
        for name, model, stack in (
            ("Llama-2-7B", "meta-llama/Llama-2-7b-hf", "trl"),
            ("Llama-3.1-8B", "llama-8b", "trl"),
            ("Qwen2.5-7B behind k-bit preparation", "qwen2.5-7b", "peft-kbit"),
        )
    }
    near = [abs(size - 5e9) < 0.5e9 for size in sizes.values()]
    text = ", ".join(f"{name} {gib(size)}" for name, size in sizes.items()) + " on the device (1 x 512 tokens)"
    return text, True if all(near) else None if any(near) else False


def bloom() -> tuple[str, bool]:
    found = one("bigscience/bloom-560m", method="lora", rank=8, targets="query_key_value").parameters
    share = 100 * found.trainable / found.total
    text = f"{found.trainable:,} of {found.total:,} ({share:.2f} %)"
    return text, (found.trainable, found.total) == (786_432, 560_001_024)


def full_70b_states() -> tuple[str, None]:
    """fp32 weights have fp32 states; pure bf16 has bf16 ones."""
    found = {}
    for dtype in ("fp32", "bf16"):
        memory = one("llama-70b", method="full", dtype=dtype).memory
        found[dtype] = next(term.bytes for term in memory.terms if term.name == "optimizer states")
    wide, narrow = (gb(found[dtype]) for dtype in ("fp32", "bf16"))
    return f"{wide} beside fp32 weights; {narrow} where weights and so the states are bf16", None


def full_70b() -> tuple[str, bool | None]:
    sizes = [one("llama-70b", method="full", dtype=dtype).memory.device_bytes for dtype in ("bf16", "fp32")]
    per_parameter = [size / find_model("llama-70b").parameters for size in sizes]
    text = f"{gb(sizes[0])} in pure bf16 ({per_parameter[0]:.1f} B a parameter), {gb(sizes[1])} with fp32 weights"
    return f"{text} ({per_parameter[1]:.1f} B), both with checkpointing, 1 x 2048", None


def mixtral() -> tuple[str, bool]:
    found = one("mixtral", "rtx-4090", method="qlora")
    model = find_model("mixtral")
    experts = sum(b.count * b.feed_forward.expert_weights for b in model.blocks if isinstance(b.feed_forward, Experts))
    text = f"{gib(found.memory.device_interval_bytes[0])} at least: transformers 5 keeps the experts, "
    return f"{text}{100 * experts // model.parameters} % of the parameters, in 16 bit", found.verdict == "fits"


def ten_bytes() -> tuple[str, bool]:
    memory = one("llama-8b", stack="torchtune", method="full", optimizer="adamw", seq_len=128).memory
    per_parameter = memory.allocated_bytes / find_model("llama-8b").parameters
    text = f"{per_parameter:.2f} B a parameter: 2 weights, 2 gradients, 4 states, 2 for the root of a state in the step"
    return text, round(per_parameter) == 8


SEEDS = (
    Seed(claim="LoRA with r = 16 on all linear layers of Llama-3-8B trains 41,943,040 parameters",
         met_in="tutorials, PEFT's own print", holds=True, answer=counted("llama-8b", 41_943_040, rank=16)),
    Seed(claim="LoRA with r = 16 on all linear layers of Llama-3-8B trains 83,886,080 parameters",
         met_in="a popular tutorial page", holds=False, answer=thirty_two),
    Seed(claim="LoRA with r = 8 on q_proj and v_proj of Llama-2-7B trains 4,194,304 parameters",
         met_in="tutorials", holds=True,
         answer=counted("meta-llama/Llama-2-7b-hf", 4_194_304, rank=8, targets="q_proj,v_proj")),
    Seed(claim="LoRA with r = 64 on all linear layers of Llama-2-7B trains 159,907,840 parameters",
         met_in="QLoRA scripts", holds=True, answer=counted("meta-llama/Llama-2-7b-hf", 159_907_840, rank=64)),
    Seed(claim="LoRA with r = 16 on q_proj and v_proj of OPT-6.7B trains 8,388,608 parameters",
         met_in="int8 notebooks of 2023", holds=True,
         answer=counted("facebook/opt-6.7b", 8_388_608, rank=16, targets="q_proj,v_proj")),
    Seed(claim="LoRA with r = 16 on query_key_value of Falcon-7B trains 4,718,592 parameters",
         met_in="tutorials", holds=True,
         answer=counted("tiiuae/falcon-7b", 4_718_592, rank=16, targets="query_key_value")),
    Seed(claim="LoRA with r = 8 on query_key_value of bloom-560m trains 786,432 of 560,001,024 parameters",
         met_in="course material", holds=True, answer=bloom),
    Seed(claim="A 7B model in FP16 takes about 28 GB", met_in="tutorials", holds=False, answer=half_precision),
    Seed(claim="Double quantisation saves 0.373 bits per parameter", met_in="the QLoRA paper", holds=True,
         answer=double_quantisation),
    Seed(claim="Llama-3.1-8B takes about 4 GB in NF4", met_in="calculators", holds=False,
         answer=eight_billion_in_four_bit),
    Seed(claim="QLoRA of a 7B model runs in about 5 GB", met_in="tutorials", holds=None, answer=seven_billion_qlora),
    Seed(claim="QLoRA of Llama-3-70B fits on one A100 with 80 GB", met_in="tutorials", holds=True,
         answer=fits("llama-70b", "a100-80")),
    Seed(claim="QLoRA of a 33B model fits on 48 GB", met_in="tutorials", holds=True,
         answer=fits("huggyllama/llama-30b", "rtx-a6000", rank=64, optimizer="paged_adamw_32bit", seq_len=512)),
    Seed(claim="QLoRA of a 65B model fits on 48 GB (software of today)", met_in="the QLoRA paper", holds=True,
         answer=fits("huggyllama/llama-65b", "rtx-a6000", rank=64, optimizer="paged_adamw_32bit", seq_len=512)),
    Seed(claim="QLoRA of a 65B model fits on 48 GB (scripts of 2023, k-bit preparation)", met_in="the QLoRA paper",
         holds=True,
         answer=fits("huggyllama/llama-65b", "rtx-a6000", "transformers-4", quant="nf4-dq", rank=64,
                     optimizer="paged_adamw_32bit", seq_len=512)),
    Seed(claim="QLoRA of Mixtral-8x7B fits on 24 GB", met_in="tutorials of the time of transformers 4", holds=False,
         answer=mixtral),
    Seed(claim="Full fine-tuning in pure bf16 with AdamW needs 8 bytes a parameter", met_in="tutorials", holds=False,
         answer=ten_bytes),
    Seed(claim="The Adam states of a 70B model take 560 GB", met_in="tutorials", holds=None, answer=full_70b_states),
    Seed(claim="Full fine-tuning of a 70B model takes more than 1 TB", met_in="tutorials", holds=None, answer=full_70b),
)  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.claim)
def test_the_claim_is_what_we_say_it_is(seed: Seed) -> None:
    text, holds = seed.answer()
    assert holds is seed.holds, text


def test_numbers_behind_the_verdicts() -> None:
    assert weight_bytes("meta-llama/Llama-2-7b-hf", "none", "fp16") == 2 * 6_738_415_616
    assert weight_bytes("meta-llama/Llama-2-7b-hf", "none", "fp32") == 4 * 6_738_415_616
    assert gib(weight_bytes("llama-8b", "nf4-dq")) == "5.31 GiB"
    assert trainable("llama-8b", rank=32) == 83_886_080
    states = one("llama-70b", method="full", dtype="fp32").memory
    size = next(term.bytes for term in states.terms if term.name == "optimizer states")
    assert 8 * 70_553_706_496 <= size < 8.001 * 70_553_706_496


def test_the_page_of_claims_is_current() -> None:
    rows = ["| Claim | Met in | Our answer | Verdict |", "|---|---|---|---|"]
    for seed in SEEDS:
        text, holds = seed.answer()
        rows.append(f"| {seed.claim} | {seed.met_in} | {text} | **{VERDICTS[holds]}** |")
    page = (
        "# Claims people meet, and our answers\n\n"
        "Written by tests/test_seeds.py, which also checks every line; do not edit by hand.\n"
        "1 GB is 10^9 bytes, 1 GiB 2^30. *On the device* includes the CUDA context.\n\n" + "\n".join(rows) + "\n"
    )
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
