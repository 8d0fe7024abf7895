"""What runtimes of all-numeric models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload
from mlops.runtimes.base import Batch, Runtime
from mlops.runtimes.matrix import JoinableMatrix, Matrix, MatrixBuilder


class MatrixRuntime(Runtime):
    """Makes batches that are float64 arrays (n, k).

    Args:
        builder: Checks rows against the signature and orders them.
        fallback: Prepares requests with parameters, which only pyfunc understands, and such
            without rows. It is to predict these, too.
    """

    def __init__(self, builder: MatrixBuilder, fallback: Runtime) -> None:
        self._build = builder.build
        self._named = builder.named
        self._fallback = fallback
        self._batch: type[Matrix] = Matrix

    def allow_joining(self) -> None:
        """See `Runtime.allow_joining`."""
        self._batch = JoinableMatrix

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        """See `Runtime.prepare`."""
        matrix = None if parameters else self._build(payload)
        if matrix is None:
            return self._fallback.prepare(payload, parameters)
        return self._batch(matrix)
