"""Each time is read by itself, to what pandas makes of it."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pandas as pd
import pytest

from mlops.tables.times import NOT_A_TIME, nanoseconds, seconds, time_text

_DATES = (
    "2024-02-29",
    "20240229",
    "2024-05",
    "1969-12-31",
    "1677-09-22",
    "2024-02-30",
    "2300-01-01",
)
_CLOCKS = (
    *("", "T09", " 9:05", "T0905", "T09:05:07", "  09:05", "T24:00", "T23:59:60", " 9:5:7"),
    *("T09:05:07.5", "T09:05:07,25", "T090507.123456789", "T09:05:07.1234567891"),
)
_ZONES = ("", "Z", " Z", "+02", "-0330", "+14:00", " +02:00", "+24:00", " UTC")


@pytest.mark.parametrize("date", _DATES)
def test_texts_are_read_as_pandas_reads_them(date: str) -> None:
    for clock, zone in itertools.product(_CLOCKS, _ZONES):
        if (zone and not clock) or (clock and date == "2024-05"):
            continue
        text = date + clock + zone
        found = nanoseconds(text)
        try:
            expected = pd.to_datetime([text], format="ISO8601", utc=True).as_unit("ns")
        except ValueError:
            # pandas wants one space at most, two digits of a lone hour, and `T` alone.
            try:
                expected = pd.to_datetime([text], utc=True).as_unit("ns")
            except ValueError:
                assert found is None, text
                continue
            if found is None:
                continue
            # By dateutil, which cuts nanoseconds.
            assert found // 1000 == int(expected.asi8[0]) // 1000, text
            continue
        if zone != " UTC":
            assert found == int(expected.asi8[0]), text


@pytest.mark.parametrize(
    "cell",
    [
        *("", "NaT", "nan", None, float("nan"), pd.NaT),
    ],
)
def test_missing_times(cell: object) -> None:
    assert nanoseconds(cell) == NOT_A_TIME
    assert seconds(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        *("yesterday", "01.05.2024", "2024-5-1", "2024-W18-3", "2024-122", "2024", "202405"),
        *(
            "2024-05-01T9:05 PM",
            "2024-05-01T09.5",
            "2024-05-01T09:05.5",
            "2024-05-01x09:05",
            "2024-05T09:05",
        ),
        *(
            "9999-12-31",
            "1677-09-20",
            "2024-05-01T12:00:00 Europe/Berlin",
            "null",
            "\uff12024-05-01",
        ),
        *(20240501, 1.5, True, [], {}),
        dt.datetime(9999, 12, 31, tzinfo=dt.UTC),
    ],
)
def test_what_is_no_time(cell: object) -> None:
    assert nanoseconds(cell) is None
    assert seconds(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        "2024-05-01T14:00:00.123456+02:00",
        dt.datetime(2024, 5, 1, 12, 0, 0, 123456),  # noqa: DTZ001 - as models are sent it
        dt.datetime(2024, 5, 1, 14, 0, 0, 123456, dt.timezone(dt.timedelta(hours=2))),
        pd.Timestamp("2024-05-01T12:00:00.123456Z"),
    ],
)
def test_one_time_in_many_forms(cell: object) -> None:
    found = nanoseconds(cell)
    assert found == 1_714_564_800_123_456_000
    assert time_text(found) == "2024-05-01T12:00:00.123456000"
    assert seconds(cell) == pytest.approx(1_714_564_800.123456)


def test_dates_and_nanoseconds() -> None:
    assert nanoseconds(dt.date(1970, 1, 2)) == 86_400 * 10**9
    stamp = pd.Timestamp("1969-12-31T23:59:59.999999999")
    assert nanoseconds(stamp) == -1


@pytest.mark.parametrize("count", [0, -1, 2**63 - 1, -(2**63) + 1, 1_714_564_800_123_456_789])
def test_written_times_are_read_again(count: int) -> None:
    text = time_text(count)
    assert nanoseconds(text) == count
    assert np.datetime64(text, "ns").astype(np.int64) == count
