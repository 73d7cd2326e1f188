"""The matrix products of an op: forwards, gradient of its input, gradient of its weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import Experts
from ..recipe import BYTES_PER_ELEMENT
from ..step.tape import Op
from ..units import ceil_div, smallest

if TYPE_CHECKING:
    from ..step.setting import Setting

TILE = 128
"""Rows and columns of a product that one multiprocessor works on at a time (CUTLASS's usual tiles: 128 x 128 and
128 x 256)."""
TILE_DEPTH = 4096
"""A longer inner dimension is split among multiprocessors (split-K)."""
ATTENTION_BACKWARD = 2.5
"""Five products backwards for two forwards: the scores are formed again (Dao 2023, FlashAttention-2, section 3.1)."""
LOOPED_LAUNCH = 0.25
"""Of Python's, the time that a launch takes in a loop of C++ (assumed: some 6 µs)."""

FUSED_ATTENTION = frozenset({"flash", "efficient"})
BATCHED = frozenset({"q k^T", "weights v"})
WHOLE_LOSS = frozenset({"chunked loss", "fused linear cross entropy"})


class Product:
    """`count` equal products: FLOPs, bytes read and written, and the FLOPs of one tile of each of their matrices.

    `single`: in fp32 on the CUDA cores. `kernels`: what the host launches for one, in the time of Python's launches.
    """

    __slots__ = ("bytes", "count", "flops", "kernels", "key", "single", "tile_flops")

    def __init__(
        self, flops: Any, size_bytes: Any, tile_flops: Any, *, single: bool, key: Any, kernels: float = 1
    ) -> None:
        self.flops, self.bytes, self.tile_flops, self.single, self.key = flops, size_bytes, tile_flops, single, key
        self.kernels = kernels
        self.count = 1


def products(c: Setting, op: Op, experts: Experts | None) -> list[Product]:
    """The products of an op, the forward one first; those that happen.

    Of `rows` x K and K x N: x W is (rows, N, K), dx = dy W^T is (rows, K, N), dW = dy^T x is (N, K, rows), 2 rows K N
    FLOPs each. A frozen matrix has no dW; a loss that never holds its logits forms them twice.
    """
    x, out = op.inputs[0], op.outputs[0]
    loss = op.name in WHOLE_LOSS
    single = x.dtype == "fp32" and not (loss and c.autocast)
    if op.name in BATCHED or op.name == "fused lora":
        # many small matrices, or two in one: no tile is counted
        moved = out.bytes
        for tensor in op.inputs:
            moved = moved + tensor.bytes
        shape = (_first(op.flops), _first(moved))
        number = 3 if out.needs_grad else 1
        return [Product(op.flops, moved, 0, single=single, key=(op.name, n, shape)) for n in range(number)]
    inner = c.rank if op.name == "lora_B" else _width(op, c.tokens * _logits_per_token(op) if loss else out.elements)
    columns = c.rank if op.name == "lora_A" else _width(op, x.elements)
    rows, count, apart, merged = c.tokens, 1, 1, False
    if experts is not None and op.name.startswith("experts"):
        rows, count, merged = ceil_div(x.elements // inner, experts.count), experts.count, c.adapts_experts
        apart = 1 if multiplies_groups(c) else count
    size = BYTES_PER_ELEMENT[c.autocast or x.dtype]
    moved = size * (x.elements + (0 if loss else out.elements) + count * inner * columns)
    shapes = {"y": (rows, columns, inner)}
    if x.needs_grad:
        shapes["dx"] = (rows, inner, columns)
    if op.name == "chunked loss":
        shapes["y again"] = (rows, columns, inner)
    if op.weight_grads is not None or merged:
        shapes["dw"] = (columns, inner, rows)
    sides = (inner if type(inner) is int else "rank", columns if type(columns) is int else "rank")
    return [
        Product(
            op.flops, moved, apart * tile_flops(*sizes), single=single, key=(kind, *sides, count, size),
            kernels=max(1, apart * LOOPED_LAUNCH),
        )
        for kind, sizes in shapes.items()
    ]  # fmt: skip


def multiplies_groups(c: Setting) -> bool:
    """Experts are multiplied by one kernel on Hopper and the data-centre Blackwell, by one for each expert elsewhere
    (aten/native/cuda/GroupedBlas.cpp: bf16bf16_grouped_mm on sm90 and sm100, else _grouped_mm_fallback)."""
    capability = None if c.gpu is None else c.gpu.compute_capability
    return capability is not None and capability[0] in (9, 10) and c.compute_dtype == "bf16"


def _logits_per_token(op: Op) -> Any:
    return op.flops // (2 * op.inputs[0].elements)


def _width(op: Op, elements: Any) -> int:
    """A side of the matrix, 2 rows K N / (2 rows K): the same for every count but the rank of an adapter."""
    return int(_first(op.flops) // (2 * _first(elements)))


def _first(count: Any) -> int:
    return count if type(count) is int else int(count.flat[0])


def tile_flops(rows: Any, columns: Any, depth: Any) -> Any:
    """FLOPs of one tile of a product: what a multiprocessor does while others may have run out of tiles."""
    return 2 * smallest(rows, TILE) * smallest(columns, TILE) * smallest(depth, TILE_DEPTH)


def loss_bytes(c: Setting, op: Op) -> Any:
    """Logits of a loss that never holds them whole: written in the compute dtype and read for the statistics."""
    if op.name not in WHOLE_LOSS:
        return 0
    return 2 * _logits_per_token(op) * c.tokens * BYTES_PER_ELEMENT[c.autocast or op.inputs[0].dtype]
