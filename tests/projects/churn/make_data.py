"""Customers of a made-up gym, with gaps as a form leaves them."""

from pathlib import Path

import numpy as np
import pandas as pd


def customers(n, seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "plan": draw.choice(["basic", "plus", "family"], n),
            "city": draw.choice(["Köln", "Saint-Étienne", "Łódź"], n),
            "age": draw.integers(16, 80, n).astype(float).round(),
            "visits": draw.poisson(6, n),
            "newsletter": draw.random(n) < 0.5,
        }
    )
    pull = 0.5 * table["visits"] + 2.0 * (table["plan"] == "family") - 0.02 * table["age"]
    stays = pull + draw.normal(0, 1, n) > 2.5
    table.loc[draw.random(n) < 0.15, "plan"] = None
    table.loc[draw.random(n) < 0.2, "age"] = np.nan
    table["outcome"] = np.where(stays, "stays", "leaves")
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    customers(400, 1).to_csv(folder / "train.csv", index=False)
    customers(50, 2).to_csv(folder / "live.csv", index=False)
