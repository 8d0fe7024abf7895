"""Times as cells have them: ISO 8601 texts, each read by itself, and Python's own.

pandas takes the format of a column from its first cell, and MLflow refuses a zone. Here every cell
may have its own form, and a zone is converted to UTC: the times of a model's signature have none.

Specification: ISO 8601-1:2019, calendar dates only, with what `pandas.to_datetime` takes beside it:
a space for `T`, and hours, minutes or seconds of one digit. MLflow's type `datetime` counts
nanoseconds in 64 bits, from 1677-09-21 to 2262-04-11.
"""

from __future__ import annotations

import datetime as dt
import re

#: What NumPy has for a time that is missing, in any unit.
NOT_A_TIME = -(2**63)
#: Texts that pandas takes for one; a CSV has been read before.
_MISSING = frozenset({"", "NaT", "nat", "NAT", "NaN", "nan", "NAN"})
# Lengths of texts. With more characters there may be nanoseconds, which Python would cut.
_DAY, _SECONDS, _MICROSECONDS = 10, 19, 26
_SECOND = 10**9
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_FORM = re.compile(
    r"\s*(?P<year>[0-9]{4})"
    r"(?:-(?P<only_month>[0-9]{2})|(?P<dash>-?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})"
    r"(?:(?:T|\s)\s*"
    r"(?P<clock>[0-9]{1,2}(?::[0-9]{1,2}){0,2}|[0-9]{4}|[0-9]{6})(?:[.,](?P<fraction>[0-9]*))?"
    r"(?:\s*(?:[Zz]|(?P<sign>[+-])(?P<zone>[0-9]{1,2}(?::?[0-9]{2})?)))?"
    r")?)\s*",
    re.ASCII,
)
_PAIR = re.compile(r"[0-9]{1,2}")


def nanoseconds(cell: object) -> int | None:
    """Return the nanoseconds from 1970 UTC to a time; `NOT_A_TIME` for a missing cell.

    Without a zone it is taken as it is written. None: the cell is no time, or out of range.

    >>> nanoseconds("2024-05-01T12:00:00Z") == nanoseconds("2024-05-01 14:00:00.0+02:00")
    True
    >>> nanoseconds("01.05.2024") is None
    True
    """
    if isinstance(cell, str):
        found = _common(cell)
        return _any_form(cell) if found is None else found
    if cell is None or (isinstance(cell, float | dt.datetime) and cell != cell):
        return NOT_A_TIME
    if isinstance(cell, dt.datetime):
        # A Timestamp of pandas is a datetime with nanoseconds beside its microseconds.
        return _since_1970(cell, getattr(cell, "nanosecond", 0))
    if isinstance(cell, dt.date):
        return _since_1970(dt.datetime(cell.year, cell.month, cell.day, tzinfo=dt.UTC))
    return None


def seconds(cell: object) -> float | None:
    """Return the seconds from 1970 UTC to a time; None where a cell is missing or no time."""
    found = nanoseconds(cell)
    return None if found is None or found == NOT_A_TIME else found / _SECOND


def time_text(nanoseconds: int) -> str:
    """Write a time in the form that NumPy, pandas and `nanoseconds` read.

    >>> time_text(nanoseconds("2024-05-01T14:00+02:00"))
    '2024-05-01T12:00:00.000000000'
    """
    seconds, fraction = divmod(nanoseconds, _SECOND)
    whole = _EPOCH + dt.timedelta(seconds=seconds)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{fraction:09d}"


def _common(text: str) -> int | None:
    """Read the extended form with all of its digits, which nearly all have; None for another."""
    length = len(text)
    if length == _DAY:
        if text[4] != "-" or text[7] != "-":
            return None
    elif (
        not _SECONDS <= length <= _MICROSECONDS
        # Python also reads any separator, and a fraction of an hour as one of a second.
        or text[10] not in "T "
        or not text[4] == text[7] == "-"
        or not text[13] == text[16] == ":"
    ):
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return _since_1970(time)


def _any_form(text: str) -> int | None:
    form = _FORM.fullmatch(text)
    if form is None:
        return NOT_A_TIME if text in _MISSING else None
    year, month = int(form["year"]), int(form["month"] or form["only_month"])
    clock = [int(pair) for pair in _PAIR.findall(form["clock"] or "")]
    offset = [int(pair) for pair in _PAIR.findall(form["zone"] or "")]
    if form["fraction"] is not None and len(clock) < 3:
        return None
    hour, minute, second = [*clock, 0, 0, 0][:3]
    zone_hours, zone_minutes = [*offset, 0, 0][:2]
    east = dt.timedelta(hours=zone_hours, minutes=zone_minutes)
    fraction = int((form["fraction"] or "")[:9].ljust(9, "0"))
    try:
        zone = dt.timezone(-east if form["sign"] == "-" else east)
        time = dt.datetime(year, month, int(form["day"] or 1), hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
    return None if zone_minutes > 59 else _since_1970(time, fraction)


def _since_1970(time: dt.datetime, nanoseconds: int = 0) -> int | None:
    """Return nanoseconds, with some more; None if they are out of range."""
    passed = time - (_NAIVE_EPOCH if time.tzinfo is None else _EPOCH)
    whole = (passed.days * 86_400 + passed.seconds) * _SECOND
    count = whole + passed.microseconds * 1000 + nanoseconds
    return count if NOT_A_TIME < count < 2**63 else None
