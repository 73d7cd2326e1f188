"""Speed of training: what a step makes a card do, and how long that takes.

step_work    StepMemory or Setting  ->  FLOPs, bytes, kernels             counts, from the tapes of the step
efficiencies card, profile          ->  shares of the card's peaks        fitted, or from published runs
step_time    work at those shares   ->  seconds of an optimizer step, by what they go into
speed        all of it for one recipe
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..estimator.result import Speed, SpeedTerm
from ..model import Experts
from ..step.setting import Setting
from .card import Peaks, link_bytes_per_s, peaks
from .efficiency import Efficiencies, efficiencies
from .time import StepTime, step_time
from .work import StepWork, step_work

if TYPE_CHECKING:
    from ..estimator.phases import StepMemory
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..recipe import ResolvedRecipe
    from ..stack import Stack

__all__ = [
    "Efficiencies",
    "Peaks",
    "Rates",
    "StepTime",
    "StepWork",
    "efficiencies",
    "peaks",
    "rates",
    "speed",
    "speed_notes",
    "speed_of",
    "step_time",
    "step_work",
    "why_no_speed",
]


class Rates:
    """Speed as numbers or arrays of them: the step's time, tokens a second of one GPU and where they likely lie."""

    __slots__ = ("efficiencies", "high_tokens_per_s", "low_tokens_per_s", "peaks", "time", "tokens_per_s", "work")

    def __init__(self, work: StepWork, card: Peaks, e: Efficiencies, time: StepTime) -> None:
        self.work, self.peaks, self.efficiencies, self.time = work, card, e, time
        tokens = work.micro_batches * work.tokens
        self.tokens_per_s: Any = tokens / time.step_s
        slowest_s = time.step_s + e.slow_host * time.parts["launches"]
        self.low_tokens_per_s: Any = tokens / slowest_s * e.low
        self.high_tokens_per_s: Any = self.tokens_per_s * e.high


def rates(
    subject: Setting | StepMemory, gpu: Gpu, profile: Profile | None = None, *, e: Efficiencies | None = None
) -> Rates | None:
    """Speed of a step whose counts may be arrays; None where the card's peaks are not known (`why_no_speed`)."""
    c = subject if isinstance(subject, Setting) else subject.c
    card = peaks(gpu, "fp16" if c.compute_dtype == "fp16" else "bf16")
    link = link_bytes_per_s(gpu) if c.recipe.gpus > 1 else None
    if card is None or (c.recipe.gpus > 1 and link is None):
        return None
    shares = e or efficiencies(gpu, profile, mixture=has_experts(c.model))
    work = step_work(subject)
    return Rates(work, card, shares, step_time(work, card, shares, link))


def has_experts(model: Model) -> bool:
    return any(isinstance(block.feed_forward, Experts) for block in model.blocks)


def speed_notes(model: Model, gpu: Gpu, gpus: int = 1) -> tuple[str, ...]:
    """What a person should know: why there is no speed, or what it does not rest on."""
    missing = why_no_speed(gpu, gpus)
    if missing:
        return (missing,)
    if has_experts(model):
        return ("No published run of a mixture of experts stands behind the speed: its interval is wide.",)
    return ()


def why_no_speed(gpu: Gpu, gpus: int = 1) -> str:
    """What the table lacks for a card's speed; empty where it lacks nothing."""
    if gpu.mem_bandwidth_gb_per_s is None or not gpu.sm_count:
        return f"No speed: the memory bandwidth or the multiprocessors of the {gpu.name} are not known."
    if gpu.bf16_dense_tflops is None and gpu.fp16_dense_tflops is None:
        return f"No speed: the matrix peak of the {gpu.name} is not known, or it has none."
    if gpus > 1 and link_bytes_per_s(gpu) is None:
        return f"No speed: how several {gpu.name} are joined is not known."
    return ""


def speed(
    model: Model,
    recipe: ResolvedRecipe,
    stack: Stack,
    gpu: Gpu,
    profile: Profile | None = None,
    *,
    explained: bool = False,
) -> Speed | None:
    """Speed of one recipe on one card; None where the card's peaks are not known.

    Tokens are those of full length: batch x seq_len x grad_accum / step time. With a profile of the card its fitted
    efficiencies and its own interval, else those of published runs. `explained` adds the terms.
    """
    return speed_of(Setting(model, recipe, stack, gpu), gpu, profile, explained=explained)


def speed_of(
    subject: Setting | StepMemory, gpu: Gpu, profile: Profile | None = None, *, explained: bool = False
) -> Speed | None:
    """`speed` of a step that is described already."""
    found = rates(subject, gpu, profile)
    if found is None:
        return None
    terms: tuple[SpeedTerm, ...] = ()
    if explained:
        from .terms import speed_terms

        terms = speed_terms(found, gpu)
    step_s = float(found.time.step_s)
    work, shares = found.work, {bound: float(s) / step_s for bound, s in found.time.by_bound.items()}
    return Speed(
        tokens_per_s_per_gpu=float(found.tokens_per_s),
        interval=(float(found.low_tokens_per_s), float(found.high_tokens_per_s)),
        step_time_s=step_s,
        bound_by=max(shares, key=lambda bound: shares[bound]),
        source=found.efficiencies.source,
        shares=shares,
        flops_per_token=work.flops / (work.micro_batches * work.tokens),
        mfu=work.model_flops / step_s / found.peaks.matrix_flops_per_s,
        terms=terms,
    )
