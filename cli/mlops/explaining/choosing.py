"""Which method explains a model: an exact one where there is one, else permutations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InvalidInputError
from mlops.explaining.answers import aspect_of
from mlops.explaining.base import (
    Explanation,
    NotExactError,
    OtherClassesError,
    Rows,
    of_classes,
    pick_classes,
    plain_label,
)
from mlops.explaining.boosters import explain_booster
from mlops.explaining.linear import explain_linear
from mlops.explaining.permutations import Output, explain_by_permutations
from mlops.explaining.trees import explain_trees
from mlops.protocols.base import Columns, Kind, ProtocolError
from mlops.protocols.predictions import as_rows, by_row
from mlops.runtimes.base import ServableModel, UnsuitableError
from mlops.runtimes.classes import classes_of, read_classes
from mlops.runtimes.estimators import find_estimator, taking_arrays
from mlops.runtimes.failures import own_failure
from mlops.runtimes.folder import ModelFolder, read_mlmodel
from mlops.runtimes.isolated import IsolatedModel
from mlops.runtimes.matrix import MatrixBuilder, is_numeric
from mlops.runtimes.pyfunc import PyfuncRuntime, open_folder
from mlops.tables.signature import Signature, read_signature

#: Most rows of a background.
MAX_BACKGROUND = 100


@dataclass(frozen=True, slots=True)
class Explainable:
    """A model that is loaded to be explained.

    Attributes:
        signature: Its signature.
        model: Predicts.
        folder: As MLflow has loaded it; None if it runs in a process of its own.
        process: That process.
    """

    signature: Signature
    model: ServableModel
    folder: ModelFolder | None
    process: IsolatedModel | None = None

    @staticmethod
    def load(path: Path, python: str = "") -> Explainable:
        """Load a model. Runs its code.

        Args:
            path: Its folder.
            python: Interpreter of an environment of its own; empty for this process.

        Raises:
            InvalidInputError: It cannot be loaded here.
        """
        mlmodel = read_mlmodel(path)
        if python:
            process = IsolatedModel(python, path, slots=1)
            signature = read_signature(mlmodel)
            return Explainable(signature, PyfuncRuntime(process, signature), None, process)
        folder = open_folder(path, mlmodel, [])
        return Explainable(folder.signature, folder.pyfunc, folder)

    def close(self) -> None:
        """End its process, if it has one."""
        if self.process is not None:
            self.process.close()


def explain(
    model: Explainable,
    rows: Rows,
    background: Rows,
    *,
    by_permutations: bool = False,
    classes: Sequence[Any] | None = None,
    output: str = "",
) -> Explanation:
    """Explain the answers of a model.

    Of a classifier the second of two classes is explained, of more the one that it answers; of an
    answer of several values a part (see `answers`).

    Args:
        model: The model.
        rows: n rows; columns that the model does not take are left out.
        background: Rows to count from; at most `MAX_BACKGROUND` are taken, evenly.
        by_permutations: Do so also where there is an exact method.
        classes: Of each row the class to explain instead, if the model is a classifier.
        output: Name or position of the one to explain of several values that the model answers.

    Raises:
        InvalidInputError: There are no rows, or the model refuses them, answers them as a whole or
            by values that cannot be explained, or has no such output.
        OtherClassesError: It does not know one of the classes.
    """
    names = model.signature.names or tuple(rows)
    missing = [name for name in names if name not in rows or name not in background]
    if missing:
        raise InvalidInputError(f"The rows, or those of the background, have no `{missing[0]}`.")
    rows = {name: rows[name] for name in names}
    if not any(map(len, rows.values())):
        raise InvalidInputError("There are no rows to explain.")
    background = _evenly({name: background[name] for name in names})
    try:
        if not by_permutations and not output:
            try:
                return _exact(model, rows, background, classes)
            except NotExactError:
                pass
        return _permuted(model, rows, background, classes, output)
    except ProtocolError as error:
        raise InvalidInputError(f"The model does not take the rows: {error.message}") from error
    except NotExactError as error:
        raise InvalidInputError(f"The answers cannot be explained: {error}.") from error


def _evenly(background: Rows) -> Rows:
    n = len(next(iter(background.values()), ()))
    if not n:
        raise InvalidInputError(
            "There are no rows to count from.", hint="`--background FILE` names some."
        )
    picked = np.unique(np.linspace(0, n - 1, min(n, MAX_BACKGROUND)).astype(int)).tolist()
    return {name: [cells[at] for at in picked] for name, cells in background.items()}


def _exact(
    model: Explainable, rows: Rows, background: Rows, classes: Sequence[Any] | None
) -> Explanation:
    if model.folder is None or not is_numeric(model.signature.columns):
        raise NotExactError("its columns are not all numbers, or it runs elsewhere")
    estimator = find_estimator(model.folder.pyfunc.raw, model.folder.mlmodel.get("flavors", {}))
    builder = MatrixBuilder(model.signature.columns)
    try:
        x, z = builder.build(Columns(dict(rows))), builder.build(Columns(dict(background)))
    except ProtocolError as error:
        raise NotExactError(error.message) from error
    if estimator is None or x is None or z is None:
        raise NotExactError("it has no estimator of its own, or a column is missing")
    names = model.signature.names
    library = type(estimator).__module__.partition(".")[0]
    if library in ("xgboost", "lightgbm"):
        return explain_booster(estimator, names, x, classes)
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        raise NotExactError("a cell is missing or infinite")
    plain = taking_arrays(estimator, names)
    try:
        return explain_linear(plain, names, x, z, classes)
    except (NotExactError, UnsuitableError):
        return explain_trees(plain, names, x, z, classes)


def _permuted(
    model: Explainable, rows: Rows, background: Rows, classes: Sequence[Any] | None, output: str
) -> Explanation:
    n = len(next(iter(rows.values())))
    answers = _answers(model.model, rows, n)
    proba, known = _probabilities(model)
    if proba is not None and not output:
        answered = proba(rows, n).argmax(axis=1) if len(known) != 2 else np.ones(n, dtype=int)
        at_class = pick_classes(known, answered, classes)
        labels = [plain_label(known[each]) for each in at_class]

        def ask_class(at: int) -> Output:
            return lambda some, count: proba(some, count)[:, at_class[at]]

        of = of_classes("probability", labels)
        found = explain_by_permutations(of, ask_class, rows, background)
        return replace(found, classes=tuple(labels))
    m = len(next(iter(background.values())))
    aspect = aspect_of(
        answers, _answers(model.model, background, m), known=_classes(model), asked=classes,
        output=output,
    )  # fmt: skip

    def ask(at: int) -> Output:
        def values(some: Rows, count: int) -> NDArray[np.float64]:
            return np.array([aspect.value(each, at) for each in _answers(model.model, some, count)])

        return values

    found = explain_by_permutations(aspect.output, ask, rows, background)
    return replace(found, classes=aspect.classes)


def explain_all(
    models: Sequence[Explainable],
    rows: Rows,
    background: Rows,
    served: int = 0,
    *,
    by_permutations: bool = False,
    output: str = "",
) -> list[Explanation]:
    """Explain the answers of several models so that they may be subtracted.

    All classifiers are explained by the classes of one of them: where their answers differ, shares
    in two different classes would say nothing about why. One that does not know these classes is
    explained by its own.

    Args:
        models: The models.
        rows: As in `explain`.
        background: As in `explain`.
        served: Position of the model whose classes are explained.
        by_permutations: As in `explain`.
        output: As in `explain`.

    Raises:
        InvalidInputError: As in `explain`, of any model.
    """

    def one(model: Explainable, classes: Sequence[Any] | None = None) -> Explanation:
        return explain(
            model, rows, background, by_permutations=by_permutations, classes=classes,
            output=output,
        )  # fmt: skip

    first = one(models[served])

    def other(model: Explainable) -> Explanation:
        try:
            return one(model, first.classes)
        except OtherClassesError:
            return one(model)

    return [first if at == served else other(each) for at, each in enumerate(models)]


def are_comparable(found: Sequence[Explanation]) -> bool:
    """Whether the shares of all are of the same output, so that they may be subtracted."""
    # Classes may be lists, which have no hash.
    first = found[0]
    return all((each.output, each.classes) == (first.output, first.classes) for each in found)


def _probabilities(
    model: Explainable,
) -> tuple[Callable[[Rows, int], NDArray[np.float64]] | None, Sequence[Any]]:
    """Return what gives a classifier's probabilities, (n, c), and its c classes; None for none."""
    if model.folder is None:
        return None, ()
    pyfunc = model.folder.pyfunc
    estimator = find_estimator(pyfunc.raw, model.folder.mlmodel.get("flavors", {}))
    known = classes_of(estimator)
    if not known or not hasattr(estimator, "predict_proba"):
        return None, ()

    def ask(rows: Rows, _: int) -> NDArray[np.float64]:
        batch = pyfunc.prepare(Columns(dict(rows)), {})
        try:
            return np.asarray(estimator.predict_proba(batch.rows), dtype=np.float64)
        except Exception as error:
            raise own_failure(error) from error

    return ask, known


