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
from .file import RECORDS_SUFFIXES, BadLine, read_records, write_records
from .parse import record_from

__all__ = [
    "FULL",
    "RECORDS_SUFFIXES",
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
    "read_records",
    "record_from",
    "write_records",
]
