"""For applications: predictions from a deployment, and feedback to it.

    from mlops import Client

    with Client("https://wine.example.com", token=os.environ["WINE_TOKEN"]) as wine:
        answer = wine.predict({"alcohol": 9.4, "pH": 3.5})
        ...                                       # days later, anywhere
        wine.feedback(answer.request_id, truth=6)

Everything else that talks to a deployment that runs is here too: the commands' connection
(`connection`), other servers' protocols (`remote_endpoint`, `seldon`) and the replay of labelled
rows (`replay`).

What to send, what an answer means and when to try again is decided by generators that touch no
socket (`mlops.client.exchange`); `Client` and `AsyncClient` only carry it over, by httpx.
"""

from mlops.client.http import AsyncClient, Client
from mlops.client.records import FeedbackResult, Outcome, Prediction, Refused

__all__ = ["AsyncClient", "Client", "FeedbackResult", "Outcome", "Prediction", "Refused"]
