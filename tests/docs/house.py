"""The picture of the layers, drawn from the contract that import-linter checks."""

from __future__ import annotations

import tomllib
from html import escape

from tests.docs.generated import ROOT

_WIDTH, _ROW = 660, 42
#: What the parts of a layer are for, by the layer's first part.
_PURPOSE = {
    "__main__": "one place turns errors into exit codes",
    "commands": "parse, call, render",
    "workflows": "flows that cross parts",
    "training": "the parts that do the work",
    "audit": "who changed what",
    "registry": "what lasts: models, evidence, objects",
    "runtimes": "what executes a model",
    "spec": "records and pure functions",
    "tables": "CSV, JSON, Parquet with types",
    "plugins": "names to implementations",
    "settings": "the edge",
    "errors": "what can go wrong",
}
_STYLE = """<style>
.house text { fill: var(--md-default-fg-color, #57606a); text-anchor: middle; }
.house .code { font: 600 12px ui-monospace, monospace; }
.house .small { font: 11px system-ui, sans-serif; opacity: .8; }
.house rect, .house path {
  fill: var(--md-code-bg-color, none); stroke: var(--md-primary-fg-color, #4051b5);
}
</style>"""


def layers() -> list[list[str]]:
    """Return the parts of each layer, the top one first."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    [contract] = [each for each in contracts if each["type"] == "layers"]
    return [[part.strip(" ()") for part in layer.split("|")] for layer in contract["layers"]]


def picture() -> str:
    """Return the layers as a house: a roof and a floor for each."""
    floors = layers()
    roof = 46
    height = roof + _ROW * len(floors) + 2
    middle = _WIDTH / 2
    size = f'viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg class="picture house" {size} role="img" xmlns="http://www.w3.org/2000/svg">',
        "<title>The layers of the package; imports point down</title>",
        _STYLE,
        f'<path d="M{middle} 2 {_WIDTH - 2} {roof} 2 {roof}z"/>',
        f'<text class="code" x="{middle}" y="34">mlops</text>',
    ]
    for number, names in enumerate(floors):
        top = roof + number * _ROW
        label = escape("  ·  ".join(names))
        purpose = _PURPOSE.get(names[0], "")
        parts += [
            f'<rect x="2" y="{top}" width="{_WIDTH - 4}" height="{_ROW}"/>',
            f'<text class="code" x="{middle}" y="{top + 18}">{label}</text>',
            f'<text class="small" x="{middle}" y="{top + 34}">{escape(purpose)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
