"""One run, predicted and set beside what was measured."""

from __future__ import annotations

from ..errors import VramplanError
from ..estimator import memory_tiers
from ..profile import Profile
from ..runs import BadRow, Run
from ..speed import speed
from .question import Question, question, speed_obstacle
from .result import Measured, Predicted, Row


def judge(run: Run | BadRow, profile: Profile | None = None) -> Row:
    """The row of a run; whatever cannot be answered says why. `profile` speaks for runs of its own card and stack."""
    if isinstance(run, BadRow):
        return Row(id=run.id, where=run.where, status="error", reason=run.reason)
    try:
        asked = question(run)
        if profile is not None and not _applies(profile, asked):
            profile = None
        tiers, verdict = memory_tiers(asked.model, asked.recipe, asked.stack, asked.gpu, profile)
    except VramplanError as error:
        return _row(run, reason=str(error))
    predicted = Predicted(
        allocated_bytes=tiers.allocated_bytes,
        reserved_bytes=tiers.reserved_bytes,
        device_bytes=tiers.device_bytes,
        fits=None if asked.stack.speed_only else verdict,
        tokens_per_s_per_gpu=_tokens_per_s(run, asked, profile),
    )
    fitted = None if profile is None else run.id in profile.record_ids
    return _row(run, predicted=predicted, assumed=asked.assumed, fitted=fitted)


def _applies(profile: Profile, asked: Question) -> bool:
    return asked.gpu is not None and (asked.gpu.key, asked.stack.name) == (profile.gpu_key, profile.stack)


def _tokens_per_s(run: Run, asked: Question, profile: Profile | None) -> float | None:
    """None where the card's peaks are unknown, or what was measured is another speed."""
    if asked.gpu is None or speed_obstacle(run):
        return None
    found = speed(asked.model, asked.recipe, asked.stack, asked.gpu, profile)
    return found.tokens_per_s_per_gpu if found else None


def _row(
    run: Run,
    *,
    predicted: Predicted | None = None,
    reason: str | None = None,
    assumed: dict[str, str] | None = None,
    fitted: bool | None = None,
) -> Row:
    return Row(
        id=run.id,
        where=run.where,
        status="ok" if predicted else "unsupported",
        reason=reason,
        stack=run.stack or "",
        method=run.method or "",
        model=run.model or "",
        gpu=run.gpu or "",
        fitted=fitted,
        gpus=run.gpus,
        assumed=assumed or {},
        speed_reason=speed_obstacle(run) or None,
        predicted=predicted,
        measured=Measured(
            allocated_bytes=run.allocated_bytes,
            reserved_bytes=run.reserved_bytes,
            device_bytes=run.device_bytes,
            tokens_per_s_per_gpu=run.tokens_per_s_per_gpu,
            outcome=run.outcome,
        ),
    )
