"""What of an answer is explained, as one number: of a list or an object, one part of it.

That two lists of floats are equal says nothing: another feature changes the last digit. So several
values are explained by the first of these that fits:

    a probability per class      that of the second of two classes, of more the largest for the row
    a score per class            likewise
    named or numeric outputs     one of them, the first unless another is named
    a list of items              whether the first item stays
    several values without floats    whether all of them stay

Anything else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops.explaining.base import (
    NotExactError,
    OtherClassesError,
    of_answers,
    of_classes,
    pick_classes,
    plain_label,
)
from mlops.rewards.base import Terms
from mlops.rewards.kinds import is_number, is_single
from mlops.rewards.probabilities import probabilities

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Aspect:
    """What is explained of a model's answers.

    Attributes:
        output: Its name, for people.
        value: Gives the number that an answer has, for the row at a position.
        classes: As those of an `Explanation`.
    """

    output: str
    value: Callable[[Any, int], float]
    classes: tuple[Any, ...] | None = None


def aspect_of(
    answers: Sequence[Any],
    others: Sequence[Any],
    *,
    known: Sequence[Any] = (),
    asked: Sequence[Any] | None = None,
    output: str = "",
) -> Aspect:
    """Return what is explained of answers.

    Args:
        answers: To the n rows that are explained.
        others: To other rows, which show what all answers have in common.
        known: Classes of the model, by position; empty if it does not say.
        asked: Of each row the class or label to explain, (n,); None for that which is answered.
        output: Name or position of one of several values; empty for what fits best.

    Raises:
        NotExactError: No part of the answers is one number or one label, or there is no such
            output.
        OtherClassesError: Another model's classes are asked for, which this one does not answer.

    >>> of = aspect_of([[0.25, 0.75]], [[0.5, 0.5]], known=["ham", "spam"])
    >>> of.output, of.value([0.9, 0.1], 0)
    ('probability of class spam', 0.1)
    >>> aspect_of([[0.75, 0.25]], [[0.5, 0.5]], known=["ham", "spam"]).output
    'probability of class spam'
    >>> aspect_of([["tea", "milk"]], [["milk"]]).output
    'whether the first item stays `tea`'
    """
    several = [each for each in (*answers, *others) if not is_single(each)]
    if len(several) == len(answers) + len(others):
        names = _fields(several)
        if names:
            return _of_fields(answers, several, names, known, asked, output)
        if not output and all(isinstance(each, list) for each in answers):
            # Another arm's item can be missed in an empty list.
            by_item = asked and all(map(is_single, asked))
            if by_item or all(answers):
                return _of_first(answers, asked)
    if output:
        raise NotExactError(f"they have no outputs by name, such as `{output}`")
    if all(map(is_number, answers)):
        return Aspect("prediction", lambda answer, _: float(answer))
    return _of_labels("answer", answers, asked, lambda answer: answer)


def _fields(answers: Sequence[Any]) -> tuple[Any, ...]:
    """Return the keys, or positions of numbers, that all answers have; empty for none."""
    first = answers[0]
    if isinstance(first, Mapping):
        alike = all(isinstance(each, Mapping) and list(each) == list(first) for each in answers)
        return tuple(first) if alike else ()
    alike = all(
        isinstance(each, list) and len(each) == len(first) and all(map(is_number, each))
        for each in answers
    )
    # Whole numbers may be the ids of items.
    return tuple(range(len(first))) if alike and any(map(_has_float, answers)) else ()


def _of_fields(
    answers: Sequence[Any], several: Sequence[Any], names: tuple[Any, ...], known: Sequence[Any],
    asked: Sequence[Any] | None, output: str,
) -> Aspect:  # fmt: skip
    labels = known if len(known) == len(names) and names == (*range(len(names)),) else names
    by_name = {str(name): at for each in (names, labels) for at, name in enumerate(each)}
    if output and output not in by_name:
        known_names = ", ".join(f"`{label}`" for label in labels[:10])
        raise NotExactError(f"they have no output `{output}`, only {known_names}")
    what = _of_each_class(several, labels, known)
    if what:
        cells = np.array([_cells(answer, names) for answer in answers], dtype=np.float64)
        if output:
            at_class = np.full(len(answers), by_name[output])
        else:
            # As of classifiers that answer labels: by one class for all rows, where there are two.
            of_two = np.ones(len(answers), dtype=np.int64)
            answered = of_two if len(names) == 2 else cells.argmax(axis=1)
            at_class = pick_classes(labels, answered, asked)
        classes = tuple(plain_label(labels[at]) for at in at_class)
        return Aspect(
            of_classes(what, classes),
            lambda answer, row: float(_cells(answer, names)[at_class[row]]),
            classes,
        )
    single = [
        at for at in range(len(names))
        if all(is_single(_cells(answer, names)[at]) for answer in several)
    ]  # fmt: skip
    at = by_name[output] if output else next(iter(single), -1)
    if at not in single:
        return _of_labels("whole answer", answers, asked, lambda answer: answer)
    order = "" if at or len(names) == 1 else f", the first of {len(names)}"
    if all(is_number(_cells(answer, names)[at]) for answer in several):
        return Aspect(
            f"output {names[at]}{order}", lambda answer, _: float(_cells(answer, names)[at])
        )
    part = f"`{names[at]}`"
    return _of_labels(part, answers, asked, lambda answer: _cells(answer, names)[at])


def _of_each_class(several: Sequence[Any], labels: Sequence[Any], known: Sequence[Any]) -> str:
    """Say what answers have of each class: a probability, a score; empty for neither."""
    if not any(map(_has_float, several)):
        return ""
    try:
        for answer in several:
            probabilities(answer, Terms())
    except ValueError:
        numbers = all(isinstance(answer, list) for answer in several)
        return "score" if numbers and known and labels is known else ""
    return "probability"


def _of_first(answers: Sequence[Any], asked: Sequence[Any] | None) -> Aspect:
    nothing = object()

    def first(answer: Any) -> Any:  # noqa: ANN401 - a JSON value
        return answer[0] if isinstance(answer, list) and answer else nothing

    firsts = [first(answer) for answer in answers]
    if not all(map(is_single, firsts)):
        return _of_labels("whole answer", answers, asked, lambda answer: answer)
    if all(isinstance(each, float) for each in firsts):
        return Aspect("first number of the answer", lambda answer, _: _first_number(answer))
    return _of_labels("first item", answers, asked, first)


def _of_labels(
    subject: str, answers: Sequence[Any], asked: Sequence[Any] | None, part: Callable[[Any], Any]
) -> Aspect:
    own = [plain_label(part(answer)) for answer in answers]
    if any(not is_single(each) and _has_float(each) for each in own):
        raise NotExactError(f"`{_shown(own[0])}` has no part that is one number or one label")
    if asked and {*map(is_single, asked)}.isdisjoint(map(is_single, own)):
        raise OtherClassesError("one of the models answers several values, the other one")
    labels = tuple(asked or own)

    def same(answer: Any, row: int) -> float:  # noqa: ANN401 - a JSON value
        return float(part(answer) == labels[row])

    return Aspect(of_answers(subject, labels), same, labels)


def _cells(answer: Any, names: Sequence[Any]) -> list[Any]:  # noqa: ANN401 - a JSON value
    if isinstance(answer, Mapping) and list(answer) == list(names):
        return list(answer.values())
    if isinstance(answer, list) and len(answer) == len(names):
        return answer
    raise NotExactError(f"they have other outputs where features are mixed: `{_shown(answer)}`")


def _first_number(answer: Any) -> float:  # noqa: ANN401 - a JSON value
    if isinstance(answer, list) and answer and is_number(answer[0]):
        return float(answer[0])
    raise NotExactError(f"they have no numbers where features are mixed: `{_shown(answer)}`")


def _has_float(answer: Any) -> bool:  # noqa: ANN401 - a JSON value
    return any(isinstance(each, float) for each in _leaves(answer))


def _leaves(answer: Any) -> Iterator[Any]:  # noqa: ANN401 - a JSON value
    if is_single(answer):
        yield answer
    else:
        for each in answer.values() if isinstance(answer, Mapping) else answer:
            yield from _leaves(each)


def _shown(answer: Any) -> str:  # noqa: ANN401 - a JSON value
    text = json.dumps(answer, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
