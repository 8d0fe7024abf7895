"""Answers of several values: which part of them is explained, and how that is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mlops.errors import InvalidInputError
from mlops.explaining import Explainable, are_comparable, explain, explain_all
from mlops.explaining.__main__ import _explained
from mlops.explaining.answers import aspect_of
from mlops.tables.signature import Column, Signature
from tests.explaining.test_shares import (
    BACKGROUND,
    FRAME,
    LABELS,
    NAMES,
    X,
    Y,
    columns,
    framed,
    of_three,
    saved,
)

_BACKGROUND = {"n": [0.0, 1.0, 2.0, 3.0], "c": [1.0, 1.0, 0.0, 0.0]}


class _Answering:
    def __init__(self, answer: Callable[[float, float], Any]) -> None:
        self._answer = answer

    def predict(self, payload: Any, _: Any) -> Any:
        return [
            self._answer(*row) for row in zip(payload.values["n"], payload.values["c"], strict=True)
        ]


def answering(answer: Callable[[float, float], Any]) -> Explainable:
    signature = Signature((Column("n", "double"), Column("c", "double")))
    return Explainable(signature, _Answering(answer), None)


@pytest.mark.parametrize(
    ("answer", "output", "by_row", "classes", "outputs"),
    [
        # A probability per class, by position and by name: of two the second for every row,
        (
            lambda n, _: [1 - n / 8, n / 8], "probability of class 1", None, (1, 1),
            [1 / 8, 5 / 8],
        ),
        (
            lambda n, _: {"ham": 0.75 - n / 16, "spam": 0.25 + n / 16},
            "probability of class spam", None, ("spam", "spam"), [0.3125, 0.5625],
        ),
        # of more that which is largest for the row.
        (
            lambda n, _: [0.75 - n / 8, n / 8, 0.25],
            "probability of the class that is answered",
            ["probability of class 0", "probability of class 1"], (0, 1), [5 / 8, 5 / 8],
        ),
        # Numbers, of which the first is explained, with its name.
        (lambda n, c: [n, c + 0.5, 2.0], "output 0, the first of 3", None, None, [1, 5]),
        (lambda n, c: {"kw": n, "at": "x"}, "output kw, the first of 2", None, None, [1, 5]),
        (
            lambda n, _: {"label": "hot" if n > 2 else "cold", "score": n / 7},
            "whether the `label` stays the same",
            ["whether the `label` stays `cold`", "whether the `label` stays `hot`"],
            ("cold", "hot"), [1, 1],
        ),
        # Items: the first of them. Ids may be whole numbers.
        (
            lambda n, _: [f"item-{n:.0f}", "item-9"][: 1 + int(n) % 2],
            "whether the first item stays the same",
            ["whether the first item stays `item-1`", "whether the first item stays `item-5`"],
            ("item-1", "item-5"), [1, 1],
        ),
        (
            lambda n, _: [int(n), 9], "whether the first item stays the same",
            ["whether the first item stays `1`", "whether the first item stays `5`"],
            (1, 5), [1, 1],
        ),
        (lambda n, _: [n] * (1 + int(n)), "first number of the answer", None, None, [1, 5]),
        # No single value leads: all of them, where equality means something.
        (
            lambda n, _: [["a"], int(n)], "whether the whole answer stays the same",
            ['whether the whole answer stays `[["a"], 1]`',
             'whether the whole answer stays `[["a"], 5]`'], None, [1, 1],
        ),
    ],
)  # fmt: skip
def test_what_is_explained(
    answer: Callable[[float, float], Any], output: str, by_row: list[str] | None,
    classes: tuple[Any, ...] | None, outputs: list[float],
) -> None:  # fmt: skip
    found = explain(answering(answer), {"n": [1.0, 5.0], "c": [1.0, 0.0]}, _BACKGROUND)
    assert (found.output, found.single_classes) == (output, classes)
    assert [found.output_of(row) for row in (0, 1)] == (by_row or [output] * 2)
    assert found.outputs == pytest.approx(outputs)
    assert found.base + found.shares.sum(axis=1) == pytest.approx(found.outputs)


def test_floats_are_never_compared_for_equality() -> None:
    model = answering(lambda n, _: [{"id": "a", "score": n / 3}])
    with pytest.raises(InvalidInputError, match="no part that is one number or one label"):
        explain(model, {"n": [5.0], "c": [1.0]}, _BACKGROUND)


def test_answers_to_mixtures_must_have_the_same_outputs() -> None:
    model = answering(lambda n, c: [n, 0.5] if (n, c) != (5.0, 0.0) else [0.5])
    with pytest.raises(InvalidInputError, match=r"other outputs where features are mixed: `\[0.5"):
        explain(model, {"n": [5.0], "c": [1.0]}, _BACKGROUND)


def test_arms_that_answer_probabilities_are_explained_by_one_class() -> None:
    sure = answering(lambda n, _: [1 - n / 8, n / 8, 0.0])
    unsure = answering(lambda n, _: [0.625 - n / 16, 0.375 + n / 16, 0.0])
    rows = {"n": [1.0, 3.0], "c": [0.0, 0.0]}
    # The second row is of class 0 for one arm, of 1 for the other.
    found = explain_all([sure, unsure], rows, _BACKGROUND, 1)
    assert are_comparable(found)
    assert [each.classes for each in found] == [(0, 1), (0, 1)]
    assert found[0].outputs == pytest.approx([7 / 8, 3 / 8])
    assert found[1].outputs == pytest.approx([0.5625, 0.5625])


def test_arms_that_recommend_are_explained_by_the_first_item_of_one() -> None:
    popular, personal = (
        answering(lambda *_: ["tea"]),
        answering(lambda n, _: ["tea", "rye"][n > 2 :]),
    )
    found = explain_all([popular, personal], {"n": [3.0], "c": [0.0]}, _BACKGROUND)
    assert are_comparable(found)
    assert [each.outputs.tolist() for each in found] == [[1.0], [0.0]]
    # An arm with no item at all recommends another one.
    empty = answering(lambda *_: [])
    assert explain_all([popular, empty], {"n": [3.0], "c": [0.0]}, _BACKGROUND)[1].outputs == [0.0]


def test_scores_per_class_are_named_by_the_classes() -> None:
    aspect = aspect_of([[-1.5, 0.5]], [[2.0, -2.0]], known=["ham", "spam"])
    assert (aspect.output, aspect.classes) == ("score of class spam", ("spam",))


def test_probabilities_and_outputs_of_models(tmp_path: Path) -> None:
    two = saved(tmp_path, LinearRegression().fit(FRAME, np.stack([Y, -Y], axis=1)))
    (tmp_path / "other").mkdir()
    classifier = saved(tmp_path / "other", of_three("linear").fit(FRAME, LABELS))
    rows, background = columns(X[:2]), columns(BACKGROUND)
    first, same, other = explain_all([two, two, classifier], rows, background)
    assert (first.output, first.classes) == ("output 0, the first of 2", None)
    assert (are_comparable([first, same]), are_comparable([first, other])) == (True, False)
    second = explain(two, rows, background, output="1")
    assert second.outputs == pytest.approx(-first.outputs)
    assert second.output == "output 1"
    question = {"rows": framed(X[:2]).to_dict("records"), "served": "two"}
    answers = _explained({"two": two, "lr": classifier}, NAMES, question, background)
    assert [each["two"]["output"] for each in answers] == ["output 0, the first of 2"] * 2
    assert [each["two"]["class"] for each in answers] == [None, None]
    assert answers[0]["lr"]["output"] == "log-odds of class low"
