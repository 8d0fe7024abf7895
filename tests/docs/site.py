"""Build the documentation site, strictly: `python -m tests.docs.site`. The result is `build/site`.

Links and anchors are checked by Zensical. Pages must not load anything from another host, so that
they work offline and do not tell who reads them. Pages are copied to `build/docs` first, where
links to other files of the repository become links to the pages that show them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from tests.docs.generated import ROOT, write
from tests.docs.house import picture

DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
#: Files beside the documentation, and the pages that show them.
SHOWN = {
    "benchmarks/README.md": "reference/benchmarks.md",
    "cli/mlops/linting/schemas/README.md": "reference/manifest-schemas.md",
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")
_LOADS = {"src", "srcset", "poster", "data", "action"}
_LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "modulepreload"}
#: What the theme would fetch from another host when a page has one of these.
_FETCHED = re.compile(r"""class="[^"]*\b(mermaid|glightbox|pyodide)\b""")
_CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Loads(HTMLParser):
    """Collects the addresses from which a page loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.found += [given[name] for name in _LOADS & given.keys()]
        if tag == "link" and _LOADING_LINKS & set(given.get("rel", "").split()):
            self.found.append(given.get("href", ""))


def requests_to_other_hosts(folder: Path) -> list[str]:
    """Return each file and address where a page or a style sheet loads from another host."""
    loads = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        addresses = _CSS.findall(text)
        if path.suffix == ".html":
            page = _Loads()
            page.feed(text)
            addresses += [address for address in page.found if urlsplit(address).netloc]
            addresses += _FETCHED.findall(text)
        loads += [f"{path.relative_to(folder)}: {address}" for address in addresses]
    return loads


def copy_pages(target: Path) -> None:
    """Copy the documentation, with its links into the repository turned into links to pages."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(DOCS, target)
    for page in DOCS.rglob("*.md"):

        def turned(link: re.Match[str], folder: Path = page.parent) -> str:
            file = os.path.relpath(folder / link[0], ROOT)
            return os.path.relpath(DOCS / SHOWN[file], folder) if file in SHOWN else link[0]

        text = _LINK.sub(turned, page.read_text(encoding="utf-8"))
        (target / page.relative_to(DOCS)).write_text(text, encoding="utf-8")


def main() -> int:
    """Build the site and check it; return the exit code."""
    write(ROOT / "build" / "reference")
    (ROOT / "build" / "reference" / "house.svg").write_text(picture(), encoding="utf-8")
    copy_pages(ROOT / "build" / "docs")
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = Path(sys.executable).parent / "zensical"
    built = subprocess.run([zensical, "build", "--strict", "--clean"], cwd=ROOT, check=False)
    loads = requests_to_other_hosts(SITE) if built.returncode == 0 else []
    for load in loads:
        print(f"loads from another host: {load}", file=sys.stderr)
    return built.returncode or bool(loads)


if __name__ == "__main__":
    sys.exit(main())
