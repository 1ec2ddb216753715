"""The routes: what requests say is handed to an index or a model, in turn, and what comes of it goes back."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse
from torch import Tensor

from plait.cross_encoder import CrossEncoder
from plait.errors import Failure, PlaitError
from plait.index import Index
from plait.model import Plait
from plait.scoring import require_one_label
from plait.server.bodies import Ask, Rank, Rerank
from plait.server.guard import Guard, Problem, busy, error
from plait.server.page import page
from plait.server.turns import Busy, Left, Turns

FRESH = 1.0
"""Seconds for which an index is not asked whether others have written to it."""
LONGEST_NOTES = 1000
"""Characters of notes in a header."""
REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (401, 408, 413, 422, 429, 503)}
log = logging.getLogger("plait.server")


def create_app(
    model: Plait,
    index: Index | None = None,
    *,
    key: str = "",
    waiting: int = 64,
    max_body: int = 10 << 20,
    max_texts: int = 1000,
    memory: int = 1 << 30,
) -> FastAPI:
    """The application, with the routes that its model has heads for.

    Args:
        model: scores texts that come with a request; the one of the index, if there is one.
        index: ranked and asked by /rank and /ask; what others commit is read a second later.
        key: what requests must bring as `Authorization: Bearer`; empty: nobody is refused.
        waiting: most requests that wait or are at work; others are refused (429).
        max_body: most bytes of a request (413).
        max_texts: most texts or passages that a request may have ranked, read or given back (422).
        memory: see `CrossEncoder`.

    Raises:
        PlaitError: a model that can do nothing of this.
    """
    ranks = "score" in model.plans and model.config.num_labels == 1
    asks = index is not None and "span" in model.plans
    if not asks:
        require_one_label(model)
    turns, registry = Turns(waiting), CollectorRegistry()
    Gauge("plait_waiting", "Requests that wait or are at work.", registry=registry).set_function(lambda: turns.waiting)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.close()

    app = FastAPI(
        title="Plait", version=version("plait"), lifespan=life, responses=REFUSALS, docs_url=None, redoc_url=None
    )
    app.add_middleware(Guard, key=key, most=max_body, full=lambda: turns.full, registry=registry)
    app.state.broken = ""
    _errors(app)
    if index is not None:
        _stored(app, index, turns, max_texts, ranks, asks)
    if ranks:
        _texts(app, CrossEncoder(model, memory=memory), turns, max_texts)
    _state(app, model, index, registry)
    return app


def _state(app: FastAPI, model: Plait, index: Index | None, registry: CollectorRegistry) -> None:
    @app.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
    @app.get("/health")
    async def health() -> Any:
        """Whether requests can be answered."""
        return error(503, app.state.broken) if app.state.broken else {"status": "ok"}

    @app.get("/info")
    async def info() -> dict[str, Any]:
        """The model, its plans, and how the store was made."""
        plans = {head: str(plan) for head, plan in model.plans.items()}
        facts: dict[str, Any] = {"plait": version("plait"), "model": model.name_or_path, "plans": plans}
        return facts if index is None else facts | {"passages": len(index.store), "settings": vars(index.settings)}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Requests by route and status, their seconds, and how many wait, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()))


def _stored(app: FastAPI, index: Index, turns: Turns, most: int, ranks: bool, asks: bool) -> None:
    fresh = time.monotonic()

    def asked(body: Rank | Ask) -> Index:
        nonlocal fresh
        if time.monotonic() - fresh > FRESH:
            index.refresh()
            fresh = time.monotonic()
        _require_few(body.wanted(index.store), most)
        return index

    async def rank(body: Rank, request: Request) -> dict[str, Any]:
        """The best passages of the store for a query."""
        found, notes = await turns.run(lambda: asked(body).rank(**dict(body)), request.is_disconnected)
        app.state.broken = ""
        return {"hits": [vars(hit) for hit in found.hits], "seconds": found.timing.stages,
                "query_tokens_cut": found.query_cut, "notes": notes}  # fmt: skip

    async def ask(body: Ask, request: Request) -> dict[str, Any]:
        """Answers to a question, found in the store's passages."""
        found, notes = await turns.run(lambda: asked(body).ask(**dict(body)), request.is_disconnected)
        app.state.broken = ""
        answers = [{**vars(answer), "hit": vars(answer.hit)} for answer in found.answers]
        return {"answers": answers, "seconds": found.ranking.timing.stages,
                "query_tokens_cut": found.ranking.query_cut, "notes": notes}  # fmt: skip

    for path, route, can in (("/rank", rank, ranks), ("/ask", ask, asks)):
        if can:
            app.post(path)(route)


