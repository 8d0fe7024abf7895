"""Reference profiles: known values, NumPy and pandas, and whatever Hypothesis thinks of."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InvalidInputError
from mlops.stats.identifiers import profile_column
from mlops.stats.profile_document import Profile, from_json, to_json
from mlops.stats.profiles import (
    BINS,
    MAX_CATEGORIES,
    MAX_TEXT,
    Categories,
    Distribution,
    FeatureProfile,
    hidden_feature,
    profile_feature,
)

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "profile.v1.json").read_text()
)


def numbers_of(values: Any) -> Distribution:
    found = profile_feature(values).numbers
    assert found is not None
    return found


def test_a_feature_counted_by_hand() -> None:
    found = profile_feature([4, 1, None, 2.0, 3, math.nan])
    assert (found.kind, found.count, found.missing) == ("number", 4, 2)
    numbers = numbers_of([4, 1, None, 2.0, 3, math.nan])
    assert (numbers.minimum, numbers.maximum, numbers.mean) == (1, 4, 2.5)
    assert numbers.deviation == pytest.approx(math.sqrt(5 / 3))
    # The k-th percentile is the ceil(4 k / 100)-th smallest.
    at = (0, 1, 25, 26, 50, 51, 75, 76, 100)
    assert [numbers.percentiles[k] for k in at] == [1, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(numbers.edges) == BINS + 1
    assert numbers.counts == (1, *[0] * 5, 1, *[0] * 6, 1, *[0] * 5, 1)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 101, 1234])
def test_numbers_agree_with_numpy_and_pandas(n: int) -> None:
    values = np.random.default_rng(n).normal(50, 20, n)
    numbers = numbers_of(values)
    series = pd.Series(values)
    # NumPy multiplies floats, and 0.07 times 100 is more than 7; ours is exact.
    shares = np.clip(np.arange(101) / 100 - 1e-9, 0, 1)
    expected = np.quantile(values, shares, method="inverted_cdf")
    np.testing.assert_array_equal(numbers.percentiles, expected)
    assert (numbers.minimum, numbers.maximum) == (series.min(), series.max())
    assert numbers.mean == pytest.approx(series.mean())
    assert numbers.deviation == pytest.approx(series.std(), nan_ok=True)
    assert list(numbers.counts) == np.histogram(values, bins=numbers.edges)[0].tolist()
    bins = BINS if n > 1 else 1
    np.testing.assert_allclose(numbers.edges, np.linspace(values.min(), values.max(), bins + 1))


def test_a_constant_has_one_bin_without_width() -> None:
    numbers = numbers_of([1e20] * 5)
    assert (numbers.edges, numbers.counts) == ((1e20, 1e20), (5,))
    assert set(numbers.percentiles) == {1e20}
    assert numbers.deviation == 0


def test_infinities_are_counted_apart() -> None:
    numbers = numbers_of([math.inf, 1.0, -math.inf, math.inf, 3.0])
    assert numbers.infinite == (1, 2)
    assert (numbers.minimum, numbers.maximum, sum(numbers.counts)) == (1, 3, 2)
    only = profile_feature([math.inf])
    assert (only.kind, only.count, only.numbers) == ("number", 1, None)


def test_numbers_at_the_end_of_what_floats_hold() -> None:
    numbers = numbers_of([-1.7e308, 1.7e308, 1.7e308])
    assert sum(numbers.counts) == 3
    assert (numbers.edges[0], numbers.edges[-1]) == (-1.7e308, 1.7e308)
    assert numbers_of([10**400, -(10**400), 1]).infinite == (1, 1)
    # Between two neighbours there is no room for twenty bins.
    close = numbers_of([1.0, np.nextafter(1.0, 2.0)])
    assert close.counts == (2,)


@pytest.mark.parametrize("nothing", [[], [None, math.nan], np.array([]), np.array([math.nan])])
def test_without_values_a_feature_is_empty(nothing: Any) -> None:
    assert profile_feature(nothing) == FeatureProfile("empty", 0, len(nothing))


@pytest.mark.parametrize(
    ("values", "kind", "counts"),
    [
        ([True, False, True, None], "boolean", {"true": 2, "false": 1}),
        (np.array([True, False]), "boolean", {"false": 1, "true": 1}),
        (["b", "a", "b", None], "category", {"b": 2, "a": 1}),
        ([1, "1", 1.5, None], "mixed", {"1": 2, "1.5": 1}),
        ([True, 1, 1], "mixed", {"1": 2, "true": 1}),
        ([(1, 2), (1, 2)], "mixed", {"(1, 2)": 2}),
    ],
)
def test_kinds_with_categories(values: Any, kind: str, counts: dict[str, int]) -> None:
    found = profile_feature(values)
    assert found.kind == kind
    assert found.categories is not None
    assert list(found.categories.counts.items()) == list(counts.items())
    assert (found.categories.other, found.categories.distinct) == (0, len(counts))


def test_many_categories_are_cut_and_prose_is_never_kept() -> None:
    prose = "x" * (MAX_TEXT + 1)
    values = [prose] * 9 + [f"town {n:04}" for n in range(200)] * 5 + ["common"] * 6 + ["rare"] * 4
    found = profile_feature(values).categories
    assert found is not None
    assert len(found.counts) == MAX_CATEGORIES
    assert next(iter(found.counts.items())) == ("common", 6)
    # A text that few rows have is not one of many categories.
    assert {prose, "rare"}.isdisjoint(found.counts)
    assert found.other == 9 + 4 + 1000 - (MAX_CATEGORIES - 1) * 5
    assert found.distinct == 203


def written(profile: FeatureProfile) -> str:
    document = to_json(Profile("t", "d", "s", 1, 1, {"x": profile}))
    jsonschema.validate(json.loads(document), SCHEMA)
    assert from_json(document).features["x"] == profile
    return document


@pytest.mark.parametrize(
    "texts",
    [
        [f"DE{n:020}" for n in range(1_000)],
        # Nearly: one customer in five is there twice.
        [f"customer {n % 800}" for n in range(1_000)],
        # Every one often, and none often enough to say something of the whole.
        [f"customer {n % 600}" for n in range(6_000)],
        ["Ada", "Grace", "Edsger"],
        ["Ada", 7, None, "Grace"],
    ],
)
def test_of_texts_that_tell_rows_apart_no_value_is_kept(texts: list[Any]) -> None:
    found = profile_feature(texts)
    there = [each for each in texts if each is not None]
    assert (found.kind, found.count, found.missing) == (
        "distinct", len(there), len(texts) - len(there)
    )  # fmt: skip
    assert found.categories == Categories({}, len(there), len(set(there)))
    document = written(found)
    assert not any(each in document for each in there if isinstance(each, str))


# Amounts, as far as the values tell.
_SPARSE = np.round(np.geomspace(100, 1e7, 100))


@pytest.mark.parametrize(
    ("name", "values", "are"),
    [
        ("customer_id", np.arange(300) * 977 % 100_003, True),
        ("accountNumber", np.arange(300) * 97_001, True),
        ("row", np.arange(1_500), True),
        # With missing ones pandas makes floats of them.
        ("row", np.r_[np.arange(1_500.0), np.nan], True),
        ("iban_like", 10**9 + np.arange(300) * 7_919_113 % 10**9, True),
        ("income", np.arange(1_500) * 60_013 % 1_000_003, False),
        ("age", np.arange(1_500) % 90, False),
        ("id", np.arange(1_500) % 90, False),
        *(
            (name, _SPARSE, True)
            for name in (
                "customerid",
                "CUSTOMERID",
                "custno",
                "id_customer",
                "idCustomer",
                "kundennummer",
                "pid",
                "msisdn",
                "user_ids",
                "ID",
                "cust_nr",
            )
        ),
        *((name, _SPARSE, False) for name in ("price", "amount_paid", "bids", "idle_ms", "idea")),
        ("amount", np.arange(300) + 0.25, False),
        ("amount_id", np.array([1.0, np.inf]), False),
    ],
)
def test_of_whole_numbers_that_are_ids_no_value_is_kept(name: str, values: Any, are: bool) -> None:
    found = profile_column(name, values)
    assert found.kind == ("distinct" if are else "number")
    if are:
        there = values[~np.isnan(values)]
        assert found == FeatureProfile(
            "distinct", len(there), len(values) - len(there), None,
            Categories({}, len(there), len(there)),
        )  # fmt: skip
        assert str(int(there.max())) not in written(found).replace(f" {len(there)}", "")


def test_a_hidden_feature_is_counted_and_a_profile_of_an_earlier_version_is_read() -> None:
    found = hidden_feature(np.array([1.5, np.nan]))
    assert found == FeatureProfile("hidden", 1, 1)
    assert "1.5" not in written(found)
    before = written(profile_feature(["a", "b", "a"])).replace('"a": 2', '"DE01": 1, "DE02": 1')
    categories = from_json(before).features["x"].categories
    assert categories is not None
    assert list(categories.counts) == ["DE01", "DE02", "b"]


def test_times_are_seconds_in_utc() -> None:
    zoned = dt.datetime(1970, 1, 1, 3, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    numbers = numbers_of(
        [dt.datetime.fromisoformat("1970-01-01T00:00:01"), dt.date(1970, 1, 2), zoned]
    )
    assert numbers.percentiles[0] == 1
    assert (numbers.percentiles[50], numbers.maximum) == (3600, 86_400)
    array = np.array(["1970-01-01T00:00:02", "NaT"], dtype="datetime64[ns]")
    found = profile_feature(array)
    assert (found.kind, found.missing, numbers_of(array).minimum) == ("time", 1, 2)
    assert profile_feature([pd.NaT, pd.Timestamp(5, unit="s")]).missing == 1
    assert numbers_of([pd.Timestamp(5, unit="s")]).minimum == 5
    assert profile_feature([np.datetime64("NaT", "D"), np.datetime64("1970-01-01")]).missing == 1


def test_decimals_are_numbers() -> None:
    found = profile_feature([Decimal("1.5"), Decimal("NaN")])
    assert (found.kind, found.count, found.missing) == ("number", 1, 1)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=150),
    st.datetimes(),
    st.dates(),
    st.decimals(allow_nan=True),
    st.binary(max_size=3),
)


@given(st.one_of(st.lists(VALUES), st.lists(st.floats()), st.lists(st.text(max_size=3))))
def test_whatever_comes_is_counted_once_and_survives_writing(values: list[Any]) -> None:
    found = profile_feature(values)
    assert found.count + found.missing == len(values)
    if found.numbers is not None:
        numbers = found.numbers
        assert sum(numbers.counts) + sum(numbers.infinite) == found.count
        assert list(numbers.percentiles) == sorted(numbers.percentiles)
        assert list(numbers.edges) == sorted(numbers.edges)
        assert numbers.edges[0] == numbers.minimum == numbers.percentiles[0]
        assert numbers.edges[-1] == numbers.maximum == numbers.percentiles[-1]
    if found.categories is not None:
        counted = found.categories
        assert sum(counted.counts.values()) + counted.other == found.count
        assert len(counted.counts) <= min(counted.distinct, MAX_CATEGORIES)
    profile = Profile("d", "0", "file.csv", len(values), len(values), {"f": found})
    text = to_json(profile)
    jsonschema.validate(json.loads(text), SCHEMA)
    # Null is read as NaN, which differs from itself; what is written again is the same.
    assert to_json(from_json(text)) == text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.randoms())
def test_the_order_of_rows_does_not_matter(values: list[float], random: Any) -> None:
    mixed = list(values)
    random.shuffle(mixed)
    one, other = numbers_of(values), numbers_of(mixed)
    assert (one.percentiles, one.edges, one.counts) == (
        other.percentiles,
        other.edges,
        other.counts,
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "name": "x"}']
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        from_json(text)
