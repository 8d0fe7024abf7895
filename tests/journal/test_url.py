"""Where a journal is: references, schemas, and passwords that stand nowhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlops.deployment.journals import journal_environment, journal_reference
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.engine import open_engine
from mlops.journal.url import has_password, journal_url
from mlops.settings import load_settings

_PG = "postgresql+psycopg://ann@db/shop"


@pytest.mark.parametrize(
    ("reference", "deployment", "expected"),
    [
        ("sqlite:////x/wine.db", "wine", "sqlite:////x/wine.db"),
        (_PG, "wine", f"{_PG}?schema=mlops_wine"),
        (_PG, "red-wine", f"{_PG}?schema=mlops_red_wine"),
        (f"{_PG}?schema=mine", "wine", f"{_PG}?schema=mine"),
        ("postgres://ann:hunter2@db/x?sslmode=require", "wine",
         "postgres://ann:hunter2@db/x?schema=mlops_wine&sslmode=require"),
        ("env:SHOP_JOURNAL", "wine", f"{_PG}?schema=mlops_wine"),
    ],
)  # fmt: skip
def test_a_deployment_has_a_schema_of_its_own(
    monkeypatch: pytest.MonkeyPatch, reference: str, deployment: str, expected: str
) -> None:
    monkeypatch.setenv("SHOP_JOURNAL", f"{_PG}\n")
    assert journal_url(reference, deployment) == expected


def test_long_names_keep_apart() -> None:
    urls = {journal_url(_PG, "x" * 62 + end) for end in "ab"}
    assert len(urls) == 2
    assert all(len(url.rpartition("schema=")[2]) == 63 for url in urls)


def test_what_a_reference_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("sqlite:////x.db\n")
    assert journal_url(f"file:{tmp_path / 'url'}", "wine") == "sqlite:////x.db"
    monkeypatch.delenv("SHOP_JOURNAL", raising=False)
    for reference in ("env:SHOP_JOURNAL", f"file:{tmp_path / 'nowhere'}", f"file:{tmp_path}"):
        with pytest.raises(InvalidInputError) as caught:
            journal_url(reference, "wine")
        assert reference.partition(":")[2] in caught.value.message


@pytest.mark.parametrize(
    ("url", "reference", "variables"),
    [
        ("", "sqlite:///{home}/journal/wine.db", {}),
        (_PG, _PG, {}),
        ("env:SHOP_JOURNAL", "env:SHOP_JOURNAL", {}),
        ("file:secret/url", "file:{project}/secret/url", {}),
        ("postgresql://a:hunter2@db/x", "env:MLOPS_JOURNAL_URL", "itself"),
        ("postgresql://db/x?user=a&password=hunter2", "env:MLOPS_JOURNAL_URL", "itself"),
        ("postgresql://a:hunter2@d b:x/x", "env:MLOPS_JOURNAL_URL", "itself"),
    ],
)
def test_no_password_is_written_down(
    tmp_path: Path, url: str, reference: str, variables: object
) -> None:
    (tmp_path / "mlops.toml").write_text(f'[journal]\nurl = "{url}"\n')
    settings = load_settings(tmp_path, environ={})
    expected = reference.format(home=settings.home, project=tmp_path)
    assert journal_reference(settings, "wine") == expected
    wanted = {"MLOPS_JOURNAL_URL": url} if variables == "itself" else variables
    assert journal_environment(settings, "wine") == wanted


def test_what_has_a_password() -> None:
    assert has_password("postgresql://a:b@h/d")
    assert has_password("postgresql://h/d?password=b")
    assert not has_password("postgresql://a@h/d")
    assert not has_password("sqlite:////a:b@c.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:hunter2@127.0.0.1:1/shop",
        "postgresql+psycopg://127.0.0.1:1/shop?user=ann&password=hunter2",
    ],
)
def test_an_error_has_no_password(url: str) -> None:
    with pytest.raises(RemoteError) as caught:
        open_engine(url)
    assert "127.0.0.1" in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["nonsense hunter2", "mysql://ann:hunter2@db/x", "sqlite+x:///y"])
def test_what_is_no_journal(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_engine(url)
    assert "hunter2" not in caught.value.message
    assert "sqlite:////folder/file.db" in str(caught.value.hint)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidInputError) as caught:
        open_engine("postgresql+psycopg://db/shop")
    assert caught.value.hint == "pip install 'mlops-loop[postgres]'"
