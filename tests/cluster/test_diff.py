from __future__ import annotations

from typing import Any

from mlops.cluster.diff import difference, same


def of(kind: str = "ConfigMap", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, **more}


def test_what_only_the_server_writes_is_no_difference() -> None:
    before = of(data={"x": "1"}, status={"seen": 1})
    before["metadata"] |= {"resourceVersion": "1", "generation": 1, "uid": "u"}
    before["metadata"]["managedFields"] = [{"manager": "mlops"}]
    after = of(data={"x": "1"}, status={"seen": 2})
    assert same(before, after)
    assert difference(before, after) == ()
    assert not same(before, of(data={"x": "2"}))


def test_a_change_reads_as_a_diff_of_yaml() -> None:
    before, after = of(data={"x": "1", "text": "a\nb\n"}), of(data={"x": "2", "text": "a\nb\n"})
    lines = difference(before, after)
    assert lines[:2] == ("--- live/ConfigMap/a", "+++ applied/ConfigMap/a")
    assert "-  x: '1'" in lines
    assert "+  x: '2'" in lines
    # Texts of several lines are read as such.
    assert "   text: |" in lines


def test_what_comes_and_what_goes() -> None:
    assert difference(None, of())[:2] == ("--- /dev/null", "+++ applied/ConfigMap/a")
    assert difference(of(), None)[:2] == ("--- live/ConfigMap/a", "+++ /dev/null")


def test_values_of_secrets_are_never_shown() -> None:
    before = of("Secret", data={"same": "aHVudGVyMQ==", "other": "aHVudGVyMg=="})
    after = of("Secret", data={"same": "aHVudGVyMQ==", "other": "aHVudGVyMw==", "new": "aHVu"})
    for pair in ((before, after), (None, after), (before, None)):
        text = "\n".join(difference(*pair))
        assert text
        assert "aHVu" not in text
    lines = difference(before, after)
    assert "+  new: (hidden)" in lines
    assert "-  other: (hidden)" in lines
    assert "+  other: (hidden), another value" in lines
    assert not [line for line in lines if "same" in line and line[0] in "+-"]
