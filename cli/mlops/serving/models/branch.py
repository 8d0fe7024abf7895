"""An arm that is a child of another server's graph: that server asks it, and asks us which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload, Prediction, Whole
from mlops.runtimes.base import LoadedModel
from mlops.tables.signature import Signature


class Branch:
    """Answers nothing: which arm was drawn is all that is asked."""

    def predict(self, _payload: Payload, _parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        return Whole(None)


def load_branch() -> LoadedModel:
    """Return an arm whose model is somewhere else."""
    return LoadedModel(Branch(), Signature(), "branch", example=None, row_ms=0.0, notes=())
