"""The page of a project, and the live page of a deployment below it, in a real browser."""

from __future__ import annotations

import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from mlops.workflows.project_page import served
from tests.axe import axe_faults
from tests.fixtures_deployment import Shop
from tests.requirements import require
from tests.waiting import wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_MLFLOW = "http://127.0.0.1:9/"
_LONG_S = 60.0


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    """The page of the shop's project, with some requests and labels in it."""
    for truth in range(6):
        request_id, _ = shop.ask()
        shop.post("/feedback", {"request_id": request_id, "truth": 4 + truth % 3})
    with socket.create_server(("127.0.0.1", 0)) as sock, served(shop.settings, _MLFLOW, sock):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def _get(url: str, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=named), timeout=30
        ) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_all_deployments_are_listed(url: str, shop: Shop) -> None:
    status, html = _get(url)
    assert status == 200
    assert f'href="d/{shop.name}/ui"' in html
    assert f'href="{_MLFLOW}"' in html
    assert "running" in html
    assert "requests to these models since the start" in html


def test_pages_of_a_deployment_are_below_it_and_nothing_else_is(url: str, shop: Shop) -> None:
    base = f"{url}/d/{shop.name}"
    assert _get(f"{base}/ui")[0] == 200
    assert "All deployments" in _get(f"{base}/ui")[1]
    assert _get(f"{base}/ui/requests")[0] == 200
    assert _get(f"{base}/report")[0] == 200
    for path in ("metrics", "v2", "uix", "ui/../metrics", "%2e%2e/metrics", ""):
        assert _get(f"{base}/{path}")[0] == 404, path
    assert _get(f"{url}/d/beer/ui")[0] == 404
    # Predictions are asked of the server, and pages of other origins get nothing.
    request = urllib.request.Request(f"{base}/invocations", data=b"{}")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, timeout=30)
    assert _get(url, host="evil.example")[0] == 403
    assert _get(f"{base}/ui", origin="http://evil.example")[0] == 403


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require("chromium", binary and driver, "chromium and its driver are not on PATH")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-dev-shm-usage", "disable-background-networking", "disable-component-update",
        "disable-sync", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(str(driver)))
    yield chromium
    chromium.quit()


def _look(browser: Chrome, address: str, width: int = 1280, scheme: str = "light") -> None:
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(address)


def _wait(browser: Chrome, script: str) -> Any:
    deadline = time.monotonic() + _LONG_S
    while not (found := browser.execute_script(f"return {script}")):
        assert time.monotonic() < deadline, script
        time.sleep(0.05)
    return found


def _complaints(browser: Chrome) -> list[Any]:
    # What the policy forbade is among them.
    entries: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
    return entries


def _is_filled(browser: Chrome) -> None:
    _wait(browser, "document.querySelector('#state').textContent === 'live'")
    _wait(browser, "!document.querySelector('[data-part][aria-busy]')")


