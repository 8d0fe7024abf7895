"""Messages to a help desk, as a program sends them: objects, some keys left out."""

import json
import random
from pathlib import Path

WORDS = {
    "login": ["password", "account", "locked"],
    "billing": ["invoice", "refund", "card"],
    "other": ["hello", "question", "thanks"],
}


def messages(n, seed):
    draw = random.Random(seed)
    for _ in range(n):
        topic = draw.choice(list(WORDS))
        # People are vague: some words of other topics.
        words = [draw.choice(WORDS[draw.choice([topic, topic, *WORDS])]) for _ in range(5)]
        ticket = {"subject": words[0], "body": " ".join(words[1:])}
        if draw.random() < 0.5:
            ticket["priority"] = draw.randint(1, 3)
        yield {"payload": {"inputs": [ticket]}, "truth": topic}


if __name__ == "__main__":
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    (folder / "train.json").write_text(json.dumps(list(messages(200, 1))))
    (folder / "live.json").write_text(json.dumps(list(messages(50, 2))))
