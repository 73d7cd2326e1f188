"""What a step's memory is summed up from: what stays all the time, a kind of layer, and a moment of the step."""

from __future__ import annotations

from typing import Any, Literal

from ..model import Block
from ..step.entry import mask_bytes, rotary_tables_bytes
from ..step.memory import Fold, fold, sum_bytes
from ..step.optimizer import OptimizerMemory, optimizer_memory
from ..step.setting import Setting
from ..step.sharding import Sharding
from ..step.tape import Storage, Tape, Tensor
from ..step.weights import buffers
from ..units import MIB, allocated
from .result import PhaseName

CUBLAS_WORKSPACE_BYTES = 2 * (8 * MIB + 128 * 1024)
"""cuBLAS and cuBLASLt take 8.125 MiB each from the allocator (aten/cuda/CublasHandlePool.cpp)."""
CUBLAS_WORKSPACE_HOPPER_BYTES = 2 * 32 * MIB
"""On sm90."""

Direction = Literal["forward", "backward"]


class Static:
    """Bytes that stay on the device through the step."""

    __slots__ = (
        "adapters", "base", "batch", "buckets", "buffers", "inputs", "mask", "master", "optimizer",
        "quantized", "tables", "total", "trainable", "workspace",
    )  # fmt: skip

    def __init__(self, c: Setting, shared: Sharding) -> None:
        self.quantized = shared.quantized()
        self.base = shared.base()
        self.adapters = shared.adapters()
        self.buffers = buffers(c)
        self.trainable = shared.gradients()
        self.optimizer: OptimizerMemory = optimizer_memory(
            c.recipe.optimizer, shared.trained(), wide_embeddings=c.stack.wide_embedding_states
        )
        self.master = shared.master_bytes()
        """What the optimizer updates in the stead of 16-bit weights."""
        self.buckets = shared.buckets()
        tensors = 3 if c.stack.attention_mask == "full" else 2
        self.inputs = tensors * allocated(c.tokens * 8)
        self.mask = mask_bytes(c)
        self.tables = rotary_tables_bytes(c)
        self.batch = self.inputs + self.mask + self.tables
        """Gone before the optimizer step."""
        hopper = c.gpu is not None and c.gpu.compute_capability is not None and c.gpu.compute_capability[0] == 9
        self.workspace = CUBLAS_WORKSPACE_HOPPER_BYTES if hopper else CUBLAS_WORKSPACE_BYTES
        self.total = (
            self.quantized + self.base + self.adapters + self.buffers + self.batch + self.workspace
            + self.optimizer.state_bytes + self.master + self.buckets
        )  # fmt: skip


class Layer:
    """One kind of decoder layer, folded."""

    __slots__ = ("count", "fold", "holds", "input_bytes", "pinned_bytes", "pinned_input_bytes", "spec", "tape", "x")

    def __init__(self, spec: Block, tape: Tape, x: Tensor, *, checkpointed: bool) -> None:
        self.spec, self.tape, self.x = spec, tape, x
        self.holds = (x.storage,) if checkpointed else tuple(tape.pins)
        # a checkpoint keeps the layer's input anyway, but not to the end
        self.pinned_bytes = sum_bytes(storage for storage in tape.pins if not (checkpointed and storage is x.storage))
        self.pinned_input_bytes = x.bytes if checkpointed and x.storage in tape.pins else 0
        self.fold: Fold = fold(tape, x, self.holds)
        self.count = spec.count
        self.input_bytes = x.bytes


class Moment:
    """A point of the step at which memory can peak."""

    __slots__ = (
        "activations", "at", "bytes", "direction", "extra", "gradients", "holds", "phase", "saves", "shared", "tape",
        "tape_bytes", "x",
    )  # fmt: skip

    def __init__(
        self, phase: PhaseName, static: Any, *, activations: Any = 0, gradients: Any = 0, extra: Any = 0,
        shared: Any = 0, tape_bytes: Any = 0, tape: Tape | None = None, x: Tensor | None = None,
        direction: Direction = "forward", at: int = 0, saves: bool = True, holds: tuple[Storage, ...] = (),
    ) -> None:  # fmt: skip
        self.phase: PhaseName = phase
        self.activations = activations
        """Kept by layers other than the one that runs."""
        self.gradients = gradients
        """Of weights, made before."""
        self.extra = extra
        """Held by variables of the loop, or temporaries of the optimizer."""
        self.shared = shared
        """Gathered weights and gradients under way, where several GPUs share."""
        self.tape_bytes = tape_bytes
        self.tape = tape
        self.x = x
        self.direction = direction
        self.saves = saves
        """Whether autograd keeps what it saves: not in the forward of a checkpointed layer."""
        self.holds = holds
        """Kept to the end of the tape: by a checkpoint its input, by nodes of the graph what they pin."""
        self.at = at
        self.bytes = static + activations + gradients + extra + shared + tape_bytes
