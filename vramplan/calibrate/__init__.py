"""From measured runs to a profile of one card and stack.

files -> Run -> Sample (vramplan.calibrate.sample) -> Fold (constants) -> Residual (with models left out) -> Profile
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import VramplanError

if TYPE_CHECKING:
    from .result import Calibration, Fit
    from .sample import Sample

LEAST_RUNS = 5
"""Of one card and stack."""


def calibrate(
    paths: Iterable[str | os.PathLike[str]], *, gpu: str | None = None, stack: str | None = None
) -> Calibration:
    """Fit the constants of every card and stack (or of `gpu` and `stack` alone) that the files at `paths` measured.

    A file holds runs as CSV or records as JSON lines. Nothing is written: `save` does. Raises VramplanError.
    """
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise VramplanError("calibrate needs numpy: pip install 'vramplan[sweep]'") from None
    from ..accuracy import read_files
    from ..catalog import find_gpu, find_stack
    from ..runs import Run
    from .result import Calibration
    from .sample import samples

    names = tuple(os.fspath(path) for path in paths)
    key = None if gpu is None else find_gpu(gpu).key
    if stack is not None:
        find_stack(stack)
    runs = [
        run
        for run in read_files(names)
        if not isinstance(run, Run) or (key in (None, run.gpu) and stack in (None, run.stack))
    ]
    wanted, left_out = samples(runs)
    fits = [_fit(pair, group, names) for pair, group in sorted(wanted.items()) if len(group) >= LEAST_RUNS]
    return Calibration(
        files=names,
        fits=tuple(fits),
        too_few={f"{g} with {s}": len(group) for (g, s), group in sorted(wanted.items()) if len(group) < LEAST_RUNS},
        left_out=dict(sorted(left_out.items(), key=lambda item: -item[1])),
    )


def _fit(pair: tuple[str, str], group: Sequence[Sample], files: tuple[str, ...]) -> Fit:
    from ..catalog.profile_files import default_name
    from ..profile import Profile
    from . import validate
    from .fold import fit
    from .result import Fit

    whole = fit(group)
    found = validate.residuals(group, whole)
    if without := {name: why for name, why in validate.unhelpful(found).items() if name in whole.constants}:
        whole = fit(group, without)
        found = validate.residuals(group, whole, without)
    quantiles = validate.intervals(found)
    profile = Profile(
        name=default_name(*pair),
        gpu_key=pair[0],
        stack=pair[1],
        created=datetime.now(UTC).date().isoformat(),
        constants=whole.constants,
        refused=whole.refused,
        quantiles=quantiles if whole.edge is None else quantiles | {"edge": whole.edge},
        errors=validate.errors(found),
        ranges=_ranges(group),
        methods=tuple(sorted({s.asked.recipe.method for s in group})),
        models=tuple(sorted({s.model for s in group})),
        record_ids=tuple(sorted(s.run.id for s in group)),
        source=", ".join(os.path.basename(name) for name in files),
    )
    return Fit(profile=profile, runs=len(group), residuals=found, coverage=validate.coverage(found))


def _ranges(group: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    """What the runs span."""
    spans = {
        "parameters": [s.asked.model.parameters for s in group],
        "batch": [int(s.asked.recipe.batch) for s in group],
        "seq_len": [int(s.asked.recipe.seq_len) for s in group],
        "allocated_bytes": [s.allocated_bytes for s in group],
    }
    return {name: (min(values), max(values)) for name, values in spans.items()}


def save(calibration: Calibration, *, name: str | None = None, output: str | None = None) -> Calibration:
    """Write the profiles that hold anything, under `name` or to the file `output` where there is one of them.

    Else each goes to the user's folder under the name of its card and stack, where it is used without being asked for.
    """
    from dataclasses import replace

    from ..catalog.profile_files import SUFFIX, check_name, user_folder
    from ..profile import write_profile

    worth = [fit for fit in calibration.fits if fit.profile.constants]
    if (name or output) and len(worth) != 1:
        which = ", ".join(f"{fit.profile.gpu_key} with {fit.profile.stack}" for fit in worth) or "none"
        raise VramplanError(f"one name or file, and {len(worth)} profiles ({which}): --gpu and --stack choose one")
    if name:
        check_name(name)
    elif output:
        name = os.path.basename(output).removesuffix(SUFFIX)
    fits: list[Fit] = []
    saved: list[str] = []
    for fit in calibration.fits:
        if fit in worth:
            profile = replace(fit.profile, name=name or fit.profile.name)
            path = output or os.path.join(user_folder(), profile.name + SUFFIX)
            write_profile(path, profile)
            saved.append(path)
            fit = replace(fit, profile=profile)
        fits.append(fit)
    return replace(calibration, fits=tuple(fits), saved=tuple(saved))
