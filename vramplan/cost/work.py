"""A job at a length and a batch: steps, tokens, passes, checkpoints, and the hours they take at a speed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING

from ..data import Epoch, epoch
from ..data.padding import padding_waste
from ..model import Model
from ..recipe import BYTES_PER_ELEMENT, ResolvedRecipe
from ..stack import Stack
from ..step.optimizer import optimizer_memory
from ..step.setting import Setting
from ..step.sharding import sharding
from ..units import ceil_div
from .job import CHECKPOINT_BYTES_PER_S, DOWNLOAD_BYTES_PER_S, STARTUP_S, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Of all epochs and all GPUs together."""

    job: Job
    gpus: int
    steps: int
    """Optimizer steps."""
    sequences: int
    """Of one epoch."""
    tokens: int
    """Trained on, without padding."""
    processed_tokens: int
    """Computed, padding included."""
    padding_waste: float
    """Part of the processed tokens."""
    cut_tokens: int
    """Lost in one epoch because examples are longer than a sequence."""
    evaluation_passes: int
    evaluation_tokens: int
    """Of all passes."""
    evaluation_share: float
    """Time of a token in evaluation, as part of its time in training."""
    checkpoints: int
    checkpoint_bytes: int
    """Of one: adapter or full weights."""
    checkpoint_state_bytes: int
    """Of the optimizer's state beside it; 0 where it is not saved."""
    download_bytes: int
    """The published weights."""
    startup_s: int
    download_s: float
    checkpoint_s: float
    """Writing all of them."""

    def train_s(self, tokens_per_s_per_gpu: float) -> float:
        return train_s(self.processed_tokens, tokens_per_s_per_gpu, self.gpus)

    def evaluation_s(self, tokens_per_s_per_gpu: float) -> float:
        return train_s(self.evaluation_tokens, tokens_per_s_per_gpu, self.gpus) * self.evaluation_share

    def total_s(self, tokens_per_s_per_gpu: float) -> float:
        """From renting the machine to the last checkpoint, without interruptions."""
        working = self.train_s(tokens_per_s_per_gpu) + self.evaluation_s(tokens_per_s_per_gpu)
        return working + self.checkpoint_s + self.startup_s + self.download_s

    @property
    def notes(self) -> tuple[str, ...]:
        job, said = self.job, []
        if job.tokens is not None:
            said.append("tokens are taken to come in sequences filled to their length (--data knows the padding)")
        if self.padding_waste >= 0.005:
            way = "packing or grouping by length" if not job.group_by_length else "packing"
            said.append(f"{100 * self.padding_waste:.0f} % of the work is padding; {way} would save most of it")
        if self.cut_tokens:
            said.append(f"{self.cut_tokens:,} tokens an epoch are cut off: their examples are too long")
        return (*said, *(job.data.notes if job.data else ()))


def work_of(job: Job, recipe: ResolvedRecipe, *, checkpoint: tuple[int, int], download_bytes: int) -> Work:
    """The work of a job under a recipe. `checkpoint`: bytes of weights and of optimizer state (`checkpoint_sizes`)."""
    per_step = recipe.batch * recipe.grad_accum * recipe.gpus
    once = _epoch(job, recipe, int(per_step))
    steps = int((once.steps * job.epochs).to_integral_value(ROUND_CEILING))
    processed, tokens = int(once.processed_tokens * job.epochs), int(once.tokens * job.epochs)
    passes = _times(steps, job.evaluate_every_steps, int(job.epochs.to_integral_value(ROUND_CEILING)))
    checkpoints = _times(steps, job.save_every_steps, 1)
    weights_bytes, state_bytes = checkpoint[0], checkpoint[1] if job.save_optimizer else 0
    return Work(
        job=job,
        gpus=recipe.gpus,
        steps=steps,
        sequences=once.sequences,
        tokens=tokens,
        processed_tokens=processed,
        padding_waste=once.padding_waste,
        cut_tokens=once.cut_tokens,
        evaluation_passes=passes if job.evaluation_tokens else 0,
        evaluation_tokens=passes * job.evaluation_tokens,
        evaluation_share=evaluation_share(trains_base=recipe.method == "full", checkpointing=recipe.checkpointing),
        checkpoints=checkpoints,
        checkpoint_bytes=weights_bytes,
        checkpoint_state_bytes=state_bytes,
        download_bytes=download_bytes,
        startup_s=STARTUP_S if job.startup_s is None else job.startup_s,
        download_s=download_bytes / (job.download_bytes_per_s or DOWNLOAD_BYTES_PER_S),
        checkpoint_s=checkpoints * (weights_bytes + state_bytes) / CHECKPOINT_BYTES_PER_S,
    )


