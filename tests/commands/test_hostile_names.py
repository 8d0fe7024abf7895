"""Names, parameters and errors that others wrote reach a terminal as text, in every command."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pytest

from mlops.registry import open_registry
from tests.fixtures_deployment import Shop
from tests.fixtures_training import TrainedWine

#: Sets a terminal's title, clears it, and closes a tag of Rich that was not opened.
EVIL = "a[/bold] [red]b \x1b]0;owned\x07\x1b[2J"
#: The same as the name of a model, which has no slash.
NAME = EVIL.replace("/", "")
_OWN_STYLES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def hostile(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A project whose registry holds a model that means harm; nothing runs."""
    folder = tmp_path_factory.mktemp("hostile") / "wine"
    shutil.copytree(trained_wine.folder, folder)
    made = Shop(folder)
    client = open_registry(made.settings)
    wine = client.get_model_version("wine", "2")
    run = wine.run_id
    assert run
    client.log_param(run, "paths", "[/data/a.csv, /data/b.csv]" + EVIL)
    client.log_param(run, "layers", "[relu, tanh]")
    client.set_tag(run, "mlflow.runName", EVIL)
    client.set_tag(run, "mlflow.source.git.commit", EVIL)
    client.set_tag(run, "mlflow.user", EVIL)
    client.create_registered_model(NAME, description=EVIL)
    client.create_model_version(NAME, wine.source, run, description=EVIL)
    return made


WALK = [
    ("models", "list"),
    ("models", "list", "--all"),
    ("models", "show", "wine/2"),
    ("models", "show", EVIL),
    ("models", "show", NAME),
    ("models", "show", f"{NAME}@{NAME}"),
    ("models", "compare", "wine/1", "wine/2"),
    ("models", "compare", "wine/1", "wine/2", "--all"),
    ("models", "compare", "wine/1", NAME),
    ("models", "alias", NAME, "best"),
    ("models", "pull", NAME, "copy", "--dry-run"),
    ("models", "push", NAME, "pushed", "--dry-run"),
    ("lineage", "wine/2"),
    ("lineage", NAME),
    ("deploy", "--ab", "wine/1", NAME, "--dry-run"),
    ("deploy", "--name", EVIL, "--model", "wine/1", "--dry-run"),
    ("status", EVIL),
    ("report", EVIL),
    ("history", EVIL),
    ("logs", EVIL),
    ("stop", EVIL),
    ("promote", EVIL),
    ("rollback", EVIL),
    ("predict", EVIL, "--data", EVIL),
    ("feedback", "--data", EVIL),
    ("feedback", "--request-id", EVIL, "--truth", EVIL),
    ("journal", "void", EVIL, "--request-id", EVIL, "--reason", EVIL),
    ("train", EVIL),
    ("train", "-P", f"{EVIL}=1"),
    ("train", "-e", EVIL),
    ("project", "show", EVIL),
    ("lint", EVIL),
    ("stores", "check", f"s3://{EVIL}"),
]


@pytest.mark.parametrize(
    "words", WALK, ids=lambda words: " ".join(words)[:30].encode("unicode_escape").decode()
)
def test_a_walk(hostile: Shop, words: tuple[str, ...]) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(Path(hostile.folder, "copy"))
    said = hostile.run(*words)
    assert said.code in (0, 1, 2, 3, 4, 5, 6, 7), said.err
    for text in (said.out, said.err):
        assert "Traceback" not in text
        assert "\x1b" not in _OWN_STYLES.sub("", text), text
        assert "\x07" not in text


def test_brackets_are_shown(hostile: Shop) -> None:
    assert "[relu, tanh]" in hostile.ok("models", "compare", "wine/1", "wine/2", "--all").out
