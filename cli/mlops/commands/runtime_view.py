"""A short description of a model's runtime and its proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlops.commands.output import age


def runtime_lines(runtimes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say what executes the models; arms of which the same can be said have one line.

    Args:
        runtimes: Name of each arm to `name`, `proof` and `reasons`, as the server gives them. What
            another server executes is left out.

    >>> proof = {"row_us": 3.1, "row_us_before": 90.0, "rows": 8, "largest_difference": 0.0}
    >>> fast = {"name": "numpy", "proof": proof, "reasons": []}
    >>> slow = {"name": "pyfunc", "proof": None, "reasons": ["native: it has text"]}
    >>> other = {**fast, "proof": {**proof, "row_us": 4.2}}
    >>> for line in runtime_lines({"a": fast, "b": slow, "c": other}):
    ...     print(line)
    a, c: runtime numpy: 3-4 µs a row (pyfunc 90); equal on 8 rows, to the last digit
    b: runtime pyfunc (not used: native: it has text)
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for arm, runtime in runtimes.items():
        if runtime["name"] != "remote":
            alike.setdefault((runtime["name"], _rest(runtime)), []).append(arm)
    for (name, rest), arms in alike.items():
        proofs = [proof for arm in arms if (proof := runtimes[arm]["proof"])]
        proved = f": {_proved(proofs)}" if proofs else ""
        yield f"{', '.join(arms)}: runtime {name}{proved}{rest}"


def _rest(runtime: Mapping[str, Any]) -> str:
    """Return what is said of a runtime beside its figures."""
    proof, reasons = runtime["proof"], runtime["reasons"]
    if proof is None:
        return f" (not used: {_grouped(reasons)})" if reasons else ""
    since = _since(proof)
    return since and f"; proved{since}"


def _proved(proofs: Sequence[Mapping[str, Any]]) -> str:
    """Say what holds for all of some proofs."""
    largest = max(proof["largest_difference"] for proof in proofs)
    rows = min(proof["rows"] for proof in proofs)
    differs = f"numbers within {largest:.1g} of their size" if largest else "to the last digit"
    return (
        f"{_range(proofs, 'row_us')} µs a row (pyfunc {_range(proofs, 'row_us_before')}); "
        f"equal on {rows:,} rows, {differs}"
    )


def _range(proofs: Sequence[Mapping[str, Any]], key: str) -> str:
    """Write the smallest and the largest of several times, or the one that all round to."""
    times = sorted(proof[key] for proof in proofs)
    low, high = f"{times[0]:,.0f}", f"{times[-1]:,.0f}"
    return low if low == high else f"{low}-{high}"


def short_lines(runtimes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say what executes the models, and since when that is proved; as `runtime_lines`."""
    alike: dict[str, list[str]] = {}
    for arm, runtime in runtimes.items():
        if line := short_line(runtime):
            alike.setdefault(line, []).append(arm)
    yield from (f"{', '.join(arms)}: {line}" for line, arms in alike.items())


def short_line(runtime: Mapping[str, Any]) -> str:
    """Say what executes a model, and since when that is proved; empty if another server does."""
    if runtime["name"] == "remote":
        return ""
    proof = runtime["proof"]
    words = "" if proof is None else f", proved equal to pyfunc{_since(proof, always=True)}"
    return f"runtime {runtime['name']}{words}"


def _since(proof: Mapping[str, Any], *, always: bool = False) -> str:
    """Say when a proof was made, if that was not just now."""
    made_ms, cached = proof.get("made_ms"), proof.get("cached")
    if made_ms is None or not (cached or always):
        return ""
    return f" {age(made_ms)}" + (" (from the cache)" if cached else "")


def _grouped(reasons: Iterable[str]) -> str:
    """Join reasons, each once.

    >>> _grouped(["native: it has text", "trees: it has text"])
    'native, trees: it has text'
    """
    names: dict[str, list[str]] = {}
    for reason in reasons:
        name, _, text = reason.partition(": ")
        names.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(these)}: {text}" for text, these in names.items())
