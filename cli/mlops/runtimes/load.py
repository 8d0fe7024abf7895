"""Load a model folder, choose what executes it, and warm it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError
from mlops.protocols import CODECS
from mlops.protocols.base import InferenceRequest, Prediction, ProtocolError
from mlops.protocols.json_body import write
from mlops.protocols.predictions import by_row
from mlops.runtimes import AUTO
from mlops.runtimes.base import LoadedModel, Runtime
from mlops.runtimes.choosing import choose
from mlops.runtimes.classes import read_classes
from mlops.runtimes.example import doubled, made_up, read_example, shortened
from mlops.runtimes.folder import ModelFolder, read_mlmodel
from mlops.runtimes.isolated import IsolatedModel
from mlops.runtimes.kept import KeptRuntimes
from mlops.runtimes.pyfunc import PyfuncRuntime, open_folder
from mlops.runtimes.requirements import differences
from mlops.tables.signature import Signature, read_signature

_NO_EXAMPLE = "no request is known that it answers: log it with an `input_example`"
_WARM_UP_CALLS = 20
_WARM_UP_MS = 2_000
_JOINED = 16
_MOST_NAMED = 5


def load_model(
    path: Path,
    runtime: str = AUTO,
    *,
    python: str = "",
    slots: int = 1,
    known: KeptRuntimes | None = None,
) -> LoadedModel:
    """Load the MLflow model in `path`. Runs the model's code; may take seconds.

    Args:
        path: The model's folder.
        runtime: A name of `RUNTIMES`, used if it is shown to be right; `auto` for the fastest.
        python: Interpreter of an environment of its own to run it in; empty for this process.
        slots: Calls at once, in an environment of its own.
        known: Choices of runtimes that were made before, where one of this model is looked for.

    Raises:
        InvalidInputError: There is no model, it cannot be loaded here, or it refuses its own
            input example; or there is no such runtime.
    """
    mlmodel = read_mlmodel(path)
    process = IsolatedModel(python, path, slots=slots) if python else None
    try:
        return _loaded(path, mlmodel, runtime, process, known)
    except BaseException:
        if process is not None:
            process.close()
        raise


def _loaded(
    path: Path,
    mlmodel: dict[str, Any],
    runtime: str,
    process: IsolatedModel | None,
    known: KeptRuntimes | None,
) -> LoadedModel:
    if process is None:
        notes = [str(each) for each in differences(path, mlmodel)]
        folder = open_folder(path, mlmodel, notes)
    else:
        notes = [process.note]
        signature = read_signature(mlmodel)
        folder = ModelFolder(path, mlmodel, signature, PyfuncRuntime(process, signature))
        # The others would execute it here.
        runtime = "pyfunc"
    signature = folder.signature
    logged = read_example(path, mlmodel)
    example = _answered(folder.pyfunc, signature, logged, path)
    rows = example.request.payload if logged is not None and example is not None else None
    choice = choose(folder, runtime, rows, known)
    model = choice.runtime
    if example is None:
        notes.append(_NO_EXAMPLE)
    else:
        notes.extend(_two_rows(model, example.request))
    return LoadedModel(
        model=model,
        signature=signature,
        path_taken=choice.name,
        example=example.body if example else None,
        row_ms=_warm_up(model, example.request) if example else float("nan"),
        notes=tuple(notes),
        classes=read_classes(folder.pyfunc.raw),
        joined_row_ms=_joined(model, example.request) if example else float("nan"),
        proof=choice.proof,
        reasons=choice.reasons,
        process=process,
    )


@dataclass(frozen=True, slots=True)
class _Answered:
    """A body that the model answers, as the server reads it."""

    body: dict[str, Any]
    request: InferenceRequest
    prediction: Prediction


def _answered(
    model: PyfuncRuntime, signature: Signature, logged: dict[str, Any] | None, path: Path
) -> _Answered | None:
    """Send the model its input example through the protocol it was logged for.

    Without one it is a row made up from the signature, which a model may well not answer.

    Raises:
        InvalidInputError: It refuses its own input example.
    """
    bodies = shortened(logged) if logged else [*made_up(signature, model.width)]
    fault: ProtocolError | None = None
    for body in bodies:
        try:
            request = CODECS.load("mlflow").decode(write(body), {}, signature)
            prediction = model.predict(request.payload, request.parameters)
        except ProtocolError as error:
            fault = error
        else:
            return _Answered(body, request, prediction)
    if logged is None or fault is None:
        return None
    raise InvalidInputError(
        f"The model in `{path}` refuses its own input example: {fault.message}",
        hint=_hint(signature),
    ) from fault


def _hint(signature: Signature) -> str:
    hint = "Log it with an `input_example` that fits its signature"
    texts = [f"`{column.name}`" for column in signature.columns if column.type == "string"]
    if not texts:
        return f"{hint}."
    return (
        f"{hint}. Its columns of texts ({', '.join(texts[:_MOST_NAMED])}) arrive as texts: where "
        "the model takes only pandas' type `category`, have a first step of it make them that."
    )


def _two_rows(model: Runtime, request: InferenceRequest) -> list[str]:
    """Ask about the example twice in one request, as clients will; say what does not work."""
    payload = doubled(request.payload)
    if payload is None:
        return []
    try:
        prediction = model.predict(payload, request.parameters)
    except ProtocolError as error:
        return [f"it refuses a request of {payload.n_rows} rows: {error.message}"]
    if by_row(prediction, payload.n_rows) is None:
        return [f"it answers {payload.n_rows} rows as a whole: truths of rows cannot be joined"]
    return []


def _warm_up(model: Runtime, request: InferenceRequest) -> float:
    """Call the model until its first-call costs are paid; return the median in milliseconds."""
    return _median_ms(lambda: model.predict(request.payload, request.parameters))


def _joined(model: Runtime, request: InferenceRequest) -> float:
    """Return what a request costs as one of several in one call, in milliseconds; or NaN."""
    batch = model.prepare(request.payload, request.parameters)
    if batch.key is None:
        return float("nan")
    together = type(batch).join([batch] * _JOINED)
    try:
        return _median_ms(lambda: model.infer(together)) / _JOINED
    except ProtocolError:
        return float("nan")


def _median_ms(call: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < _WARM_UP_CALLS and sum(times) <= _WARM_UP_MS:
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
