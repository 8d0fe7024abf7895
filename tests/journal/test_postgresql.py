"""The journal on PostgreSQL: several writers at once, and a whole deployment."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from mlops.errors import RemoteError
from mlops.journal.base import JournalUnavailableError
from mlops.journal.records import Fate
from mlops.journal.sql import SqlJournal
from tests.fixtures_deployment import Shop
from tests.journal.rows import decision, outcome
from tests.postgresql import PostgreSQL
from tests.waiting import wait_until

_NUMBERS = itertools.count()


@pytest.fixture
def url(database: PostgreSQL) -> str:
    """An empty journal."""
    return f"{database.url}?schema=t{next(_NUMBERS)}"


# Several writers.


def test_writers_that_meet_in_opposite_order_both_get_through(url: str) -> None:
    """Each waits for a row of the other: the database ends one, which tries again."""
    numbers = range(400)
    faults: list[Exception] = []
    fates: list[Fate] = []

    def write(journal: SqlJournal, order: list[int]) -> None:
        try:
            batch = [outcome(number) for number in order]
            rows = [decision(number) for number in order]
            fates.extend(stored.fate for stored in journal.append(rows, batch))
        except JournalUnavailableError as error:
            faults.append(error)

    for turn in range(5):
        order = [turn * 1000 + number for number in numbers]
        journals = [SqlJournal(url), SqlJournal(url)]
        threads = [
            threading.Thread(target=write, args=(journals[0], order)),
            threading.Thread(target=write, args=(journals[1], order[::-1])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for journal in journals:
            journal.close()
    assert not faults
    # Each row was fresh for one of the two only.
    assert fates.count(Fate.ACCEPTED) == fates.count(Fate.DUPLICATE) == 5 * len(numbers)


def test_several_open_a_new_journal_at_once(database: PostgreSQL) -> None:
    fresh = f"{database.url}?schema=fresh"
    faults: list[Exception] = []

    def write(number: int) -> None:
        try:
            journal = SqlJournal(fresh)
            journal.append([decision(number)], [])
            journal.close()
        except Exception as error:  # noqa: BLE001 - a thread's fault is the test's
            faults.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    journal = SqlJournal(fresh)
    assert journal.traffic()[0].drawn == 6
    journal.close()


def test_deployments_share_a_database_and_nothing_else(database: PostgreSQL) -> None:
    red, white = (SqlJournal(f"{database.url}?schema={name}") for name in ("red", "white"))
    red.append([decision(1)], [outcome(1)])
    assert white.traffic() == []
    assert [stored.fate for stored in white.append([], [outcome(1)])] == [Fate.UNMATCHED]
    assert [stored.fate for stored in red.append([], [outcome(1)])] == [Fate.DUPLICATE]
    red.close()
    white.close()


def test_a_user_who_may_not_create_schemas_uses_one_that_is_there(database: PostgreSQL) -> None:
    engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in ("CREATE ROLE clerk LOGIN", "CREATE SCHEMA given AUTHORIZATION clerk"):
            connection.execute(text(statement))
    engine.dispose()
    theirs = database.url.replace("postgres@", "clerk@")
    with pytest.raises(RemoteError) as caught:
        SqlJournal(f"{theirs}?schema=other")
    assert "permission denied" in caught.value.message
    journal = SqlJournal(f"{theirs}?schema=given")
    journal.append([decision(1)], [])
    journal.close()


def test_a_deployment_with_its_journal_in_postgresql(database: PostgreSQL, wine_shop: Shop) -> None:
    """From deploying to the report; and the password is written nowhere."""
    secret = database.url.replace("postgres@", "postgres:hunter2@")
    shop = replace(wine_shop, environ={"MLOPS_JOURNAL_URL": secret})
    said = [shop.ok("deploy", "--ab", "modelA", "modelB", "--json")]
    for _ in range(6):
        request_id, _arm = shop.ask()
        said.append(shop.ok("feedback", "--request-id", request_id, "--reward", "-1"))
    said += [shop.ok("report", "--json"), shop.ok("status", "--json")]
    report = said[-2].document
    assert sum(arm["n"] for arm in report["arms"]) == 6
    said.append(shop.ok("config", "show", "--origin"))
    shop.ok("stop")
    database.stop()
    try:
        down = shop.run("report", "--json")
        assert down.code == 6, down.out + down.err
        # A server starts all the same: predictions do not need the journal.
        said += [down, shop.ok("deploy", "--ab", "modelA", "modelB", "--json")]
        request_id, _arm = shop.ask()
        words = ("feedback", "--request-id", request_id, "--reward", "-1", "--json")
        refused = shop.run(*words)
        assert refused.code == 6, refused.out + refused.err
        (found,) = shop.ok("status", "--json").document["deployments"]
        assert "Predictions go on" in found["warnings"][0]
    finally:
        database.start()
    wait_until(lambda: shop.run(*words).code == 0)
    wait_until(lambda: not shop.ok("status", "--json").document["deployments"][0]["warnings"])
    said.append(shop.ok("report", "--json"))
    assert sum(arm["n"] for arm in said[-1].document["arms"]) == 7
    texts = [item.out + item.err for item in said]
    texts += [p.read_text(errors="replace") for p in shop.where.folder.iterdir() if p.is_file()]
    assert not [text_ for text_ in texts if "hunter2" in text_]

    # Somebody has dropped the journal: that is said before a new one takes its place.
    shop.ok("stop")
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA mlops_wine CASCADE"))
    engine.dispose()
    again = ("deploy", "--ab", "modelA", "modelB", "--dry-run", "--json")
    lost = shop.run(*again)
    assert lost.code == 3
    assert "in PostgreSQL, is empty" in lost.error["message"]
    assert "--new-journal" in lost.error["hint"]
    assert "hunter2" not in lost.out + lost.err
    assert shop.run(*again, "--new-journal").code == 0
