"""An interrupted command says what was done and how to go on."""

from __future__ import annotations

import contextlib
import io

import pytest

import mlops.__main__ as program
from mlops.commands.interrupts import telling
from mlops.commands.progress import PhaseProgress
from tests.fixtures_deployment import Shop


def interrupted(monkeypatch: pytest.MonkeyPatch, phase: str, *words: str) -> str:
    """Run a command that is interrupted in a phase; return what it says."""

    def started(*args: object, **more: object) -> int:
        with contextlib.suppress(KeyboardInterrupt), PhaseProgress() as progress:
            progress.phase(phase)
            raise KeyboardInterrupt
        return 130

    monkeypatch.setattr(program, "program", lambda _: started)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert program.run(list(words)) == 130
    return said.getvalue().splitlines()[-1]


@pytest.mark.parametrize("command", ["deploy", "promote", "rollback", "start"])
def test_before_and_after_a_revision_was_begun(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    early = interrupted(monkeypatch, "Fetching models", command)
    assert early == "Interrupted. Nothing was changed: what was live is live."
    late = interrupted(monkeypatch, "Loading and checking models", command)
    assert "`mlops status`" in late
    assert f"the same `mlops {command}` finishes it" in late


def test_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "KILLED" in interrupted(monkeypatch, "training", "train")


def test_what_was_sent_is_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlops.client.replay import OwnEndpoint

    send_row, seen = OwnEndpoint.send_row, []

    def stop_at_the_50th(self: OwnEndpoint, *row: object) -> None:
        seen.append(row)
        if len(seen) > 50:
            raise KeyboardInterrupt
        send_row(self, *row)  # type: ignore[arg-type]

    monkeypatch.setattr(OwnEndpoint, "send_row", stop_at_the_50th)
    said = shop.run("feedback", "--once")
    assert said.code == 130
    assert "Interrupted. 50 of 400 were sent: accepted 50." in said.err


def test_a_block_tells_only_when_it_is_interrupted() -> None:
    with telling(lambda: pytest.fail("nobody interrupted")):
        pass
