"""Engines on a test bench: two things are measured of each."""

import json
from pathlib import Path

import numpy as np
import pandas as pd


def engines(n, seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "litres": draw.uniform(1, 5, n).round(1),
            "cylinders": draw.choice([3, 4, 6, 8], n),
            "turbo": draw.random(n) < 0.5,
        }
    )
    table["power"] = (40 * table["litres"] + 30 * table["turbo"] + draw.normal(0, 5, n)).round(1)
    table["torque"] = (80 * table["litres"] + 5 * table["cylinders"]).round(1)
    return table


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    engines(300, 1).to_csv(folder / "train.csv", index=False)
    live = engines(50, 2)
    records = json.loads(live.drop(columns=["power", "torque"]).to_json(orient="records"))
    truths = live[["power", "torque"]].to_numpy().tolist()
    lines = [
        {"payload": {"dataframe_records": [record]}, "measured": truth}
        for record, truth in zip(records, truths, strict=True)
    ]
    (folder / "live.json").write_text(json.dumps(lines))
