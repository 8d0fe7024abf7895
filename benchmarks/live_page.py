"""The live page: bytes, time to first paint, and processor time of browser and server.

    python benchmarks/live_page.py [--rate 1000] [--seconds 20] [--rounds 3]

An A/B test of two wine models gets requests at a steady rate from a process of its own, over 8
connections. Rounds without a viewer, with one browser (Chromium, headless), and with 32 streams
that a plain client reads, alternate; processor time is that of the processes, in per cent of one
core. The process that reads the journal for the page is counted by itself. Latencies are the
server's own, from its journal's counters at `/metrics`: mean and share beyond 5 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from common import machine, run, split_body, state_of, wine_project, wine_rows

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_TICK = os.sysconf("SC_CLK_TCK")
_STREAMS = 32
_LOAD = """
import socket, sys, threading, time
host, port, rate, path = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
body = open(path, "rb").read()
head = f"POST /invocations HTTP/1.1\\r\\nhost: {host}:{port}\\r\\n"
head += "content-type: application/json\\r\\n"
text = head.encode() + b"content-length: %d\\r\\n\\r\\n" % len(body) + body
def send(first, step):
    s = socket.create_connection((host, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = time.perf_counter() + first
    while True:
        time.sleep(max(0, at - time.perf_counter()))
        s.sendall(text)
        s.recv(65536)
        at = max(at + step, time.perf_counter() - 1)
for n in range(8):
    threading.Thread(target=send, args=(n / rate, 8 / rate)).start()
"""


def main(rate: float, seconds: float, rounds: int) -> None:
    print(machine())
    with wine_project() as project:
        run("deploy", "--ab", "wine/1", "wine/2", cwd=project)
        pid, url = int(str(state_of(project)["pid"])), _url_of(project)
        with _load(project, url, rate):
            time.sleep(3)
            _print_bytes(url)
            found: dict[str, list[tuple[float, ...]]] = {}
            for _ in range(rounds):
                for name, viewers in (
                    ("nobody looks", _nobody),
                    ("one browser", _one_browser),
                    (f"{_STREAMS} streams", _streams),
                ):
                    with viewers(url) as browser:
                        time.sleep(8)
                        found.setdefault(name, []).append(_measured(pid, url, browser, seconds))
            print(f"at {rate:g} requests/s, medians of {rounds} rounds of {seconds:g} s:")
            heads = ("server", "journal reader", "browser", "requests/s", "mean ms", "above 5 ms")
            print(f"{'':16}" + "".join(f"{head:>16}" for head in heads))
            for name, rows in found.items():
                columns = [statistics.median(column) for column in zip(*rows, strict=True)]
                units = ("%", "%", "%", "", "", "%")
                cells = (f"{value:.3g} {unit}" for value, unit in zip(columns, units, strict=True))
                print(f"{name:16}" + "".join(f"{cell:>16}" for cell in cells))


def _url_of(project: Path) -> str:
    said = json.loads(run("status", "--json", cwd=project))
    return str(said["deployments"][0]["url"])


@contextlib.contextmanager
def _load(project: Path, url: str, rate: float) -> Iterator[None]:
    header, rows = wine_rows(project)
    body = project / "body.json"
    body.write_text(json.dumps(split_body(header, [rows[0]])))
    where = urlsplit(url)
    sender = [sys.executable, "-c", _LOAD, str(where.hostname), str(where.port), str(rate)]
    with subprocess.Popen([*sender, str(body)]) as process:
        try:
            yield
        finally:
            process.kill()


def _print_bytes(url: str) -> None:
    """Print what a browser loads, when it paints, and what a stream has in a second."""
    with _browser() as browser:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.get(f"{url}/ui")
        time.sleep(1)
        paint, loaded = browser.execute_script(
            "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            "performance.getEntriesByType('resource').concat("
            "performance.getEntriesByType('navigation')).map((e) => [e.name, e.transferSize])]"
        )
        print(f"first paint, nothing in the cache: {paint:.0f} ms")
        total = 0
        for name, size in loaded:
            total += size
            print(f"  {size:9,} bytes  {urlsplit(name).path}")
        print(f"  {total:9,} bytes in all; style and script are kept from then on")
        browser.get(f"{url}/ui")
        time.sleep(1)
        again = browser.execute_script(
            "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        print(f"first paint, with them in the cache: {again:.0f} ms")
    events = _stream(url)
    began, size, now = time.monotonic(), 0, []
    while time.monotonic() < began + 15:
        line = events.readline()
        size += len(line)
        if line.startswith(b'data: {"t":'):
            now.append(len(line))
    events.close()
    print(f"stream: {statistics.median(now):.0f} bytes each second, {size:,} in the first 15 s")


def _measured(pid: int, url: str, browser: int, seconds: float) -> tuple[float, ...]:
    reader = _child(pid, "mlops.live_page")
    before = [_spent_s(each) for each in (pid, reader)], _tree_s(browser), _latency(url)
    time.sleep(seconds)
    after = [_spent_s(each) for each in (pid, reader)], _tree_s(browser), _latency(url)
    shares = [100 * (b - a) / seconds for a, b in zip(before[0], after[0], strict=True)]
    shares.append(100 * (after[1] - before[1]) / seconds)
    count, total_s, slow = (b - a for a, b in zip(before[2], after[2], strict=True))
    return (*shares, count / seconds, 1000 * total_s / count, 100 * slow / count)


def _latency(url: str) -> tuple[float, float, float]:
    """Return answered requests, the sum of their latencies, and how many took more than 5 ms."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()

    def add(pattern: str) -> float:
        return sum(float(value) for value in re.findall(pattern, text, re.MULTILINE))

    name = "^mlops_request_duration_seconds"
    count = add(rf"{name}_count{{.*}} (\S+)$")
    quick = add(rf'{name}_bucket{{.*le="0.005".*}} (\S+)$')
    return count, add(rf"{name}_sum{{.*}} (\S+)$"), count - quick


@contextlib.contextmanager
def _nobody(url: str) -> Iterator[int]:
    # The process that reads the journal ends a minute after the last question.
    yield 0


@contextlib.contextmanager
def _one_browser(url: str) -> Iterator[int]:
    with _browser() as browser:
        browser.get(f"{url}/ui")
        yield browser.service.process.pid


@contextlib.contextmanager
def _streams(url: str) -> Iterator[int]:
    streams = [_stream(url) for _ in range(_STREAMS)]

    def read(stream: http.client.HTTPResponse) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while stream.readline():
                pass

    for each in streams:
        threading.Thread(target=read, args=(each,), daemon=True).start()
    yield 0
    for each in streams:
        with contextlib.suppress(OSError):
            each.fp.raw._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]  # http.client's


def _stream(url: str) -> http.client.HTTPResponse:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    connection.request("GET", "/ui/events")
    return connection.getresponse()


@contextlib.contextmanager
def _browser() -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("headless", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()


def _child(pid: int, module: str) -> int:
    """Return the process below another that runs a module; 0 if there is none."""
    for each in _below(pid):
        with contextlib.suppress(OSError):
            if module.encode() in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0"):
                return each
    return 0


def _below(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *_below(child)]
    return found


def _tree_s(pid: int) -> float:
    return sum(map(_spent_s, (pid, *_below(pid)))) if pid else 0.0


def _spent_s(pid: int) -> float:
    """Return the processor time of a process, in seconds; 0 for none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    main(options.rate, options.seconds, options.rounds)
