"""Pictures of the live page for the documentation: `python -m tests.docs.screenshots URL`.

URL is that of a server whose deployment has traffic, as one a user would look at. The pictures are
written to `docs/images`.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_IMAGES = Path(__file__).parents[2] / "docs" / "images"
_WIDTH, _COLOURS = 1100, 96
#: Name of each picture, its page, and from where to where it is cut: the first pixel of an element,
#: and the last of another.
PICTURES = (
    ("live-page", "/ui", "header", "#verdict figure"),
    ("live-page-drift", "/ui", "#drift", "#drift .cards"),
)
_LONG_S = 120.0


def take(browser: Chrome, url: str) -> None:
    """Take all pictures of a server."""
    for name, page, first, last in PICTURES:
        size = {"width": _WIDTH, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(url + page)
        deadline = time.monotonic() + _LONG_S
        while browser.execute_script("return document.querySelector('[aria-busy]') !== null"):
            assert time.monotonic() < deadline, "the page is not filled"
            time.sleep(0.2)
        # Some moments of traffic, and charts at rest.
        time.sleep(8)
        top, bottom = (
            browser.execute_script(
                "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
                f"return box.{edge} + scrollY",
                selector,
            )
            for edge, selector in (("top", first), ("bottom", last))
        )
        clip = {"x": 0, "y": top, "width": _WIDTH, "height": bottom - top + 16, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        png = browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        # A page has few colours; so it is a third of the size.
        few = (
            Image.open(io.BytesIO(base64.b64decode(png)))
            .convert("RGB")
            .quantize(_COLOURS, Image.Quantize.MAXCOVERAGE)
        )
        few.save(_IMAGES / f"{name}.png", optimize=True)


def main() -> None:
    """Open a browser and take the pictures."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("headless", "no-sandbox", "hide-scrollbars", f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            take(browser, sys.argv[1].rstrip("/"))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
