"""Files of outcomes: what they are recognised by, and what one bad cell does."""

from __future__ import annotations

import os
from pathlib import Path

from tests.client.test_outcome_files import write_to
from tests.fixtures_deployment import Shop


def test_one_bad_cell_refuses_its_line_only(shop: Shop, tmp_path: Path) -> None:
    ids = [shop.ask()[0] for _ in range(16)]
    rewards = ["-0.5", *["-1"] * 13, "12,50", "-2"]
    lines = [f'{each},"{reward}"' for each, reward in zip(ids, rewards, strict=True)]
    file = tmp_path / "late.csv"
    # Without quotes it is a cell too many.
    lines += [f"{ids[14]},12,50", ""]
    file.write_text("\n".join(["request_id,reward", f"{ids[14]}", *lines]))
    said = shop.run("feedback", "--data", str(file))
    assert said.code == 3
    assert said.out == "feedback: accepted 15, malformed 3\n"
    assert "line 2: malformed: 1 cell, but the header has 2" in said.err
    assert "line 19: malformed: 3 cells, but the header has 2" in said.err
    assert "line 17: malformed: a reward must be a finite number, not '12,50'" in said.err
    assert "line 3:" not in said.err


def test_a_pipe_with_outcomes_and_one_with_rows(shop: Shop, tmp_path: Path) -> None:
    pipe = tmp_path / "63"
    os.mkfifo(pipe)
    outcomes = f"request_id,outcome_id,reward\n{shop.ask()[0]},o-1,-0.5\n"
    writer = write_to(pipe, outcomes.encode())
    assert shop.ok("feedback", "--data", str(pipe), "--json").document["counts"] == {"accepted": 1}
    writer.join()
    rows = (shop.folder / "data" / "customers.csv").read_text().splitlines(keepends=True)
    writer = write_to(pipe, "".join(rows[:4]).encode())
    words = ("--data", str(pipe), "--truth-column", "quality", "--once", "--json")
    assert shop.ok("feedback", *words).document["counts"] == {"accepted": 3}
    writer.join()
