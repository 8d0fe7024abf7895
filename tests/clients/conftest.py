"""A server that public clients talk to."""

from __future__ import annotations

from tests.serving.conftest import models, server

__all__ = ["models", "server"]
