"""Where a run comes from: code, data, command, environment, and what its model was trained on.

Three calls, however the project is run and however often:

    collect    once, before anything runs: refuses dirty code if asked to
    keep       for each run, as soon as it exists
    describe   for each model of a run that finished: its reference profile (in `reference`, which
               needs NumPy: the warm parent must not get that before it has limited its threads)
"""

from mlops.training.provenance.record import Provenance, collect, keep

__all__ = ["Provenance", "collect", "keep"]
