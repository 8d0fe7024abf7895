"""Loads on a bridge, half of them above one tonne and a half."""

from pathlib import Path

import numpy as np
import pandas as pd


def loads(n, seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({"load": draw.uniform(0, 3, n).round(3), "axles": draw.integers(2, 6, n)})
    table["bend"] = (2 * table["load"] / table["axles"]).round(4)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    loads(200, 1).to_csv(folder / "train.csv", index=False)
    loads(60, 2).to_csv(folder / "live.csv", index=False)
