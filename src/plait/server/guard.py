"""Who may ask, how much a request may hold and how long it may take to come, and how many there were: around an
application, before it reads a body.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED = ("/rank", "/ask", "/rerank", "/v1/rerank", "/v2/rerank")
OPEN = ("/health", "/metrics", "/docs", "/openapi.json")
"""Asked by machines and browsers that hold no key."""
SECONDS = 30.0
"""For a request to come whole."""
KINDS = {401: "Unauthorized", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}


class Problem(BaseModel):
    """An answer that is a sentence: under the names that Text Embeddings Inference, Cohere and Jina use."""

    error: str
    message: str
    detail: str
    error_type: str


class Guard:
    """ASGI middleware.

    Args:
        key: what `Authorization: Bearer` must say; empty for no matter.
        most: bytes of a body.
        full: whether nobody else may wait.
        registry: takes `plait_requests_total` and `plait_request_seconds`, by route.
    """

    def __init__(
        self, app: ASGIApp, *, key: str, most: int, full: Callable[[], bool], registry: CollectorRegistry
    ) -> None:
        self.app, self.key, self.most, self.full = app, key, most, full
        self.requests = Counter("plait_requests", "Requests.", ("route", "status"), registry=registry)
        self.seconds = Histogram("plait_request_seconds", "Seconds of a request.", ("route",), registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begin, status, read, whole = time.perf_counter(), 500, 0, False

        async def counted() -> Message:
            nonlocal read, whole
            if whole:
                return await receive()  # that nobody listens any more
            try:
                async with asyncio.timeout(SECONDS - (time.perf_counter() - begin)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, f"a request must come whole within {SECONDS:g} seconds; send it again"
                ) from None
            whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413, self._large())
            return message

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        try:
            answer = self._refused(path, dict(scope["headers"]))
            await (answer(scope, receive, noticed) if answer is not None else self.app(scope, counted, noticed))
        finally:
            known = path if path in (*ASKED, *OPEN) else "other"
            self.requests.labels(known, str(status)).inc()
            self.seconds.labels(known).observe(time.perf_counter() - begin)

    def _refused(self, path: str, headers: dict[bytes, bytes]) -> JSONResponse | None:
        """What is answered before a body is read."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        known = scheme.lower() == b"bearer" and secrets.compare_digest(token.strip(), self.key.encode())
        if self.key and path not in OPEN and not known:
            said = "a request must say Authorization: Bearer with this server's key"
            return error(401, said, {"WWW-Authenticate": "Bearer"})
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self.most:
            return error(413, self._large())
        return busy() if path in ASKED and self.full() else None

    def _large(self) -> str:
        return f"a request must hold at most {self.most:,} bytes; send fewer texts at once, or start it with --max-body"


def error(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    """An answer that is a sentence."""
    kind = KINDS.get(status, "Validation")
    problem = Problem(error=sentence, message=sentence, detail=sentence, error_type=kind)
    return JSONResponse(problem.model_dump(), status, headers)


def busy() -> JSONResponse:
    """What is answered where nobody else may wait."""
    return error(429, "too many requests wait; ask again in a second", {"Retry-After": "1"})
