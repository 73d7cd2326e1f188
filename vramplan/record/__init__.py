"""One measured run, dry or real: what was asked, what the live objects then were, and what was counted.

Records are kept as JSON lines, one run a line, so that files can be appended to, joined and read by anything. A field
that has no value is null, and `absent` says why: never 0 for "not known".
"""

from .data import (
    FULL,
    SCHEMA_VERSION,
    Effective,
    Kind,
    Outcome,
    PhaseRecord,
    PricedRun,
    Record,
    Request,
    StepRecord,
)
from .file import BadLine, read_records, write_records
from .parse import build_part, record_from

__all__ = [
    "FULL",
    "SCHEMA_VERSION",
    "BadLine",
    "Effective",
    "Kind",
    "Outcome",
    "PhaseRecord",
    "PricedRun",
    "Record",
    "Request",
    "StepRecord",
    "build_part",
    "read_records",
    "record_from",
    "write_records",
]
