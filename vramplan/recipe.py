"""How a model is trained: the knobs of a fine-tune, as asked (`Recipe`) and all decided (`ResolvedRecipe`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from .errors import InvalidValueError, UnknownNameError

if TYPE_CHECKING:
    from .units import Count

Method = Literal["full", "lora", "qlora"]
Quant = Literal["none", "nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "gptq-int4", "gptq-int8"]
Dtype = Literal["bf16", "fp16", "fp32"]
Autocast = Literal["none", "bf16", "fp16"]
Optimizer = Literal[
    "adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor", "sgd", "sgd_momentum",
    "lion", "lion_8bit", "paged_lion_8bit",
]  # fmt: skip
AttentionKernel = Literal["sdpa", "sdpa-mem-efficient", "sdpa-math", "eager", "flash2"]
Loss = Literal["standard", "chunked", "fused-linear", "fused-ce"]
Sharding = Literal["none", "ddp", "zero1", "zero2", "zero3", "fsdp"]

METHODS: tuple[Method, ...] = get_args(Method)
BYTES_PER_ELEMENT: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}

CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "quant": get_args(Quant),
    "dtype": get_args(Dtype),
    "autocast": get_args(Autocast),
    "adapter_dtype": get_args(Dtype),
    "optimizer": get_args(Optimizer),
    "attention": get_args(AttentionKernel),
    "loss": get_args(Loss),
    "sharding": get_args(Sharding),
}
"""Accepted values of every knob that is a name."""

LIMITS: dict[str, int] = {
    "rank": 65_536,
    "batch": 1_048_576,
    "seq_len": 16_777_216,
    "grad_accum": 1_048_576,
    "gpus": 65_536,
}
"""Largest accepted value of every count: far beyond use, small enough for 63-bit byte counts."""


REQUIRED = frozenset({"method", "batch", "seq_len", "grad_accum", "gpus", "sharding"})
"""Knobs that no stack decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A fine-tune as asked for. None = the stack's default decides (contract.md lists the defaults)."""

    method: Method = "qlora"
    rank: int | None = None
    targets: str | None = None
    """`all-linear`, `attention`, or module names joined by commas."""
    quant: Quant | None = None
    dtype: Dtype | None = None
    autocast: Autocast | None = None
    adapter_dtype: Dtype | None = None
    kbit_prep: bool | None = None
    optimizer: Optimizer | None = None
    batch: int = 1
    """Sequences per GPU and forward pass."""
    seq_len: int = 2048
    """Tokens per sequence."""
    grad_accum: int = 1
    checkpointing: bool | None = None
    attention: AttentionKernel | None = None
    loss: Loss | None = None
    lora_dropout: float | None = None
    sharding: Sharding = "none"
    gpus: int = 1

    def __post_init__(self) -> None:
        for knob, choices in CHOICES.items():
            value = getattr(self, knob)
            if not (value in choices or (value is None and knob not in REQUIRED)):
                raise UnknownNameError(knob.replace("_", " "), str(value), choices, hint="one of " + ", ".join(choices))
        for knob, limit in LIMITS.items():
            value = getattr(self, knob)
            if not ((type(value) is int and 1 <= value <= limit) or (value is None and knob not in REQUIRED)):
                raise InvalidValueError(knob, value, f"a whole number from 1 to {limit}")
        for knob in ("kbit_prep", "checkpointing"):
            if not (getattr(self, knob) is None or type(getattr(self, knob)) is bool):
                raise InvalidValueError(knob, getattr(self, knob), "true or false")
        if not (self.targets is None or isinstance(self.targets, str)):
            raise InvalidValueError("targets", self.targets, "module names joined by commas")
        dropout = self.lora_dropout
        if not (dropout is None or (isinstance(dropout, int | float) and 0 <= dropout < 1)):
            raise InvalidValueError("lora_dropout", dropout, "a probability from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRecipe:
    """A recipe with every knob decided. The counts may be numpy arrays (`vramplan.sweep`)."""

    method: Method
    stack: str
    rank: Count
    """0 for full fine-tuning."""
    targets: str
    quant: Quant
    dtype: Dtype
    autocast: Autocast
    adapter_dtype: Dtype
    kbit_prep: bool
    optimizer: Optimizer
    batch: Count
    seq_len: Count
    grad_accum: int
    checkpointing: bool
    attention: AttentionKernel
    loss: Loss
    lora_dropout: float
    sharding: Sharding
    gpus: int

    @property
    def has_adapters(self) -> bool:
        return self.method != "full"

    @property
    def quantizes(self) -> bool:
        return self.quant != "none"

    def as_dict(self) -> dict[str, Any]:
        """Every resolved knob, JSON-ready."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
