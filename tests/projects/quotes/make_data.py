"""Offers of a printer: some fields are often left out."""

from pathlib import Path

import numpy as np
import pandas as pd


def offers(n, seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "pages": draw.integers(1, 500, n),
            "paper": draw.choice(["80g", "120g", "recycled"], n),
            "discount": np.where(draw.random(n) < 0.5, draw.uniform(0, 0.3, n).round(2), np.nan),
        }
    )
    per_page = table["paper"].map({"80g": 0.05, "120g": 0.08, "recycled": 0.06}).astype(float)
    full = 10 + table["pages"] * per_page
    table["price"] = (full * (1 - table["discount"].fillna(0)) + draw.normal(0, 1, n)).round(2)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    offers(300, 1).to_csv(folder / "train.csv", index=False)
    offers(50, 2).to_csv(folder / "live.csv", index=False)
