"""The page that shows the OpenAPI document works, also without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.requirements import require

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
from tests.serving.documented_server import TOKEN, House, Json, operations

# The page


def page(house: House) -> str:
    return house.call("/docs")[2].decode()


def test_the_page_loads_nothing_from_elsewhere(house: House) -> None:
    status, headers, body = house.call("/docs")
    text = body.decode()
    assert status == 200
    own = re.sub(r'<script type="application/json".*', "", text)
    assert not re.search(r"https?:|[\"'(]//[a-z]|@import", own)
    assert not re.search(r"url\(|\ssrc=", own.split("<script")[0])
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy


def test_the_page_embeds_the_document_and_no_markup_of_names(house: House) -> None:
    text = page(house)
    embedded = re.search(r'<script type="application/json" id="document">(.*?)</script>', text)
    assert embedded
    assert json.loads(embedded[1]) == json.loads(house.call("/openapi.json")[2])
    assert text.count("</script>") == 2
    assert "<img" not in text


# The page in a browser


def click(browser: Chrome, selector: str) -> str:
    """Press a button of the page; return the answer that then stands below it."""
    box = selector.rpartition(" ")[0]
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)
    for _ in range(200):
        text: str = browser.execute_script(
            "return document.querySelector(arguments[0] + ' .result').innerText", box
        )
        if text and "Sending" not in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"No answer below `{selector}`.")


def complaints(browser: Chrome) -> list[Json]:
    """What the browser's console says: errors of the script, and what the policy forbade."""
    entries: list[Json] = browser.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
    return entries


def test_the_two_steps_of_feedback_work_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs")
    assert browser.title == "wine · API"
    assert browser.execute_script("return document.querySelector('#step-2 .go').disabled")
    answer = click(browser, "#step-1 .go")
    assert "200 OK" in answer
    assert '{"predictions": [5.6]}' in answer
    assert re.search(r"x-mlops-request-id\s+[A-Za-z0-9_-]{48}", answer)
    answer = click(browser, "#step-2 .go")
    assert '"accepted": 1' in answer
    assert complaints(browser) == []


def test_every_operation_can_be_tried_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs")
    click(browser, "#step-1 .go")
    for path, method, operation in operations(house.document()):
        identity = f"#op-{operation['operationId']}"
        browser.execute_script("document.querySelector(arguments[0]).open = true", identity)
        time.sleep(0.05)
        answer = click(browser, f"{identity} .go")
        assert answer.startswith("200 "), (path, method, answer)
        # Unfold everything, twice for what is folded inside.
        for _ in range(3):
            browser.execute_script(
                "document.querySelectorAll(arguments[0] + ' .fold').forEach(f => f.open = true)",
                identity,
            )
            time.sleep(0.02)
    assert browser.title == "wine · API"
    assert browser.execute_script("return document.images.length") == 0
    assert complaints(browser) == []


def test_an_arm_can_be_asked_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs#op-invocations")
    time.sleep(0.1)
    browser.execute_script(
        "[...document.querySelectorAll('#op-invocations select')]"
        ".find(s => [...s.options].some(o => o.value === 'new')).value = 'new'"
    )
    assert re.search(r"x-mlops-arm\s+new", click(browser, "#op-invocations .go"))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(house: House, browser: Chrome, width: int) -> None:
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(house.url + "/docs")
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    time.sleep(0.3)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("house", ["", TOKEN], indirect=True, ids=["open", "token"])
def test_the_shell_script_of_the_page_works(house: House, browser: Chrome, tmp_path: Path) -> None:
    require("curl", shutil.which("curl") and shutil.which("bash"), "curl or bash is not on PATH")
    if house.token:
        browser.execute_cdp_cmd("Network.enable", {})
        headers = {"headers": {"Authorization": f"Bearer {house.token}"}}
        browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", headers)
    browser.get(house.url + "/docs")
    browser.execute_script("document.querySelector('.script details').open = true")
    time.sleep(0.1)
    script = browser.execute_script("return document.querySelector('#script').textContent")
    assert house.token not in script or not house.token
    environment = {"MLOPS_TOKEN": house.token, "PATH": "/usr/bin:/bin", "HOME": "/"}
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, cwd=tmp_path, env=environment, check=True
    )
    assert json.loads(done.stdout)["counts"] == {"accepted": 1}
