"""Flights: when they leave, what the seat next to it costs, what the ticket cost."""

from pathlib import Path

import numpy as np
import pandas as pd


def flights(n, seed):
    draw = np.random.default_rng(seed)
    day = pd.Timestamp("2026-01-01") + pd.to_timedelta(draw.integers(0, 365 * 24, n), unit="h")
    table = pd.DataFrame(
        {
            "departure": day,
            "list_price": draw.uniform(50, 400, n).round(2),
            "seats_left": draw.integers(0, 180, n),
        }
    )
    weekend = table["departure"].dt.day_of_week >= 5
    scarce = table["seats_left"] < 20
    paid = table["list_price"] * (0.8 + 0.3 * weekend + 0.4 * scarce)
    table["paid"] = (paid + draw.normal(0, 5, n)).round(2)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    flights(400, 1).to_csv(folder / "train.csv", index=False)
    flights(50, 2).to_csv(folder / "live.csv", index=False)
