"""Scikit-learn's handwritten digits as a camera sends them: 64 numbers without names."""

import json
from pathlib import Path

from sklearn.datasets import load_digits

if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    images, digits = load_digits(return_X_y=True)
    lines = [
        {"payload": {"inputs": [image.tolist()]}, "truth": int(digit)}
        for image, digit in zip(images[-50:], digits[-50:], strict=True)
    ]
    (folder / "live.json").write_text(json.dumps(lines))
