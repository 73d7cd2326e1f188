"""A million recipes of one model (batch x length x rank) through numpy, on one core. Target: at most 2 s."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from vramplan.catalog import find_gpu, find_model, find_stack
from vramplan.estimator import allocated_bytes
from vramplan.recipe import Recipe
from vramplan.resolve import resolve

TARGET_S = 2.0


def main() -> None:
    """The same formulas that answer one question, checked here against that answer in one place."""
    model, gpu, stack = find_model("llama-8b"), find_gpu("a100-80"), find_stack("trl")
    recipe = resolve(Recipe(), "qlora", stack, gpu)
    batch = np.arange(1, 101)[:, None, None]
    seq_len = np.arange(128, 128 * 101, 128)[None, :, None]
    rank = np.arange(1, 101)[None, None, :]
    start = perf_counter()
    answers = allocated_bytes(model, recipe, stack, gpu, batch=batch, seq_len=seq_len, rank=rank)
    taken = perf_counter() - start
    one = allocated_bytes(model, recipe, stack, gpu, batch=1, seq_len=2048, rank=16)
    assert answers[0, 15, 15] == one
    print(f"{answers.size:,} recipes of {model.id} in {taken:.2f} s (target {TARGET_S:.0f} s)")


if __name__ == "__main__":
    main()
