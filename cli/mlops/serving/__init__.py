"""The server of one deployment: `python -m mlops.serving LAUNCH_FILE`.

One process hosts every arm's model, draws an arm per request, answers in the protocol that was
spoken and writes the journal. Prediction and feedback run in a thin ASGI callable (`app`); pages,
metrics and documentation in an ordinary Starlette application behind it (`pages`).
Administration is a second application on a Unix socket of mode 0600 (`admin`): loading a model
runs its code, so it is never reachable through the public port.
"""
