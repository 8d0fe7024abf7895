"""Pages are in the navigation and link to pages that are there; what is generated is complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import mlops
from mlops.settings.schema import SECTIONS
from tests.docs.generated import PARTS, ROOT, commands
from tests.docs.house import layers, picture
from tests.docs.site import SHOWN, requests_to_other_hosts

_DOCS = ROOT / "docs"
_PAGES = sorted(_DOCS.rglob("*.md"))
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)")


def _links(page: Path) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for match in _LINK.finditer(text):
        yield match[1], match[2] or ""


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_DOCS)))
def test_links_stay_in_the_site(page: Path) -> None:
    """The build checks anchors, too; this is quick, and needs no builder."""
    for path, anchor in _links(page):
        target = (page.parent / path).resolve()
        is_shown = str(target.relative_to(ROOT)) in SHOWN
        assert target.is_relative_to(_DOCS) or is_shown, (
            f"{path}{anchor}: the site has no such page"
        )
        assert target.is_file(), f"{path}{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    def named(part: object) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            for each in part.values():
                yield from named(each)
        elif isinstance(part, list):
            for each in part:
                yield from named(each)

    navigation = list(named(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(navigation) == sorted(str(page.relative_to(_DOCS)) for page in _PAGES)


def test_the_reference_is_complete() -> None:
    text = {name: part() for name, part in PARTS.items()}
    for words, command in commands():
        [section] = re.findall(
            rf"^## mlops {words}\n(.*?)(?=^## |\Z)",
            text["command-line.md"],
            re.DOTALL | re.MULTILINE,
        )
        shown = [option for option in command.params if not getattr(option, "hidden", False)]
        for option in shown:
            if option.param_type_name == "option":
                assert f"`{option.opts[-1]}`" in section, words
    for section, record in SECTIONS.items():
        assert f"## [{section}]" in text["settings.md"]
        for item in fields(record):
            assert f"| `{item.name}` |" in text["settings.md"]
    for names in layers():
        assert all(name in picture() for name in names)


def test_the_python_api_is_documented() -> None:
    page = (_DOCS / "reference" / "python.md").read_text()
    for name in set(mlops.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", page), name


def test_requests_to_other_hosts_are_found(tmp_path: Path) -> None:
    def found(page: str, style: str = "") -> list[str]:
        (tmp_path / "page.html").write_text(page)
        (tmp_path / "style.css").write_text(style)
        return [line.partition(": ")[2] for line in requests_to_other_hosts(tmp_path)]

    assert found('<a href="https://a.example/">link</a><img src="own.png">') == []
    assert found('<script src="https://a.example/x.js"></script>') == ["https://a.example/x.js"]
    assert found('<link rel="stylesheet" href="//a.example/x.css">') == ["//a.example/x.css"]
    assert found("", "@import 'https://a.example/x.css';") == ["https://a.example/x.css"]
    assert found("", "a { background: url(https://a.example/x.png) }") == [
        "https://a.example/x.png"
    ]
    assert found('<pre class="mermaid">') == ["mermaid"]
