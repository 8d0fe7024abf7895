"""The implementations of `Journal`, and an empty one of each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import create_engine, text

from mlops.journal.base import Journal
from mlops.journal.records import (
    Decision,
    Fate,
    NewOutcome,
    ShadowDecision,
)
from mlops.journal.sql import SqlJournal
from tests.journal.rows import T0, nonce

Json: TypeAlias = Any

_NUMBERS = itertools.count()


def _sqlite(request: pytest.FixtureRequest) -> str:
    folder: Path = request.getfixturevalue("tmp_path")
    return f"sqlite:///{folder / 'journal.db'}"


def _postgresql(request: pytest.FixtureRequest) -> str:
    """A database of its own for each test."""
    server: str = request.getfixturevalue("postgresql_url")
    name = f"journal_{os.getpid()}_{next(_NUMBERS)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.rpartition("/")[0] + f"/{name}"


#: Name to a function that gives the URL of an empty journal.
JOURNALS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
}


@pytest.fixture(params=JOURNALS)
def url(request: pytest.FixtureRequest) -> str:
    return JOURNALS[request.param](request)


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    opened = SqlJournal(url)
    yield opened
    opened.close()


def fates(
    journal: Journal, outcomes: list[NewOutcome], decisions: list[Decision] | None = None
) -> list[Fate]:
    return [stored.fate for stored in journal.append(decisions or [], outcomes)]


# Shadows.


def shadow(number: int, **changes: Json) -> ShadowDecision:
    fields: dict[str, Json] = {
        "nonce": nonce(number),
        "revision": 1,
        "shadow": 0,
        "time_ms": T0 + number,
        "latency_us": 500,
        "status": 200,
        "predictions": [number + 0.5],
    }
    return ShadowDecision(**{**fields, **changes})
