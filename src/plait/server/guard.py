"""Who may ask, how much a request may hold, and how many there were: around an application, before it reads a body."""

from __future__ import annotations

import secrets
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/health", "/metrics")
"""Asked by machines that hold no key."""


class Guard:
    """ASGI middleware.

    Args:
        key: what `Authorization: Bearer` must say; empty for no matter.
        most: bytes of a body.
        registry: takes `plait_requests_total` and `plait_request_seconds`, by route.
    """

    def __init__(self, app: ASGIApp, *, key: str, most: int, registry: CollectorRegistry) -> None:
        self.app, self.key, self.most = app, key, most
        self.requests = Counter("plait_requests", "Requests.", ("route", "status"), registry=registry)
        self.seconds = Histogram("plait_request_seconds", "Seconds of a request.", ("route",), registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begin, status, read = time.perf_counter(), 500, 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413, self._large())
            return message

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = dict(scope["headers"])
            if self.key and scope["path"] not in OPEN and not self._knows(headers.get(b"authorization", b"")):
                await error(401, "a request must say Authorization: Bearer with this server's key")(
                    scope, receive, noticed
                )
            elif _number(headers.get(b"content-length", b"0")) > self.most:
                await error(413, self._large())(scope, receive, noticed)
            else:
                await self.app(scope, counted, noticed)
        finally:
            route = scope.get("route")  # the router writes it there
            path = str(getattr(route, "path", "other"))
            self.requests.labels(path, str(status)).inc()
            self.seconds.labels(path).observe(time.perf_counter() - begin)

    def _knows(self, header: bytes) -> bool:
        return secrets.compare_digest(header, f"Bearer {self.key}".encode())

    def _large(self) -> str:
        return f"a request must hold at most {self.most:,} bytes; send fewer texts at once, or start it with --max-body"


def error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is a sentence, under the names that Text Embeddings Inference uses."""
    kind = {401: "Unauthorized", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}.get(status, "Validation")
    body: dict[str, Any] = {"error": sentence, "error_type": kind}
    return JSONResponse(body, status, headers)


def _number(header: bytes) -> int:
    return int(header) if header.isdigit() else 0
