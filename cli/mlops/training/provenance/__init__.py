"""Where a run comes from: code, data, command, environment, and what its model was trained on.

Three calls, whoever runs the project and however often:

    collect    once, before anything runs: refuses dirty code if asked to
    keep       for each run, as soon as it exists
    describe   for each model of a run that finished: its reference profile
"""

from mlops.training.provenance.record import Provenance, collect, keep
from mlops.training.provenance.reference import HOW, describe

__all__ = ["HOW", "Provenance", "collect", "describe", "keep"]
