"""Counts every model of the table with transformers itself: run it after any change to models.jsonl.

    python profiles/check_catalog.py [HUB_ID ...]

Needs torch and transformers 5 (extra [bench]); no GPU, no download: the models are built on the meta device from the
row's own `config`, tied weights count once. About four minutes for all rows. Exit code 1 and a line for each row
whose `computed_params` is not what the library builds.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]


def library_count(config: dict[str, object]) -> int:
    """Parameters of `AutoModelForCausalLM.from_config`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    return sum(parameter.numel() for parameter in model.parameters())


def main(wanted: list[str]) -> int:
    from vramplan.catalog import models
    from vramplan.families import LIBRARY_TYPES

    wrong = 0
    for entry in models():
        if wanted and entry.id not in wanted:
            continue
        model_type = LIBRARY_TYPES.get(entry.model_type, entry.model_type)
        count = library_count({**entry.config, "model_type": model_type})
        if count != entry.computed_params:
            wrong += 1
            sys.stdout.write(f"{entry.id}: transformers builds {count:,}, the table says {entry.computed_params:,}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
