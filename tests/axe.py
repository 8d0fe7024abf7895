"""axe-core, which knows the rules of accessible pages; for tests only.

It is under the Mozilla Public License 2.0 and stays in a cache outside the checkout, where
`python -m tests.axe` puts it with npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.requirements import require

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")
_VERSION = "4.14.1"
_FILE = _CACHE / f"axe-core-{_VERSION}.min.js"


def axe_faults(browser: Chrome) -> list[str]:
    """Return what axe has to say against the page that is open; skips the test without axe."""
    require("axe", _FILE.is_file(), "axe-core is not in the cache: `python -m tests.axe`")
    browser.execute_script(_FILE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations))"
    )
    return [
        f"{each['id']}: {node['html'][:120]} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


def main() -> None:
    """Put it into the cache."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    assert npm, "npm is not on PATH"
    subprocess.run([npm, "pack", "--silent", f"axe-core@{_VERSION}"], cwd=_CACHE, check=True)
    packed = _CACHE / f"axe-core-{_VERSION}.tgz"
    with tarfile.open(packed) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        _FILE.write_bytes(file.read())
    packed.unlink()


if __name__ == "__main__":
    main()
