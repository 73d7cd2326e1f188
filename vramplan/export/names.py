"""A recipe's knobs in the words of transformers, PEFT and bitsandbytes: the way back of `vramplan.intake`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import VramplanError
from ..model import Model
from ..recipe import ResolvedRecipe
from ..step.setting import target_names
from .result import Schedule

OPTIMIZERS: dict[str, str] = {
    "adamw": "adamw_torch", "adamw_fused": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit", "paged_adamw_32bit": "paged_adamw_32bit", "adafactor": "adafactor",
    "sgd": "sgd", "sgd_momentum": "sgd", "lion": "lion_32bit", "lion_8bit": "lion_8bit",
    "paged_lion_8bit": "paged_lion_8bit",
}  # fmt: skip
"""The recipe's name -> transformers' (5.23: training_args.py, OptimizerNames)."""
DTYPES: dict[str, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
ATTENTION: dict[str, str] = {"flash2": "flash_attention_2", "sdpa": "sdpa", "eager": "eager"}
"""`sdpa-math` and its like are what torch's dispatcher picks: `sdpa` in a file."""
MOMENTUM = "momentum=0.9"
ZERO = {"zero1": 1, "zero2": 2, "zero3": 3}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a writer is given."""

    model: Model
    recipe: ResolvedRecipe
    gpus: int
    schedule: Schedule

    @property
    def model_name(self) -> str:
        """What `from_pretrained` takes: a hub id, or the folder of a config.json."""
        folder, _, file = self.model.id.rpartition("/")
        return (folder or ".") if file == "config.json" else self.model.id

    @property
    def learning_rate(self) -> float:
        """TRL's for full fine-tuning, ten times that for adapters (Dettmers et al. 2023, table 9: 2e-4)."""
        return 2e-4 if self.recipe.has_adapters else 2e-5

    @property
    def alpha(self) -> int:
        return 2 * int(self.recipe.rank)

    @property
    def four_bit(self) -> bool:
        return self.recipe.quant in ("nf4", "nf4-dq", "fp4", "fp4-dq")

    @property
    def bits(self) -> bool:
        """Whether bitsandbytes quantises the weights."""
        return self.four_bit or self.recipe.quant == "int8"

    @property
    def quant_type(self) -> str:
        return self.recipe.quant.partition("-")[0]

    @property
    def double_quant(self) -> bool:
        return self.recipe.quant.endswith("-dq")

    @property
    def liger(self) -> bool:
        return self.recipe.stack.partition("+")[0] == "liger"

    @property
    def attention(self) -> str:
        return ATTENTION.get(self.recipe.attention, "sdpa")

    def targets(self) -> str | list[str]:
        """`all-linear`, or the model's own module names: `attention` is no word of PEFT's."""
        if self.recipe.targets == "all-linear":
            return "all-linear"
        return sorted(target_names(self.model, self.recipe.targets))


def check_counts(recipe: ResolvedRecipe) -> None:
    """A file holds one recipe: counts that are arrays (a sweep's) have no place in it."""
    for knob in ("rank", "batch", "seq_len"):
        if not isinstance(getattr(recipe, knob), int):
            raise VramplanError(f"{knob} is no single number: export one recipe of a sweep at a time")


def deepspeed_table(stage: int) -> dict[str, object]:
    """A DeepSpeed configuration whose other keys the trainer fills in (transformers: integrations/deepspeed.py)."""
    return {
        "zero_optimization": {"stage": stage},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
    }


FSDP_TABLE: dict[str, object] = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "reshard_after_forward": True,
    "state_dict_type": "SHARDED_STATE_DICT",
    "cpu_ram_efficient_loading": True,
}
"""FSDP2 with parameters sharded again after forward (accelerate 1.15: utils/dataclasses.py)."""
