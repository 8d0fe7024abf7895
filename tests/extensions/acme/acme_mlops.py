"""One strategy of every family, as another package adds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from mlops.consumers import Batch, Consumed, Context
from mlops.deployment.targets import Rendered, RenderOptions
from mlops.policies.base import Credit, State
from mlops.protocols.base import (
    Encoded,
    InferenceRequest,
    InferenceResponse,
    Kind,
    ProtocolError,
    Rows,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.predictions import rows_of
from mlops.registry.stores import Access, Location
from mlops.registry.stores.files import FileStore
from mlops.rewards.base import Reward
from mlops.runtimes.base import Runtime, UnsuitableError
from mlops.runtimes.folder import ModelFolder
from mlops.spec.deployment import DeploymentSpec
from mlops.tables.signature import Signature

#: Minus ten for every whole unit by which a number is missed.
GAIN = Reward(
    name="acme-gain",
    derive=lambda prediction, truth, terms: -10.0 * abs(float(prediction) - float(truth)),  # type: ignore[arg-type]
    meaning="minus ten for each unit of error",
    compares=frozenset({"number", "whole"}),
)


def _frail(prediction: object, truth: object, terms: object) -> float:
    if float(truth) > 201:  # type: ignore[arg-type]
        raise KeyError("boom")
    return 1.0


#: One that has a fault.
FRAIL = Reward("acme-frail", _frail, "one", compares=frozenset({"number", "whole"}))


class Even:
    """Every arm gets the same share, whatever its weight."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._n = len(weights)

    learns = False

    def probabilities(self, context: Mapping[str, object], state: State) -> Sequence[float]:
        return [1 / self._n] * self._n

    def update(self, state: State, credits_: Sequence[Credit]) -> State:
        return state


class Leaning:
    """Gives an arm that has earned more four fifths of the traffic, after each batch of rewards."""

    learns = True

    def __init__(self, weights: Sequence[float]) -> None:
        self._n = len(weights)

    def probabilities(self, context: Mapping[str, object], state: State) -> Sequence[float]:
        return state.probabilities

    def update(self, state: State, credits_: Sequence[Credit]) -> State:
        if not credits_ or self._n < 2:
            return state
        sums = [float(total) for total in state.parameters.get("sums", [0.0] * self._n)]
        for credit in credits_:
            # Of each arm on the same scale, whatever its share was.
            sums[credit.arm] += credit.reward / credit.propensity
        best = sums.index(max(sums))
        rest = 0.2 / (self._n - 1)
        shares = tuple(0.8 if arm == best else rest for arm in range(self._n))
        return State(state.epoch + 1, shares, {"sums": sums})


class Csv:
    """Rows of numbers, a line each; so are the answers."""

    paths = ("/acme/predict",)

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature
    ) -> InferenceRequest:
        try:
            rows = [[float(cell) for cell in line.split(b",")] for line in body.splitlines()]
        except ValueError as error:
            raise ProtocolError(Kind.MALFORMED, f"These are no numbers: {error}") from error
        if not rows:
            raise ProtocolError(Kind.MALFORMED, "There are no rows.")
        return InferenceRequest(Rows(rows))

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        lines = rows_of(response.prediction, request.n_rows) or []
        return Encoded(200, "".join(f"{line}\n" for line in lines).encode(), b"text/csv")

    def encode_error(self, error: ProtocolError) -> Encoded:
        return Encoded(http_status(error.kind), error.message.encode(), b"text/plain")


CODEC = Csv()


class Log:
    """Appends the number of decisions of each batch to a file below ACME_ROOT."""

    start: ClassVar[Literal["beginning", "end"]] = "beginning"

    def __init__(self, context: Context) -> None:
        self._file = Path(os.environ["ACME_ROOT"]) / f"{context.deployment}.log"

    def consume(self, batch: Batch) -> Consumed:
        if len(batch):
            with self._file.open("a") as file:
                file.write(f"{len(batch.decisions)}\n")
        return Consumed(len(batch))

    def close(self) -> None:
        pass


def open_acme(model: ModelFolder) -> Runtime:
    raise UnsuitableError("only models that were made with Acme")


class AcmeStore(FileStore):
    """`acme://shelf/folder` is a folder below the variable ACME_ROOT."""

    def __init__(self, location: Location, access: Access) -> None:
        folder = Path(os.environ["ACME_ROOT"]) / location.bucket / location.prefix
        super().__init__(replace(location, prefix=str(folder)), access)


class AcmeTarget:
    """Renders what is deployed into a ConfigMap."""

    numbered: ClassVar[bool] = False

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        pass

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        text = (
            "# Rendered by `mlops deploy` for acme\napiVersion: v1\nkind: ConfigMap\n"
            f"metadata:\n  name: {spec.name}\ndata:\n"
            f"  arms: {','.join(arm.name for arm in spec.arms)}\n"
        )
        return Rendered(files={"acme.yaml": text}, notes=(), after_apply=())
