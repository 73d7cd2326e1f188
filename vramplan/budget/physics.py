"""What does not depend on money: memory, speed and room of recipes on cards, and data files; each found out once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..catalog import NO_PROFILE, find_profile, find_stack, profile_for
from ..cost.work import checkpoint_sizes
from ..data import DataFile, read_data
from ..estimator.answer import estimate_one, memory_tiers
from ..estimator.result import Estimate, Speed, Verdict
from ..gpu import Gpu
from ..model import Model
from ..profile import Profile
from ..recipe import Method, ResolvedRecipe
from ..resolve import resolve
from ..speed import speed
from .result import HeatCell, Way
from .scenario import PlannedJob

AROUND = (-2, -1, 0, 1, 2)
"""Powers of two from the planned length; and the same of the planned batch."""
SHORTEST = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Technical:
    """One recipe on one card."""

    recipe: ResolvedRecipe
    verdict: Verdict
    need_bytes: int
    """On the device, at the cautious end."""
    speed: Speed | None


class Physics:
    """Jobs of a project share models, cards and recipes, and so do two versions of a plan."""

    def __init__(self) -> None:
        self._technical: dict[object, Technical] = {}
        self._estimates: dict[tuple[object, ...], Estimate] = {}
        self._checkpoints: dict[object, tuple[int, int]] = {}
        self._heat: dict[object, tuple[HeatCell, ...]] = {}
        self._data: dict[object, DataFile] = {}

    def technical(self, job: PlannedJob, model: Model, method: Method, gpu: Gpu) -> Technical:
        """Memory and speed. Raises VramplanError where the recipe cannot be described."""
        key = (model.id, job.recipe, method, job.stack, job.profile, gpu.key, len(job.methods) == 1)
        if key not in self._technical:
            stack = find_stack(job.stack)
            recipe = resolve(job.recipe, method, stack, gpu, strict=len(job.methods) == 1)
            profile = profile_of(job, gpu)
            tier, verdict = memory_tiers(model, recipe, stack, gpu, profile)
            assert verdict is not None  # there is a card
            fits = verdict != "does_not_fit"
            self._technical[key] = Technical(
                recipe=recipe,
                verdict=verdict,
                need_bytes=tier.edge_high_bytes,
                speed=speed(model, recipe, stack, gpu, profile) if fits else None,
            )
        return self._technical[key]

    def estimate(self, job: PlannedJob, model: Model, way: Way) -> Estimate:
        """The estimate of a way with its speed, without the largest batch and length."""
        key = (model.id, way.recipe, job.profile, way.gpu.key)
        if key not in self._estimates:
            stack, profile = find_stack(job.stack), profile_of(job, way.gpu)
            found = estimate_one(model, way.recipe, stack, way.gpu, limits=False, profile=profile)
            self._estimates[key] = replace(found, speed=way.speed)
        return self._estimates[key]

    def checkpoint(self, job: PlannedJob, model: Model, way: Way) -> tuple[int, int]:
        """Bytes of weights and of optimizer state in a checkpoint: the same on every card."""
        key = (model.id, way.recipe)
        if key not in self._checkpoints:
            self._checkpoints[key] = checkpoint_sizes(model, way.recipe, find_stack(job.stack))
        return self._checkpoints[key]

    def data(self, job: PlannedJob) -> DataFile | None:
        """The job's data file; None where it has none. Raises VramplanError."""
        if job.data is None:
            return None
        key = (job.data, job.tokenizer)
        if key not in self._data:
            self._data[key] = read_data(job.data, job.tokenizer)
        return self._data[key]

    def heat(self, job: PlannedJob, model: Model, way: Way) -> tuple[HeatCell, ...]:
        """Memory around the planned recipe: lengths rise fastest, end at the model's context; batches begin at one."""
        key = (model.id, way.recipe, job.profile, way.gpu.key)
        if key not in self._heat:
            self._heat[key] = tuple(_cells(job, model, way))
        return self._heat[key]


def profile_of(job: PlannedJob, gpu: Gpu) -> Profile | None:
    """The named profile where it is of this card, else the one called after card and stack."""
    if job.profile == NO_PROFILE:
        return None
    named = None if job.profile is None else find_profile(job.profile)
    return named if named is not None and named.gpu_key == gpu.key else profile_for(gpu.key, job.stack)


def _cells(job: PlannedJob, model: Model, way: Way) -> list[HeatCell]:
    recipe, stack, profile = way.recipe, find_stack(job.stack), profile_of(job, way.gpu)
    longest = max(model.max_position_embeddings or 0, int(recipe.seq_len))
    lengths = [n for n in _around(int(recipe.seq_len)) if SHORTEST <= n <= longest] or [int(recipe.seq_len)]
    found = []
    for batch in _around(int(recipe.batch)):
        for seq_len in lengths:
            tier, verdict = memory_tiers(model, replace(recipe, batch=batch, seq_len=seq_len), stack, way.gpu, profile)
            assert verdict is not None  # there is a card
            found.append(HeatCell(batch=batch, seq_len=seq_len, need_bytes=tier.edge_high_bytes, verdict=verdict))
    return found


def _around(middle: int) -> list[int]:
    return sorted({max(1, middle * 2**power if power >= 0 else middle // 2**-power) for power in AROUND})
