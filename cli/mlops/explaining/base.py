"""What an explanation is, and the check that it adds up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.rewards.kinds import is_single

#: Column name to n cells.
Rows: TypeAlias = Mapping[str, Sequence[Any]]

#: Relative to the largest of 1, the base and the answer. XGBoost calculates in float32.
TOLERANCE = 1e-6
SINGLE_TOLERANCE = 1e-3

# How an output ends that differs by row.
_ANSWERED, _STAYS = "the class that is answered", "stays the same"
_SHOWN = 60


class NotExactError(Exception):
    """There is no exact method for a model. Its text says why, for people."""


class OtherClassesError(Exception):
    """A model does not know a class by which its answers are to be explained."""


def pick_classes(
    known: Iterable[Any], answered: NDArray[np.int64], asked: Sequence[Any] | None
) -> NDArray[np.int64]:
    """Return the position of the class that each of n rows is explained by, (n,).

    Args:
        known: Classes of the model, by position.
        answered: Position of the class that is explained where none is asked for, (n,).
        asked: The class to explain each row by, (n,); None for that which is answered.

    Raises:
        OtherClassesError: The model does not know one of them.

    >>> pick_classes(["a", "b"], np.array([0, 1]), ["b", "b"])
    array([1, 1])
    """
    if asked is None:
        return answered
    places = {plain_label(each): at for at, each in enumerate(known)}
    try:
        return np.array([places[each] for each in asked], dtype=np.int64)
    except (KeyError, TypeError) as error:
        # TypeError: the other model answers lists or objects.
        raise OtherClassesError("another model answers what is no class of this one") from error


def plain_label(label: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a class as a JSON value."""
    return label.item() if isinstance(label, np.generic) else label


def of_classes(what: str, classes: Sequence[Any]) -> str:
    """Say what is explained of rows, each by its class.

    >>> of_classes("log-odds", ["a", "a"]), of_classes("score", [0, 1])
    ('log-odds of class a', 'score of the class that is answered')
    """
    return _for_rows(f"{what} of {_ANSWERED}", classes)


def of_answers(subject: str, labels: Sequence[Any]) -> str:
    """Say that of rows the answer itself is explained, each by its label.

    >>> of_answers("answer", ["a", "a"]), of_answers("first item", [7, 8])
    ('whether the answer stays `a`', 'whether the first item stays the same')
    """
    return _for_rows(f"whether the {subject} {_STAYS}", labels)


def _for_rows(output: str, labels: Sequence[Any]) -> str:
    # Labels may be lists, which have no hash.
    return _for_row(output, labels[0]) if all(each == labels[0] for each in labels) else output


def _for_row(output: str, label: Any) -> str:  # noqa: ANN401 - a JSON value
    if output.endswith(_STAYS):
        text = label if isinstance(label, str) else json.dumps(label, default=str)
        text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        return f"{output.removesuffix(_STAYS)}stays `{text}`"
    if output.endswith(_ANSWERED):
        return f"{output.removesuffix(_ANSWERED)}class {label}"
    return output


@dataclass(frozen=True, slots=True)
class Explanation:
    """Shares of k features in the answers to n rows.

    Attributes:
        method: `linear`, `trees`, `xgboost`, `lightgbm` or `permutations`.
        output: What is explained, for people: `prediction`, or `log-odds of class 1`.
        names: Names of the features, (k,).
        base: What the shares count from, (n,).
        shares: (n, k).
        outputs: The explained output of each row, (n,).
        errors: Standard error of each share, (n, k); None where they are exact.
        gap: Largest of |base + sum of shares - output|.
        classes: The class or answer whose output is explained, of each row, (n,), any JSON value;
            None where it is none's.
    """

    method: str
    output: str
    names: tuple[str, ...]
    base: NDArray[np.float64]
    shares: NDArray[np.float64]
    outputs: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    gap: float
    classes: tuple[Any, ...] | None = None

    def output_of(self, row: int) -> str:
        """Say what is explained of one row, with its class or answer."""
        return self.output if self.classes is None else _for_row(self.output, self.classes[row])

    @property
    def single_classes(self) -> tuple[Any, ...] | None:
        """The classes; None too where an answer is null, a list or an object."""
        known = self.classes or (None,)
        return known if all(each is not None and is_single(each) for each in known) else None


def check_additive(
    method: str,
    output: str,
    names: Sequence[str],
    base: NDArray[np.float64],
    shares: NDArray[np.float64],
    outputs: NDArray[np.float64],
    errors: NDArray[np.float64] | None = None,
    tolerance: float = TOLERANCE,
    classes: Sequence[Any] | None = None,
) -> Explanation:
    """Return an explanation whose shares add up.

    Raises:
        NotExactError: They do not.
    """
    gaps = np.abs(base + shares.sum(axis=1) - outputs)
    scale = np.maximum(1.0, np.maximum(np.abs(base), np.abs(outputs)))
    if not np.all(gaps <= tolerance * scale):
        raise NotExactError(f"the shares of `{method}` do not add up to what the model answers")
    return Explanation(
        method, output, tuple(names), base, shares, outputs, errors, float(gaps.max(initial=0.0)),
        None if classes is None else tuple(classes),
    )  # fmt: skip
