"""Batch scoring: rows of files through models, in constant memory, resumable.

Rows are predicted by what serves requests (`mlops.runtimes`), a chunk at a time. A job writes one
part for each chunk of each file; which parts are there is all its state.
"""

from mlops.scoring.disagreement import Disagreement, compare
from mlops.scoring.drawing import Draw
from mlops.scoring.inputs import Inputs, find_inputs
from mlops.scoring.job import Job, Scored, Scorer, score

__all__ = [
    "Disagreement",
    "Draw",
    "Inputs",
    "Job",
    "Scored",
    "Scorer",
    "compare",
    "find_inputs",
    "score",
]
