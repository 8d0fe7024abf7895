"""Reviews, with commas, quotes and letters of many alphabets."""

from pathlib import Path

import numpy as np
import pandas as pd

GOOD = ["great", "lovely, really", "délicieux", '"superb"', "прекрасно"]
BAD = ["awful", "cold, late", "dégoûtant", '"never again"', "ужасно"]


def reviews(n, seed):
    draw = np.random.default_rng(seed)
    good = draw.random(n) < 0.5
    texts = []
    for is_good in good:
        own, other = (GOOD, BAD) if is_good else (BAD, GOOD)
        texts.append(" ".join([*draw.choice(own, 3), draw.choice(other)]))
    return pd.DataFrame({"text": texts, "verdict": np.where(good, "good", "bad")})


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    reviews(200, 1).to_csv(folder / "train.csv", index=False)
    reviews(50, 2).to_csv(folder / "live.csv", index=False)
