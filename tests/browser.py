"""Chromium, driven by selenium: one for all tests, which finds nothing of the test before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.requirements import require

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-dev-shm-usage", "disable-background-networking", "disable-component-update"),
    "disable-sync",
    # A name that an attacker has rebound to this machine.
    "host-resolver-rules=MAP evil.example 127.0.0.1",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Return the browser of all tests; use `browser`."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require("chromium", binary and driver, "chromium and its driver are not on PATH")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for flag in (*_FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(str(driver)))
    yield running
    running.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """Return the browser with an empty page in a new tab, and nothing in its console."""
    before = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    yield chromium
    chromium.delete_all_cookies()
    chromium.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
    chromium.close()
    chromium.switch_to.window(before)
