from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InvalidInputError, UsageError
from mlops.registry.thresholds import Limit, judge, parse_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("rmse=1%", Limit("rmse", "lower", 0.01, relative=True)),
        (" accuracy=0.005 ", Limit("accuracy", "higher", 0.005, relative=False)),
        ("r2=0", Limit("r2", "higher", 0, relative=False)),
        ("RMSE=1e-3", Limit("RMSE", "lower", 0.001, relative=False)),
        ("churn:lower=5%", Limit("churn", "lower", 0.05, relative=True)),
        ("rmse:higher=5%", Limit("rmse", "higher", 0.05, relative=True)),
    ],
)
def test_limits_are_read(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text", ["", "rmse", "rmse=", "=1%", "rmse=x", "rmse=-1", "rmse=nan", "rmse=inf", "rmse=1%%"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a limit"):
        parse_limit(text)


def test_the_direction_of_an_unknown_metric_must_be_said() -> None:
    with pytest.raises(UsageError, match="is lower or higher better"):
        parse_limit("churn=1%")


@pytest.mark.parametrize(
    ("text", "baseline", "value", "passed"),
    [
        ("rmse=10%", 2.0, 2.2, True),
        ("rmse=10%", 2.0, 2.21, False),
        ("rmse=10%", 2.0, 1.0, True),
        ("r2=10%", 0.5, 0.45, True),
        ("r2=10%", 0.5, 0.44, False),
        # A share of a negative value is still a step to the worse.
        ("r2=10%", -0.5, -0.55, True),
        ("r2=10%", -0.5, -0.56, False),
        ("rmse=0", 2.0, 2.0, True),
        ("rmse=0.5", 2.0, 2.6, False),
        ("rmse=10%", 2.0, math.nan, False),
        ("rmse=10%", 2.0, -math.inf, False),
    ],
)
def test_judgements(text: str, baseline: float, value: float, passed: bool) -> None:
    limit = parse_limit(text)
    (found,) = judge([limit], "m/1", {limit.metric: baseline}, {limit.metric: value})
    assert found.passed is passed


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.booleans())
def test_a_model_is_never_worse_than_itself(value: float, amount: float, relative: bool) -> None:
    for better in ("lower", "higher"):
        limit = Limit("x", better, amount, relative)
        assert judge([limit], "m/1", {"x": value}, {"x": value})[0].passed


def test_a_metric_that_one_lacks_cannot_be_judged() -> None:
    limit = parse_limit("rmse=1%")
    with pytest.raises(InvalidInputError, match="no metric `rmse`") as caught:
        judge([limit], "m/1", {"rmse": 1, "rmsle": 1}, {"rmsle": 1})
    assert caught.value.hint == "Did you mean `rmsle`?"
    with pytest.raises(InvalidInputError, match="nothing can be held to it"):
        judge([limit], "m/1", {"rmse": math.nan}, {"rmse": 1})