def _classes(model: Explainable) -> Sequence[Any]:
    if model.process is not None:
        return classes_of(model.process.get_raw_model())
    return () if model.folder is None else read_classes(model.folder.pyfunc.raw)


def _answers(model: ServableModel, rows: Rows, n: int) -> list[Any]:
    rowwise = by_row(model.predict(Columns(dict(rows)), {}), n)
    if isinstance(rowwise, dict):
        if len(rowwise) > 1:
            return as_rows(rowwise)  # type: ignore[no-any-return]  # objects
        rowwise = np.asarray(next(iter(rowwise.values())))
    if isinstance(rowwise, np.ndarray):
        rowwise = rowwise[:, 0] if rowwise.ndim == 2 and rowwise.shape[1] == 1 else rowwise
        rowwise = rowwise.tolist()
    if not isinstance(rowwise, list):
        raise ProtocolError(Kind.MISMATCH, "it answers the rows as a whole")
    return list(map(_plain, rowwise))


def _plain(answer: Any) -> Any:  # noqa: ANN401 - a JSON value, or NumPy's
    if isinstance(answer, np.ndarray | np.generic):
        return answer.tolist()
    if isinstance(answer, list | tuple):
        return [_plain(each) for each in answer]
    return (
        {name: _plain(each) for name, each in answer.items()}
        if isinstance(answer, dict)
        else answer
    )
