"""What is searched for, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..cost.work import Work, download_bytes, work_of
from ..errors import VramplanError
from ..recipe import ResolvedRecipe

if TYPE_CHECKING:
    from ..cost import Job
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..recipe import Recipe
    from ..stack import Stack
    from .wishes import Wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be trained on which cards, with everything found by name."""

    model: Model
    stack: Stack
    recipe: Recipe
    """Its knobs that are None, and method and batch, are searched."""
    job: Job
    wishes: Wishes
    cards: tuple[tuple[Gpu, Profile | None], ...]

    def __post_init__(self) -> None:
        if self.wishes.no_quantization and self.recipe.quant not in (None, "none"):
            said = f"--no-quantization with --quant {self.recipe.quant}, which quantises; leave one of them out"
            raise VramplanError(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The fastest recipe of one method for a job on so many of one card, by the time of the whole job."""

    gpu: Gpu
    profile: Profile | None
    gpus: int
    recipe: ResolvedRecipe
    need_bytes: int
    """On each card, at the cautious end."""
    train_s: float
    """Training and evaluation."""
    total_s: float
    """And start-up, download and checkpoints."""
    checkpoint: tuple[int, int]
    """Bytes of weights and of optimizer states."""
    write_s: float
    """Writing one checkpoint."""
    processed_tokens: int


class Epochs:
    """The job's work by micro-batch and number of cards: the padding of data depends on both, and on nothing else."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.known: dict[tuple[int, int], Work] = {}

    def work(self, recipe: ResolvedRecipe, batch: int, gpus: int) -> Work:
        """With a checkpoint of nothing."""
        found = self.known.get((batch, gpus))
        if found is None:
            wishes, model = self.question.wishes, self.question.model
            whole = replace(recipe, batch=batch, gpus=gpus, grad_accum=wishes.accumulation(batch, gpus))
            found = work_of(self.question.job, whole, checkpoint=(0, 0), download_bytes=download_bytes(model))
            self.known[batch, gpus] = found
        return found


def saved_bytes(job: Job, checkpoint: tuple[int, int]) -> int:
    """Of one checkpoint: the weights, and the optimizer's state where it is asked for."""
    return sum(checkpoint if job.save_optimizer else checkpoint[:1])
