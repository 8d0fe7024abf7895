"""Payments, few of them fraud."""

from pathlib import Path

import numpy as np
import pandas as pd


def payments(n, seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "amount": draw.lognormal(3, 1, n).round(2),
            "hour": draw.integers(0, 24, n),
            "foreign": draw.random(n) < 0.2,
        }
    )
    pull = 0.03 * table["amount"] + 2.0 * table["foreign"] - 2.5
    table["fraud"] = (draw.random(n) < 1 / (1 + np.exp(-pull))).astype(int)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    payments(400, 1).to_csv(folder / "train.csv", index=False)
    payments(50, 2).to_csv(folder / "live.csv", index=False)
