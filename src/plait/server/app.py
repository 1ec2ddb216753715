"""The routes: what requests say is handed to an index or a model, in turn, and what comes of it goes back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.exceptions import HTTPException

from plait.cross_encoder import CrossEncoder
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.server.bodies import Ask, Rank, RerankDocuments, RerankTexts
from plait.server.guard import Guard, error
from plait.server.turns import Busy, Turns

FRESH = 1.0
"""Seconds for which an index is not asked whether others have written to it."""


class Unready(Exception):
    """The index cannot be read any more."""


def create_app(
    model: Plait,
    index: Index | None = None,
    *,
    key: str = "",
    waiting: int = 64,
    max_body: int = 10 << 20,
    memory: int = 1 << 30,
) -> FastAPI:
    """The application.

    Args:
        model: scores texts that come with a request; the one of the index, if there is one.
        index: ranked and asked by /rank and /ask; what others commit is read a second later.
        key: what requests must bring as `Authorization: Bearer`; empty: nobody is refused.
        waiting: most requests that wait; others are refused (429).
        max_body: most bytes of a request (413).
        memory: see `CrossEncoder`.
    """
    turns, registry = Turns(waiting), CollectorRegistry()
    Gauge("plait_waiting", "Requests that wait or are at work.", registry=registry).set_function(lambda: turns.waiting)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.close()

    app = FastAPI(title="Plait", version=version("plait"), lifespan=life)
    app.add_middleware(Guard, key=key, most=max_body, registry=registry)
    _errors(app)
    _state(app, model, index, registry)
    _texts(app, CrossEncoder(model, memory=memory), turns)
    if index is not None:
        _stored(app, index, turns)
    return app


def _state(app: FastAPI, model: Plait, index: Index | None, registry: CollectorRegistry) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/info")
    async def info() -> dict[str, Any]:
        plans = {head: str(plan) for head, plan in model.plans.items()}
        facts: dict[str, Any] = {"plait": version("plait"), "model": model.name_or_path, "plans": plans}
        return facts if index is None else facts | {"passages": len(index.store), "settings": vars(index.settings)}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _stored(app: FastAPI, index: Index, turns: Turns) -> None:
    fresh = time.monotonic()

    def refreshed() -> Index:
        nonlocal fresh
        if time.monotonic() - fresh > FRESH:
            try:
                index.refresh()
            except PlaitError as gone:
                raise Unready(str(gone)) from None
            fresh = time.monotonic()
        return index

    @app.post("/rank")
    async def rank(body: Rank) -> dict[str, Any]:
        found, notes = await turns.run(lambda: refreshed().rank(**dict(body)))
        return {"hits": [vars(hit) for hit in found.hits], "seconds": found.timing.stages,
                "query_tokens_cut": found.query_cut, "notes": notes}  # fmt: skip

    @app.post("/ask")
    async def ask(body: Ask) -> dict[str, Any]:
        found, notes = await turns.run(lambda: refreshed().ask(**dict(body)))
        answers = [{**vars(answer), "hit": vars(answer.hit)} for answer in found.answers]
        return {"answers": answers, "seconds": found.ranking.timing.stages,
                "query_tokens_cut": found.ranking.query_cut, "notes": notes}  # fmt: skip


def _texts(app: FastAPI, scorer: CrossEncoder, turns: Turns) -> None:
    async def ranked(query: str, texts: list[str], top_k: int | None, raw: bool) -> tuple[list[dict[str, Any]], Any]:
        how: Any = {"activation_fn": lambda logits: logits} if raw else {}
        return await turns.run(lambda: scorer.rank(query, texts, top_k, **how))

    @app.post("/rerank")
    async def rerank(body: RerankTexts, response: Response) -> list[dict[str, Any]]:
        found, notes = await ranked(body.query, body.texts, None, body.raw_scores)
        _noted(response, [*body.unheeded(), *notes])
        text = [{"text": body.texts[one["corpus_id"]]} if body.return_text else {} for one in found]
        return [
            {"index": one["corpus_id"], "score": one["score"], **more} for one, more in zip(found, text, strict=True)
        ]

    @app.post("/v1/rerank")
    @app.post("/v2/rerank")
    async def rerank_documents(body: RerankDocuments, response: Response) -> dict[str, Any]:
        found, notes = await ranked(body.query, body.texts(), body.top_n, False)
        _noted(response, [*body.unheeded(), *notes])
        text = [{"document": body.document(one["corpus_id"])} if body.return_documents else {} for one in found]
        results = [
            {"index": one["corpus_id"], "relevance_score": one["score"], **more}
            for one, more in zip(found, text, strict=True)
        ]
        return {"model": body.model or scorer.model.name_or_path, "results": results}


def _noted(response: Response, notes: Sequence[str]) -> None:
    """Notes of routes whose answers have no place for them: a header, percent-encoded where it must be."""
    if notes:
        response.headers["X-Plait-Notes"] = quote("; ".join(notes), safe=" ;:,.'()=/")


def _errors(app: FastAPI) -> None:
    @app.exception_handler(PlaitError)
    async def refused(_: Request, problem: PlaitError) -> Response:
        return error(422, " ".join(str(problem).split()))

    @app.exception_handler(RequestValidationError)
    async def unread(_: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "a request"
        return error(422, f"{place}: {first['msg']}, but is {first.get('input')!r:.80}; see /docs")

    @app.exception_handler(HTTPException)
    async def other(request: Request, problem: HTTPException) -> Response:
        said = (
            f"there is no {request.method} {request.url.path}; see /docs" if problem.status_code in (404, 405) else ""
        )
        return error(problem.status_code, said or str(problem.detail))

    @app.exception_handler(Busy)
    async def busy(_: Request, __: Busy) -> Response:
        return error(429, "too many requests wait; ask again in a second", {"Retry-After": "1"})

    @app.exception_handler(Unready)
    async def unready(_: Request, problem: Unready) -> Response:
        return error(503, str(problem))

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return error(500, "the server failed at this request; its log says how")