def _texts(app: FastAPI, scorer: CrossEncoder, turns: Turns, most: int) -> None:
    served = scorer.model.name_or_path

    async def rerank(body: Rerank, request: Request, response: Response) -> Any:
        """Texts that come with the request, best first: `texts` as Text Embeddings Inference takes them, or
        `documents` as Cohere and Jina do.
        """
        passages = body.passages()
        _require_few(len(passages), most)
        there = [number for number, text in enumerate(passages) if text.strip()]
        some, raw = [passages[number] for number in there], _as_they_are if body.raw_scores else None
        rank = functools.partial(scorer.rank, body.query, some, body.top_n, activation_fn=raw)
        found, notes = await turns.run(rank, request.is_disconnected)
        app.state.broken = ""
        if blank := len(passages) - len(there):
            notes = [f"{blank} of {len(passages)} texts are blank and left out", *notes]
        _noted(response, [*body.unheeded(served), *notes])
        scores: list[Any] = [(there[int(one["corpus_id"])], one["score"]) for one in found]  # type: ignore[call-overload]
        return body.answer(served, passages, scores)

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        app.post(path)(rerank)


def _require_few(count: int, most: int) -> None:
    if count > most:
        raise PlaitError(
            f"a request may have at most {most:,} texts ranked, but this asks for {count:,}; ask for fewer, or start "
            "the server with --max-texts"
        )


def _as_they_are(logits: Tensor) -> Tensor:
    return logits


def _noted(response: Response, notes: Sequence[str]) -> None:
    """Notes of routes whose answers have no place for them: a header, percent-encoded where it must be."""
    said = "; ".join(notes)
    said = said if len(said) <= LONGEST_NOTES else said[:LONGEST_NOTES] + "..."
    if said:
        response.headers["X-Plait-Notes"] = quote(said, safe=" ;:,.'()=/")


def _errors(app: FastAPI) -> None:
    @app.exception_handler(PlaitError)
    async def refused(_: Request, problem: PlaitError) -> Response:
        if isinstance(problem, Failure):
            log.error("%s", problem)
            app.state.broken = "the store or the model cannot be read; the server's log says why, restart it"
            return error(503, app.state.broken)
        return error(422, " ".join(str(problem).split()))

    @app.exception_handler(RequestValidationError)
    async def unread(_: Request, problem: RequestValidationError) -> Response:
        return error(422, _sentence(problem.errors()[0]))

    @app.exception_handler(HTTPException)
    async def other(request: Request, problem: HTTPException) -> Response:
        path = request.url.path
        said = {404: f"there is no {path}; see /docs", 405: f"{path} takes no {request.method}; see /docs",
                400: "a request must be JSON that can be read, but is not; mend it"}  # fmt: skip
        return error(problem.status_code, said.get(problem.status_code, str(problem.detail)), problem.headers)

    @app.exception_handler(Busy)
    async def crowded(_: Request, __: Busy) -> Response:
        return busy()

    @app.exception_handler(Left)
    async def left(_: Request, __: Left) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return error(500, "the server failed at this request; its log says how")


def _sentence(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"][1:])
    if problem["type"] == "json_invalid":
        return f"a request must be JSON, but is not ({problem['ctx']['error']} at character {place}); mend it"
    if problem["type"] == "missing" and place:
        return f"a request must have the key {place}, but has not; add it"
    if problem["type"] == "extra_forbidden":
        return f"a request must have keys that this route knows, but has {place}; see /docs"
    if not place:
        return "a request must be a JSON object, sent as Content-Type: application/json, but is not; mend it"
    return f"{place} cannot be {problem.get('input')!r:.60} ({problem['msg']}); see /docs"
