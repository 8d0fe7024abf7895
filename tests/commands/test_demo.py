"""What `mlops demo` does by the verdict; the whole of it runs in `tests/story`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.commands import demo as command
from mlops.workflows.demo import StoryEnd

_BEGINNING = ["init", "train", "train", "deploy", "feedback", "report"]
_ONCE_MORE = ["feedback", "report"]


@pytest.mark.parametrize(
    ("winners", "end"),
    [
        (["modelA"], ["promote"]),
        ([None, "modelA"], [*_ONCE_MORE, "promote"]),
        ([None, None, None], [*_ONCE_MORE, *_ONCE_MORE]),
    ],
)
def test_more_traffic_until_there_is_a_winner(
    winners: list[str | None],
    end: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ends = (StoryEnd("wine", winner, "http://127.0.0.1:8080", "curl") for winner in winners)
    told: list[str] = []
    monkeypatch.setattr(command, "_tell", lambda _, words: told.append(words[0]))
    monkeypatch.setattr("mlops.workflows.demo.story_end", lambda: next(ends))
    monkeypatch.chdir(tmp_path)

    command.demo(tmp_path / "shop")

    assert told == [*_BEGINNING, *end, "history"]
    assert ("no winner yet" in capsys.readouterr().err) == (winners[-1] is None)
