"""Alarms reach a webhook once, whatever it answers first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from mlops.consumers.base import Batch, Context
from mlops.consumers.runner import Runner
from mlops.consumers.webhook import Webhook, post, text_of
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.consumer_records import Alarm
from mlops.journal.sql import SqlJournal
from tests.webhook import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as opened:
        yield opened


def alarm(feature: str) -> Alarm:
    return Alarm(f"drift/m/{feature}", 1, "drift", 1, f"Drift in {feature}.", {"feature": feature})


@pytest.mark.parametrize("status", [503, 302, 404])
def test_it_waits_until_somebody_takes_it(
    tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("ALERTS_URL", f"{hook.url}/secret")
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    now = [1e9]
    context = Context("wine", journal, {"webhook": "env:ALERTS_URL"})
    consumer = Webhook(context, lambda: now[0])
    runner = Runner(journal, "alerts", consumer, "me", lambda: now[0])

    def step() -> None:
        runner.step()
        now[0] += 3

    step()
    assert hook.asked == []
    hook.refuse, hook.status = 2, status
    journal.raise_alarms([alarm("alcohol"), alarm("pH")])
    for _ in range(4):
        step()
    # It was asked at the place that was named, and nowhere else.
    assert hook.asked == ["/secret"] * 3
    assert hook.texts == ["Drift in alcohol.\nDrift in pH."]
    # An alarm that is raised again is the same; a new one goes alone.
    journal.raise_alarms([alarm("alcohol"), alarm("density")])
    for _ in range(2):
        step()
    assert hook.texts[1:] == ["Drift in density."]
    assert len(set(hook.keys)) == 2
    assert all(each.sent_ms for each in journal.alarms())
    (progress,) = journal.progress(0)
    assert (progress.failed, progress.fault) == (2, "")
    journal.close()


def test_names_in_alarms_are_no_mentions() -> None:
    text = text_of([alarm("<!channel> & <http://x.example>")])
    assert text == "Drift in &lt;!channel&gt; &amp; &lt;http://x.example&gt;."


def test_the_url_is_not_told(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_URL", f"{hook.url}/T0/secret")
    hook.refuse = 1
    with pytest.raises(RemoteError) as refused:
        post("env:ALERTS_URL", "hello", "1")
    assert refused.value.message == "The webhook of `env:ALERTS_URL` answered 503."
    monkeypatch.setenv("ALERTS_URL", "http://127.0.0.1:1/T0/secret")
    with pytest.raises(RemoteError) as away:
        post("env:ALERTS_URL", "hello", "1")
    assert "cannot be reached" in away.value.message
    assert "secret" not in away.value.message
    for text in (
        "ftp://example.com/x", "secret", f"{hook.url}/T0/secret next", f"{hook.url}/T0/sécret",
        "https://ann:secret@127.0.0.1/x", "http://[secret", "http://127.0.0.1:secret/x",
        f"http://{'secret' * 11}.example/x",
    ):  # fmt: skip
        monkeypatch.setenv("ALERTS_URL", text)
        with pytest.raises(InvalidInputError, match="no URL of a webhook") as wrong:
            post("env:ALERTS_URL", "hello", "1")
        assert "secret" not in f"{wrong.value.message}{wrong.value.hint}"


def test_alarms_from_before_the_webhook_was_set_are_no_news(
    tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS_URL", hook.url)
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    nothing = Batch(journal.decisions(0, 0, 1), [])
    journal.raise_alarms([alarm("alcohol")])
    for new in ("pH", "density"):
        # By another process each time.
        consumer = Webhook(Context("wine", journal, {"webhook": "env:ALERTS_URL"}))
        assert consumer.consume(nothing).sent == (new == "density")
        journal.raise_alarms([alarm(new)])
    assert consumer.consume(nothing).sent == 1
    assert hook.texts == ["Drift in pH.", "Drift in density."]
    journal.close()


def test_what_cannot_be_recorded_comes_again_as_the_same_message(
    tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS_URL", hook.url)
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    nothing = Batch(journal.decisions(0, 0, 1), [])
    consumer = Webhook(Context("wine", journal, {"webhook": "env:ALERTS_URL"}))
    consumer.consume(nothing)
    journal.raise_alarms([alarm("alcohol"), alarm("pH")])
    # It fails at the second.
    with journal._engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER fails BEFORE UPDATE ON alarms WHEN NEW.id = 'drift/m/pH' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(IntegrityError):
        consumer.consume(nothing)
    with journal._engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER fails")
    consumer.consume(nothing)
    assert hook.texts == ["Drift in alcohol.\nDrift in pH."] * 2
    assert len(set(hook.keys)) == 1
    journal.close()
