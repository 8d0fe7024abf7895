"""Sweeps: many runs of one project that differ in some parameters.

One parent run, one child run per trial, everything in MLflow: a sweep whose process is gone is
resumed from what MLflow has.
"""

from mlops.training.sweep.records import (
    Board,
    Direction,
    SamplerName,
    SweepOptions,
    SweepResult,
    SweepSpec,
    TrialRecord,
)

__all__ = [
    "Board",
    "Direction",
    "SamplerName",
    "SweepOptions",
    "SweepResult",
    "SweepSpec",
    "TrialRecord",
]