def _epoch(job: Job, recipe: ResolvedRecipe, per_step: int) -> Epoch:
    lengths, seq_len = job.lengths, int(recipe.seq_len)
    if lengths is not None:
        packing, grouped = job.packing, job.group_by_length
        return epoch(
            lengths, seq_len=seq_len, batch=int(recipe.batch), sequences_per_step=per_step, packing=packing,
            group_by_length=grouped,
        )  # fmt: skip
    tokens = job.tokens or 0
    sequences = int(ceil_div(tokens, seq_len))
    return Epoch(
        examples=sequences, sequences=sequences, tokens=tokens, processed_tokens=tokens,
        padding_waste=padding_waste(tokens, tokens), cut_examples=0, cut_tokens=0,
        steps=int(ceil_div(sequences, per_step)),
    )  # fmt: skip


def _times(steps: int, every: int | None, otherwise: int) -> int:
    """How often something happens that happens every so many steps, and at the end."""
    return otherwise if every is None else int(ceil_div(steps, every))


def train_s(processed_tokens: int, tokens_per_s_per_gpu: float, gpus: int) -> float:
    """Time of a number of tokens: processed_tokens / (tokens_per_s_per_gpu x gpus).

    Padding is computed like any token. The speed is that of full sequences: short ones have less attention, and too
    few of them in a batch leave the card idle.
    """
    return processed_tokens / (tokens_per_s_per_gpu * gpus)


def evaluation_share(*, trains_base: bool, checkpointing: bool) -> float:
    """Time of a token in evaluation as part of its time in training: 2N / (2N + recompute 2N + backward 2N or 4N).

    FLOPs of a token in N parameters: 2 forwards; 2 to recompute under checkpointing; 2 for the gradient of the input
    and, where the base model is trained, 2 for that of the weights (Kaplan et al., arXiv 2001.08361, table 1).
    Attention and the optimizer are left out; evaluation in larger batches is faster.
    """
    return 2 / (2 + (2 if checkpointing else 0) + (4 if trains_base else 2))


def checkpoint_sizes(model: Model, recipe: ResolvedRecipe, stack: Stack) -> tuple[int, int]:
    """Bytes of the weights and of the optimizer's state that a checkpoint holds.

    LoRA saves its adapter only (peft, PeftModel.save_pretrained), full fine-tuning the model in its 16-bit (or fp32)
    type; the state is what the optimizer keeps, also in managed memory (Trainer writes it beside the weights unless
    `save_only_model`). What several cards hold in parts is saved as one. Sizes are those of tensors, without file
    headers.
    """
    whole = sharding(Setting(model, replace(recipe, batch=1, gpus=1, sharding="none"), stack, None))
    wide = stack.wide_embedding_states
    optimizer = optimizer_memory(recipe.optimizer, whole.trained(), wide_embeddings=wide)
    state = int(optimizer.state_bytes + optimizer.paged_bytes)
    weights = whole.adapters() if recipe.has_adapters else model.parameters * BYTES_PER_ELEMENT[recipe.dtype]
    return int(weights), state


def download_bytes(model: Model) -> int:
    """Published weights of a model: parameters x bytes of their type."""
    return model.parameters * BYTES_PER_ELEMENT[model.dtype]
