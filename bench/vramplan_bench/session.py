"""Recipe -> a model, an optimizer and a step: the one construction path of the dry run, the CPU and CUDA.

Only three things differ between them: the device, what tensors hold (`make`), and the probe that listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vramplan.recipe import ResolvedRecipe

from .build import DTYPES, add_adapters, build_base, build_config, prepare
from .loading import MakeTensor
from .loop import Loop, Probe, StepRunner
from .losses import attach_kernels, follow_loss, forward_options, loss_reader
from .optimizers import build_optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A model ready to train: `runner.run(probe)` is one step."""

    config: Any
    """transformers' config."""
    base: Any
    """The transformers model."""
    model: Any
    """What the loop calls: `base`, or PEFT's wrapper of it."""
    optimizer: Any
    runner: StepRunner


def open_session(
    raw: Mapping[str, Any],
    recipe: ResolvedRecipe,
    loop: Loop,
    *,
    device: torch.device,
    make: MakeTensor,
    probe: Probe,
    layers: int | None = None,
) -> Session:
    """Build everything that `recipe` trains. `raw` is a config.json's mapping; `layers` replaces its depth."""
    config = build_config(raw, layers)
    base = build_base(config, recipe, device, make)
    attach_kernels(base, recipe.loss, loop.liger)
    follow_loss(base, recipe.loss, probe)
    probe.set_segment("preparation")
    model = prepare(base, recipe, reentrant=loop.reentrant)
    if recipe.has_adapters:
        probe.set_segment("adapters")
        model = add_adapters(model, raw, recipe)
    model.train()
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    wide = embeddings if loop.wide_embedding_states else []
    optimizer = build_optimizer(recipe.optimizer, model.parameters(), wide=wide)
    shape = (int(recipe.batch), int(recipe.seq_len))
    runner = StepRunner(
        model=model,
        optimizer=optimizer,
        loop=loop,
        make_batch=lambda: _batch(shape, config.get_text_config().vocab_size, recipe, loop, device),
        read_loss=loss_reader(recipe.loss, shape[0] * (shape[1] - 1)),
        autocast=None if recipe.autocast == "none" else DTYPES[recipe.autocast],
        device_type=device.type,
        grad_accum=recipe.grad_accum,
    )
    return Session(config=config, base=base, model=model, optimizer=optimizer, runner=runner)


def _batch(
    shape: tuple[int, int], vocabulary: int, recipe: ResolvedRecipe, loop: Loop, device: torch.device
) -> dict[str, Any]:
    """A full-length batch of random tokens, every one of them a label."""
    tokens = torch.randint(0, vocabulary, shape, device=device)
    batch: dict[str, Any] = {"input_ids": tokens, "labels": tokens.clone(), **forward_options(recipe.loss)}
    if loop.attention_mask:
        batch["attention_mask"] = torch.ones(shape, dtype=torch.long, device=device)
    if not loop.use_cache:
        batch["use_cache"] = False
    return batch