def test_the_live_page_works_behind_a_prefix(url: str, shop: Shop, browser: Chrome) -> None:
    _look(browser, url)
    _wait(browser, "document.querySelector('#state').textContent === 'live'")
    browser.execute_script("document.querySelector('.deployment a').click()")
    _wait(browser, "document.querySelector('h1')?.textContent.includes('revision')")
    _is_filled(browser)
    shop.ask()
    _wait(browser, "document.querySelector('[data-now=requests]').textContent !== '\u2013'")
    _wait(browser, "document.querySelectorAll('canvas').length >= 3")
    found = browser.execute_script("return document.querySelector('#verdict').innerText")
    assert "minus" in found
    # Every link leads somewhere.
    links = browser.execute_script(
        "return [...document.querySelectorAll('a[href]')].map((a) => a.href)"
    )
    assert links
    for link in set(links):
        assert link.startswith(url)
        assert _get(link.partition("#")[0])[0] == 200, link
    assert _complaints(browser) == []
    # A hidden page is not sent to.
    browser.execute_script(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert browser.execute_script("return document.querySelector('#state').textContent") == "paused"


def test_a_request_is_explained_where_it_is_shown(url: str, shop: Shop, browser: Chrome) -> None:
    request_id, arm = shop.ask()
    base = f"{url}/d/{shop.name}/ui/requests"
    wait_until(lambda: f'href="requests/{request_id}"' in _get(f"{base}?q={request_id}")[1])
    _look(browser, f"{base}?q={request_id}")
    browser.execute_script("document.querySelector('tbody a').click()")
    _wait(browser, "document.querySelector('[data-explain]')")
    assert arm in browser.execute_script("return document.querySelector('.facts').innerText")
    # What comes is tested where a process that explains is started anyway.
    browser.execute_script("window.fetch = async () => new Response('<p>why</p>')")
    browser.execute_script("document.querySelector('[data-explain]').click()")
    _wait(browser, "document.querySelector('#explanation p')?.textContent === 'why'")
    assert (
        browser.execute_script("return document.querySelector('[data-explain]').disabled") is False
    )
    assert _complaints(browser) == []


# A stream that this test sends, and a server whose answer it chooses.
_PLAYED = """
sessionStorage.loads = Number(sessionStorage.loads || 0) + 1;
window.EventSource = class {
  static CLOSED = 2;
  constructor() { this.on = {}; this.readyState = 1; window.played = this; }
  addEventListener(name, heard) { this.on[name] = heard; }
  close() {}
  fire(name, data) { this.on[name]({ data: JSON.stringify(data) }); }
};
window.fetch = async () => {
  return new Response('seats are taken', { status: Number(sessionStorage.status) });
};
"""


def test_a_page_is_loaded_again_for_a_newer_revision_and_to_sign_in(
    url: str, shop: Shop, browser: Chrome
) -> None:
    def loads() -> int:
        _wait(browser, "window.played !== undefined && document.readyState === 'complete'")
        return int(browser.execute_script("return Number(sessionStorage.loads)"))

    def refused(status: int) -> None:
        script = "sessionStorage.status = arguments[0]; played.readyState = 2; played.fire('error')"
        browser.execute_script(script, status)

    script = {"source": _PLAYED}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        _look(browser, f"{url}/d/{shop.name}/ui")
        browser.execute_script("sessionStorage.loads = 1; sessionStorage.reloaded = 0")
        # Servers of the revision before are still there during a rollout.
        told = "played.fire('now', { arms: {}, faults: [], revision: arguments[0] })"
        browser.execute_script(told, 0)
        assert loads() == 1
        refused(503)
        _wait(browser, "document.querySelector('#state').textContent === 'seats are taken'")
        assert browser.execute_script("return document.body.classList.contains('stale')")
        assert loads() == 1
        browser.execute_script(f"played.old = true; {told}", 99)
        _wait(browser, "window.played && !played.old")
        assert loads() == 2
        # That page came from one of them as well: not a second later again.
        before = browser.execute_script("return sessionStorage.reloaded")
        browser.execute_script(told, 99)
        assert browser.execute_script("return sessionStorage.reloaded") == before
        browser.execute_script("played.old = true")
        refused(401)
        _wait(browser, "window.played && !played.old")
        assert loads() == 3
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


_RULES = """
const problems = [];
const all = (selector) => [...document.querySelectorAll(selector)];
const must = (good, what) => { if (!good) problems.push(what); };
must(all('h1').length === 1, 'one h1');
let level = 0;
for (const each of all('h1,h2,h3,h4')) {
  const next = Number(each.tagName[1]);
  must(next <= level + 1, 'heading ' + each.textContent);
  level = next;
}
for (const name of ['header', 'nav', 'main', 'footer']) must(all(name).length, name);
for (const each of all('input:not([type=hidden]), select')) must(each.labels.length, each.name);
const shown = '[aria-hidden=true], [role=img][aria-label]';
for (const each of all('canvas, svg')) must(each.closest(shown), each.outerHTML.slice(0, 80));
for (const each of all('th:not(.u-legend th)')) must(each.scope, 'scope of ' + each.textContent);
const ids = all('[id]').map((each) => each.id);
must(new Set(ids).size === ids.length, 'the same id twice');
for (const each of all('section')) must(each.getAttribute('aria-labelledby'), each.id);
return problems;
"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_every_page_is_readable_by_all(
    url: str, shop: Shop, browser: Chrome, width: int, scheme: str
) -> None:
    request_id, _ = shop.ask()
    base = f"{url}/d/{shop.name}/ui"
    wait_until(lambda: _get(f"{base}/requests/{request_id}")[0] == 200)
    checks: list[Callable[[Chrome], list[str]]] = [
        lambda at: at.execute_script(_RULES),
        axe_faults,
    ]
    for address in (url, base, f"{base}/requests", f"{base}/requests/{request_id}"):
        _look(browser, address, width, scheme)
        if address == base:
            _is_filled(browser)
        browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        for check in checks:
            assert check(browser) == [], address
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(21, 22, 26)") == (scheme == "dark")
    # The first thing that a keyboard reaches leads past the navigation.
    first = "return document.querySelector('a, button, input, [tabindex]').className"
    assert browser.execute_script(first) == "skip"
