"""One recipe on all cards of a kind: its memory, the time of its steps and of the job, as arrays.

Described   a recipe with an array of micro-batches: allocated bytes and work, the same for all cards of the kind
Timed       against the cards: does it fit, and how long does the job take
Best        the best of every card so far
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..cost.job import CHECKPOINT_BYTES_PER_S
from ..cost.work import checkpoint_sizes, evaluation_share
from ..estimator.phases import StepMemory
from ..estimator.tiers import NCCL_BYTES
from ..recipe import ResolvedRecipe
from ..speed import StepWork, step_time, step_work
from ..speed.time import communication_s
from ..speed.traffic import communication
from ..step.setting import Setting
from ..step.sharding import Replicated
from ..units import largest, share
from .question import Epochs, Question, saved_bytes

if TYPE_CHECKING:
    from ..gpu import Gpu
    from .cards import Cards


class Described:
    """One recipe on one kind of card, for an array of micro-batches: memory and work."""

    def __init__(
        self, question: Question, recipe: ResolvedRecipe, gpu: Gpu, batches: Any, works: Works, *, accumulates: bool
    ) -> None:
        self.recipe = replace(recipe, batch=batches, grad_accum=2 if accumulates else 1)
        step = StepMemory(Setting(question.model, self.recipe, question.stack, gpu))
        self.setting = step.c
        self.tokens = step.c.tokens
        self.work = works.of(step)
        self.allocated = step.allocated
        self.allocated_of_copies = _of_copies(step) if recipe.gpus == 1 else None
        self.checkpoint = checkpoint_sizes(question.model, recipe, question.stack)

    def needs(self, cards: Cards, gpus: int) -> Any:
        """Bytes at the cautious end, card by micro-batch, as `tiers` has it: allocated x edge + context."""
        allocated = self.allocated if gpus == self.recipe.gpus else self.allocated_of_copies
        return share(allocated, cards.edge) + cards.context + (NCCL_BYTES if gpus > 1 else 0)


def _of_copies(step: StepMemory) -> Any:
    """Allocated peak where several cards hold a copy each: the buckets of DDP are beside everything but the load."""
    buckets = Replicated(step.c).buckets()
    peak: Any = 0
    for moment in step.moments:
        peak = largest(peak, moment.bytes + (0 if moment.phase == "load" else buckets))
    return peak


class Works:
    """Work by everything but the optimizer, which moves its own bytes once a step and changes no tape."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], StepWork] = {}

    def of(self, step: StepMemory) -> StepWork:
        import numpy as np

        r = step.c.recipe
        key = (replace(r, batch=0, optimizer="sgd"), tuple(np.atleast_1d(r.batch)))
        if key not in self.known:
            self.known[key] = step_work(step)
            return self.known[key]
        work, alike = StepWork(step.c), self.known[key]
        work.passes, work.again, work.extra = alike.passes, alike.again, alike.extra
        return work


class Best:
    """The best of each card so far, as arrays: what it takes and where it was found."""

    def __init__(self, cards: Cards) -> None:
        import numpy as np

        self.total_s = np.full(len(cards), np.inf)
        self.train_s = np.zeros(len(cards))
        self.need = np.zeros(len(cards), dtype=np.int64)
        self.batch = np.zeros(len(cards), dtype=np.int64)
        self.choice = np.zeros(len(cards), dtype=np.int64)

    def take(self, total_s: Any, train_s: Any, need: Any, batches: Any, choice: int) -> None:
        """Columns are micro-batches; the first of equals stays, so that the stack's own knobs come before others."""
        import numpy as np

        column = total_s.argmin(axis=1)
        rows = np.arange(len(column))
        better = total_s[rows, column] < self.total_s
        for mine, given in (
            (self.total_s, total_s[rows, column]), (self.train_s, train_s[rows, column]),
            (self.need, need[rows, column]), (self.batch, batches[column]),
        ):  # fmt: skip
            mine[better] = given[better]
        self.choice[better] = choice


class Timed:
    """A recipe on cards of one kind, with the time of its steps."""

    def __init__(
        self, question: Question, recipe: ResolvedRecipe, gpu: Gpu, batches: list[int], cards: Cards, *,
        works: Works, accumulates: bool,
    ) -> None:  # fmt: skip
        import numpy as np

        self.question, self.recipe, self.cards = question, recipe, cards
        self.batches = np.array(batches, dtype=np.int64)
        self.described = Described(question, recipe, gpu, self.batches, works, accumulates=accumulates)
        # the time of a step is linear in its micro-batches: a card's work for each, and the optimizer once
        work: StepWork = self.described.work
        work.micro_batches = np.array([1, 2])[:, None, None]
        once, twice = step_time(work, cards.peaks, cards.efficiencies).step_s
        self.each_s, self.once_s = twice - once, 2 * once - twice

    def offer(self, best: Best, columns: list[int], gpus: int, place: int, epochs: Epochs) -> None:
        """Put the total time of the job before the best so far, where the recipe fits."""
        import numpy as np

        wishes, share_of_training = self.question.wishes, evaluation_share(
            trains_base=self.recipe.method == "full", checkpointing=self.recipe.checkpointing
        )  # fmt: skip
        batches = self.batches[columns]
        accumulation = np.array([wishes.accumulation(int(batch), gpus) for batch in batches])
        jobs = [epochs.work(self.recipe, int(batch), gpus) for batch in batches]
        each_s, once_s = self.each_s[:, columns], self.once_s[:, columns]
        working_s = accumulation * each_s
        step_s = working_s + once_s + self._sending_s(working_s, accumulation, gpus)
        token_s = step_s / (accumulation * self.described.tokens[columns] * gpus)
        weighed = np.array([job.processed_tokens + job.evaluation_tokens * share_of_training for job in jobs])
        train_s = token_s * weighed
        write_s = saved_bytes(self.question.job, self.described.checkpoint) / CHECKPOINT_BYTES_PER_S
        fixed = [job.startup_s + job.download_s + job.checkpoints * write_s for job in jobs]
        need = self.described.needs(self.cards, gpus)[:, columns]
        total_s = np.where((need <= self.cards.capacity) & np.isfinite(train_s), train_s + np.array(fixed), np.inf)
        best.take(total_s, train_s, need, batches, place)

    def _sending_s(self, beside_s: Any, accumulation: Any, gpus: int) -> Any:
        """What the gradients' way between cards adds to a step."""
        import numpy as np

        if gpus == 1:
            return 0.0
        c, work = self.described.setting, self.described.work
        own = replace(c.recipe, gpus=gpus, sharding=self.recipe.sharding if self.recipe.gpus > 1 else "ddp")
        once, twice = (communication(Setting(c.model, replace(own, grad_accum=n), c.stack, c.gpu)) for n in (1, 2))
        work.sent_bytes = once + (accumulation - 1) * (twice - once)
        cards = self.cards
        fabric = communication_s(work, cards.efficiencies, (cards.link_rate, True), beside_s)
        return np.where(
            cards.link_is_fabric, fabric, communication_s(work, cards.efficiencies, (cards.link_rate, False), beside_s)
        )
