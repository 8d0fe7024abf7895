"""Which certificates of a file keep callers out once they have expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mlops.spec.certificates import Certificates, Lifetime

NOW = datetime(2026, 11, 29, tzinfo=UTC)
_YEAR = timedelta(365)


def fine(name: str) -> Lifetime:
    return Lifetime(name, NOW - _YEAR, NOW + _YEAR)


def expired(name: str) -> Lifetime:
    return Lifetime(name, NOW - 2 * _YEAR, NOW - _YEAR)


@pytest.mark.parametrize(
    ("own", "authorities", "faults", "others"),
    [
        ((fine("s"), fine("ca")), (fine("a"), fine("b")), [], []),
        ((expired("s"), fine("ca")), (), ["`s` has expired"], []),
        # Cross-signed by a root of old: most callers know the new one.
        ((fine("s"), expired("ca")), (), [], ["`ca` has expired"]),
        # The previous CA, beside its successor.
        ((fine("s"),), (expired("a"), fine("b")), [], ["`a` has expired"]),
        ((fine("s"),), (expired("a"), expired("b")), ["`a` has expired", "`b` has expired"], []),
    ],
)
def test_only_what_keeps_all_callers_out_is_a_fault(
    own: tuple[Lifetime, ...],
    authorities: tuple[Lifetime, ...],
    faults: list[str],
    others: list[str],
) -> None:
    found = Certificates(own, authorities)
    for texts, expected in (
        (found.faults(NOW), faults),
        (found.warnings(NOW), [*faults, *others]),
    ):
        assert len(texts) == len(expected)
        assert all(part in text for part, text in zip(expected, texts, strict=True))
