"""Every way in which our answers differ from MLflow's on purpose, and why.

`docs/mlflow-server.md` tells users the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.compatibility.comparing import Comparison


@dataclass(frozen=True, slots=True)
class Difference:
    """Requests that are answered differently.

    Attributes:
        kind: See `Comparison.kind`.
        paths: Patterns of `Comparison.path`, as `fnmatch` has them.
        reason: What MLflow does, and why we do not.
    """

    kind: str
    paths: tuple[str, ...]
    reason: str

    def covers(self, comparison: Comparison) -> bool:
        return comparison.kind == self.kind and any(
            fnmatchcase(comparison.path, path) for path in self.paths
        )


DIFFERENCES = (
    Difference(
        "200→400",
        ("*/cell/long/1.5/*", "*/cell/integer/1.5/*", "one unnamed/*/1.5"),
        "1.5 in a column of whole numbers: MLflow cuts it to 1 without a word.",
    ),
    Difference(
        "200→400",
        ("*/cell/long/2^63/*", "*/cell/long/1e300/*", "*/cell/integer/[12]*[03]*/*"),
        "A whole number that does not fit its column: MLflow keeps other bits of it.",
    ),
    Difference(
        "200→400",
        ("*/cell/boolean/*", "*/columns/uneven/b/records", "*/columns/uneven/garden/records"),
        'Text, null and numbers but 0 and 1 for a boolean: MLflow makes "no" and NaN true.',
    ),
    Difference(
        "200→400",
        ("*/cell/datetime/*",),
        "Numbers and texts that are not ISO 8601 for a date: MLflow takes 20240501 for "
        "nanoseconds after 1970, and guesses which of 01.05.2024 is the month.",
    ),
    Difference(
        "200→400",
        ("*/cell/binary/*",),
        "What is not base64, for bytes: MLflow hands some of it on as text, undecoded.",
    ),
    Difference(
        "200→400",
        ("*/cell/string/list/split", "*/cell/string/object/split"),
        "A list or an object for text: MLflow hands it on, and most models fail on it.",
    ),
    Difference(
        "200→400",
        ("*/shape/short row", "*/shape/repeated name"),
        "A row that is too short, or a name twice: MLflow fills the row with null.",
    ),
    Difference(
        "200→400",
        ('*/params/"x"', "*/params/[[]]"),
        "`params` that are no object: MLflow ignores them.",
    ),
    Difference("200→400", ("*/broken/UTF-16",), "UTF-16: JSON is UTF-8 (RFC 8259)."),
    Difference(
        "400→200",
        ("*/form/inputs lists/*", "*/form/instances lists/*", "*/form/split unnamed/*"),
        "Rows without names for a model with names: taken by position, if their width is right.",
    ),
    Difference(
        "400→200",
        (
            "dates/cell/datetime/date/split beside a good one",
            "dates/cell/datetime/zone/split",
            "dates/cell/datetime/NaN/inputs",
        ),
        "Times in several forms in a column, or with a zone: MLflow takes the form of the first "
        "cell for all, and refuses a zone in a frame.",
    ),
    Difference(
        "400→200",
        ("dates/*csv*", "array/*csv*", "object/*csv*", "map/*csv*", "any type/*csv*"),
        "CSV for models with dates or nested types, which MLflow cannot read at all.",
    ),
    Difference(
        "400→200",
        ("*/form/parquet/*",),
        "Parquet is typed by the signature as JSON is; MLflow does not cast it.",
    ),
    Difference(
        "400→200",
        ("list[[]*/form/*", "list[[]*/empty/instances"),
        "`instances` and frames for models with type hints: MLflow takes `inputs` only.",
    ),
    Difference("400→200", ("*/empty/csv header",), "A CSV without rows is answered with `[]`."),
    Difference(
        "415→400",
        ("*/broken/capitals",),
        "Media types are the same in capitals (RFC 9110); what is refused here is the body `{}`.",
    ),
    Difference(
        "value",
        ("binary/*csv*",),
        "base64 in CSV is decoded, as it is in JSON; MLflow hands on the text.",
    ),
    Difference(
        "value",
        ("*/1e30/split",),
        "An integer of more than 64 bits is a double, as in most parsers of JSON.",
    ),
    Difference(
        "value",
        ("one column/form/* lists/2",),
        "A list of rows of one cell is a column of cells; MLflow makes a cell of each row.",
    ),
    Difference(
        "value",
        ("array/form/parquet/*", "any type/form/parquet/*"),
        "Lists in Parquet reach the model as lists, as those of JSON do, not as arrays.",
    ),
    Difference(
        "NaN is null",
        ("*",),
        "NaN and Infinity in an answer are null: JSON has neither, and few clients read them.",
    ),
)


def unlisted(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return the comparisons that differ and that no difference covers."""
    return [
        comparison
        for comparison in comparisons
        if not comparison.kind.startswith("same")
        and not any(difference.covers(comparison) for difference in DIFFERENCES)
    ]


def unseen(comparisons: Iterable[Comparison]) -> list[Difference]:
    """Return the differences of which there is no case any more."""
    listed = list(comparisons)
    return [each for each in DIFFERENCES if not any(map(each.covers, listed))]
