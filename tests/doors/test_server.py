"""What is asked over HTTP is what the library answers; what cannot be is one sentence."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from plait.cross_encoder import CrossEncoder
from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.server import create_app
from tests.command import refused
from tests.corpus import PASSAGES, QUESTION, TEXTS, raw
from tests.small import small_checkpoint


@pytest.fixture
def index(checkpoint_path: Path, tmp_path: Path) -> Index:
    index = Index.create(tmp_path / "s.plait", Plait.from_pretrained(checkpoint_path))
    index.add([Document(id, text) for id, text in TEXTS.items()])
    return index


@pytest.fixture
def client(index: Index) -> Iterator[TestClient]:
    with TestClient(create_app(index.model, index)) as client:
        yield client


def asked(client: TestClient | httpx.Client, path: str, **body: object) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_store_is_ranked_and_asked(client: TestClient, index: Index) -> None:
    found = asked(client, "/rank", query=QUESTION, top_k=2)
    assert found["hits"] == json.loads(json.dumps([vars(hit) for hit in index.rank(QUESTION, 2).hits]))
    assert found["notes"] == [] and found["query_tokens_cut"] == 0 and "first stage" in found["seconds"]
    some = asked(client, "/rank", query=QUESTION, candidates={"music": 2.0, "gone": 1.0}, first_stage_weight=2)
    assert [hit["first_stage"] for hit in some["hits"]] == [2.0]
    assert some["notes"] == ["1 of 2 candidates are not in the index, 'gone' first, and are left out"]
    answers = asked(client, "/ask", question=QUESTION, top_k=2, read=3)["answers"]
    expected = index.ask(QUESTION, 2, read=3).answers
    assert [one["answer"] for one in answers] == [one.answer for one in expected]
    assert [one["hit"]["id"] for one in answers] == [one.hit.id for one in expected]
    assert asked(client, "/rank", query="river " * 300)["query_tokens_cut"] == 174


def test_sent_texts_are_ranked_as_other_servers_do(client: TestClient, index: Index) -> None:
    scores = index.model.predict([(QUESTION, passage) for passage in PASSAGES])
    order = sorted(range(len(PASSAGES)), key=lambda i: -scores[i])
    found = asked(client, "/rerank", query=QUESTION, texts=PASSAGES)
    assert [one["index"] for one in found] == order and found[0].keys() == {"index", "score"}
    assert [one["score"] for one in found] == pytest.approx([float(scores[i]) for i in order], abs=1e-5)
    logits = CrossEncoder(index.model).rank(QUESTION, PASSAGES, activation_fn=raw)
    found = asked(client, "/rerank", query=QUESTION, texts=PASSAGES, raw_scores=True, return_text=True)
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in logits], abs=1e-4)
    assert [one["text"] for one in found] == [PASSAGES[i] for i in order]
    documents: list[object] = [PASSAGES[0], *({"text": passage, "url": "x"} for passage in PASSAGES[1:])]
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):  # LiteLLM sends documents to the last, too
        found = asked(client, path, query=QUESTION, documents=documents, top_n=2, return_documents=True, texts=None)
        assert found["model"] == index.model.name_or_path
        assert [one["index"] for one in found["results"]] == order[:2]
        assert [one["document"] for one in found["results"]] == [{"text": PASSAGES[i]} for i in order[:2]]
    assert asked(client, "/rerank", query=QUESTION, texts=[]) == []


def test_what_is_cut_left_out_or_not_heeded_is_said(client: TestClient) -> None:
    body = {"query": QUESTION, "documents": ["river " * 900, " ", "stone"], "max_tokens_per_doc": 100, "user": None,
            "truncate": False, "model": "rerank-v3"}  # fmt: skip
    for again in range(2):  # computed, then remembered
        answer = client.post("/v1/rerank", json=body)
        assert answer.headers["x-plait-notes"] == (
            "not heeded: max_tokens_per_doc, truncate=false, model; 1 of 3 texts are blank and left out; 1 of 2 "
            "passage texts are longer than the 127 tokens this model reads; 773 tokens at their ends were left out"
        ), again
        assert {one["index"] for one in answer.json()["results"]} == {0, 2}
    many = {"query": QUESTION, "texts": ["stone"]} | {f"key{i}": i for i in range(3000)}
    assert client.post("/rerank", json=many).headers["x-plait-notes"] == "not heeded: key0, key1, key10 and 2997 more"
    assert "x-plait-notes" not in client.post("/rerank", json={"query": QUESTION, "texts": PASSAGES}).headers


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/rank", {"query": " "}, 422, "a query must be a text with a character that is not blank, but number 0 is"),
        ("/rank", {"query": "a", "top_k": 0}, 422, "top_k must be 1 or more, but is 0; 10 is the default"),
        ("/rank", {"query": "a", "top_k": True}, 422, "top_k must be 1 or more, but is True; 10 is the default"),
        ("/rank", {"query": "a", "candidates": 3, "first_stage": "all"}, 422, "first_stage=all has no candidates"),
        ("/rank", {"query": "a", "candidates": ["b", 3]}, 422, "candidates must be a number, or documents by their"),
        ("/rank", {"query": "a", "candidates": "5"}, 422, "candidates must be a number, or documents by their ids"),
        ("/rank", {"query": "a", "first_stage": "x"}, 422, "first_stage must be one of auto, bm25, vector, all, but"),
        ("/rank", {"query": "a", "first_stage_weight": "x"}, 422, "first_stage_weight must be a number of 0 or more"),
        ("/rank", {"query": "bridge", "first_stage_weight": 1e300}, 422, "scores with first_stage_weight=1e+300 must"),
        ("/rank", {"query": "a", "top": 3}, 422, "a request must have keys that this route knows, but has top; see"),
        ("/rank", {}, 422, "a request must have the key query, but has not; add it"),
        ("/ask", {"question": 3}, 422, "question cannot be 3 (Input should be a valid string); see /docs"),
        ("/rerank", {"query": "a", "texts": ["b", 3]}, 422, "what is ranked must be texts, but number 1 is 3"),
        ("/rerank", {"query": "a"}, 422, "a request must have either texts or documents, but has neither; give one"),
        ("/rerank", {"query": "a", "texts": [3] * 5000}, 422, "what is ranked must be texts, but number 0 is 3"),
        ("/v1/rerank", {"query": "a", "documents": [{"content": "b"}]}, 422, "what is ranked must be texts, or obj"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, 422, "top_n must be 1 or more, but is -1"),
        ("/rank", None, 422, "a request must be a JSON object, sent as Content-Type: application/json, but is not"),
        ("/nowhere", {}, 404, "there is no /nowhere; see /docs"),
        ("/rank", {"query": "a" * 40_000}, 413, "a request must hold at most 20,000 bytes; send fewer texts at once"),
    ],
)
def test_bad_requests_get_one_sentence(
    index: Index, path: str, body: dict[str, object] | None, status: int, says: str
) -> None:
    with TestClient(create_app(index.model, index, max_body=20_000)) as client:
        answer = client.post(path, json=body) if body is not None else client.post(path)
        assert answer.status_code == status and answer.json()["error"].startswith(says), answer.text
        problem = answer.json()
        assert set(problem) == {"error", "message", "detail", "error_type"} and "\n" not in problem["error"]
        assert problem["error"] == problem["message"] == problem["detail"]
        pieces = (piece for piece in [b'{"query": "', b"a" * 40_000, b'"}'])  # whose length no header says
        assert client.post("/rank", content=pieces).status_code == 413
        broken = client.post("/rank", content=b"{not json", headers={"Content-Type": "application/json"})
        assert broken.status_code == 422 and broken.json()["error"].startswith(
            "a request must be JSON, but is not (Exp"
        )
        deep = client.post("/rank", content=b"[" * 9000, headers={"Content-Type": "application/json"})
        assert deep.status_code in (400, 422) and deep.json()["error"].startswith("a request must be JSON")
        other = client.get("/rank")
        assert other.status_code == 405 and other.headers["allow"] == "POST"
        assert other.json()["error"] == "/rank takes no GET; see /docs"
        assert client.post("/rank", json={"query": "bridge"}).status_code == 200  # the connection goes on


def test_the_page_names_every_route(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    paths = client.get("/openapi.json").json()["paths"]
    assert all(f"`{path}`" in page or f" {path}`" in page for path in paths) and len(paths) == 8
    said = page[page.index("-d '") :].split("'")[1]
    assert client.post("/ask", json=json.loads(said)).status_code == 200


def test_a_request_asks_for_so_much_and_no_more(index: Index) -> None:
    """Candidates count by their passages, and those that the store has not cost nothing."""
    index.add([Document("long", "the stone of the river " * 300)])
    long = len(index.store.passage_ids("long"))
    with TestClient(create_app(index.model, index, max_texts=3)) as client:
        said = "a request may have at most 3 texts ranked, but this asks for {}; ask for fewer"
        stored = len(index.store)
        for path, body, count in (
            ("/rerank", {"query": "a", "texts": PASSAGES[:1] * 4}, 4),
            ("/rank", {"query": "a", "candidates": 4}, 4),
            ("/rank", {"query": "a", "first_stage": "all"}, stored),
            ("/ask", {"question": "a", "candidates": [*TEXTS][:4]}, 4),
            ("/rank", {"query": "a", "candidates": {"long": 1.0, "none": 2.0}}, long),
            ("/rank", {"query": "a", "top_k": 4}, 4),
            ("/ask", {"question": "a", "top_k": 4}, 4),
            ("/ask", {"question": "a", "read": 4}, 4),
            ("/ask", {"question": "a", "read": 10_000}, stored),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 422 and said.format(count) in answer.json()["error"], answer.text
        assert asked(client, "/rank", query=QUESTION, candidates=[*[*TEXTS][:3], "none"])["hits"]
        assert asked(client, "/rank", query=QUESTION, top_k=3)["hits"] and asked(client, "/ask", question=QUESTION)
        assert asked(client, "/rerank", query=QUESTION, texts=PASSAGES[:3])


def test_the_servers_own_page_can_be_tried_without_internet(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html") and "//" not in answer.text
    paths = client.get("/openapi.json").json()["paths"]
    said = re.findall(r"<h2><code>(\w+) (.*?)</code>", answer.text)
    assert sorted(path for _, some in said for path in some.split(", ")) == sorted(paths)
    forms = re.findall(r'data-path="(.*?)".*?<textarea[^>]*>(.*?)</textarea>', answer.text, re.DOTALL)
    assert [path for path, _ in forms] == ["rank", "ask", "rerank"]
    for path, body in forms:
        assert client.post(f"/{path}", json=json.loads(html.unescape(body))).status_code == 200
    assert "<code>question</code></td><td>a text</td><td>(needed)" in answer.text
    assert "a whole number or a list, each a text or an object of numbers" in answer.text
    assert client.get("/redoc").status_code == 404


def test_a_body_that_does_not_come_is_not_waited_for(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.server.guard.SECONDS", 0.2)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/rank", "headers": [(b"content-type", b"application/json")],
             "query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("h", 1)}  # fmt: skip
    asyncio.run(create_app(index.model, index)(scope, never, send))
    assert sent[0]["status"] == 408 and b"a request must come whole within 0.2 seconds" in sent[1]["body"]


def test_a_model_alone_has_no_store(index: Index) -> None:
    with TestClient(create_app(index.model)) as client:
        assert client.post("/rank", json={"query": "a"}).json()["error"] == "there is no /rank; see /docs"
        assert asked(client, "/rerank", query=QUESTION, texts=PASSAGES)
        assert "passages" not in client.get("/info").json()


def test_a_key_is_asked_for(index: Index) -> None:
    with TestClient(create_app(index.model, index, key="schlüssel")) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "schlüssel".encode()}):
            answer = client.post("/rank", json={"query": "a"}, headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401 and answer.json()["error_type"] == "Unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": "bearer  schlüssel".encode()}
        assert client.post("/rank", json={"query": "bridge"}, headers=right).status_code == 200  # type: ignore[arg-type]
        for path in ("/health", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert client.head("/health").status_code == 200 and client.get("/info").status_code == 401
    outer = FastAPI()
    outer.mount("/plait", create_app(index.model, index, key="secret"))
    with TestClient(outer) as client:
        assert client.get("/plait/health").status_code == 200
        headers = {"Authorization": "Bearer secret"}
        assert client.post("/plait/rank", json={"query": "bridge"}, headers=headers).json()["hits"]
        assert 'route="/rank",status="200"' in client.get("/plait/metrics").text


def test_an_application_starts_again(index: Index) -> None:
    app = create_app(index.model, index)
    for _ in range(2):
        with TestClient(app) as client:
            assert asked(client, "/rank", query=QUESTION)["hits"]


def test_two_applications_keep_their_notes_apart(index: Index) -> None:
    """And the warnings of others go where they went."""
    apps = [create_app(index.model, index) for _ in range(2)]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other, ThreadPoolExecutor(4) as pool:
        bodies = [{"query": QUESTION, "candidates": ["bridge", f"gone{i}"]} for i in range(12)]
        clients = [one, other] * 6
        answers = pool.map(lambda pair: asked(pair[0], "/rank", **pair[1]), zip(clients, bodies, strict=True))
        for number, answer in enumerate(answers):
            said = f"1 of 2 candidates are not in the index, 'gone{number}' first, and are left out"
            assert answer["notes"] == [said]
    with pytest.warns(UserWarning, match="as before"):
        warnings.warn("as before", UserWarning, stacklevel=1)


def test_who_has_left_is_not_answered(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    done = 0
    rank = Index.rank

    def counting(self: Index, *args: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        return rank(self, *args, **named)

    async def gone(_: Request) -> bool:
        return True

    monkeypatch.setattr(Index, "rank", counting)
    with TestClient(create_app(index.model, index)) as client:
        monkeypatch.setattr(Request, "is_disconnected", gone)
        assert client.post("/rank", json={"query": QUESTION}).status_code == 499 and done == 0


def test_only_what_a_model_has_heads_for_is_offered(index: Index, tmp_path: Path) -> None:
    spans = Plait.from_pretrained(small_checkpoint(tmp_path / "q", heads=("span",)), plan="join=1")
    with pytest.raises(PlaitError, match="sequence-classification head"):
        create_app(spans)
    of_spans = Index.create(tmp_path / "q.plait", spans)
    of_spans.add([Document(id, text) for id, text in TEXTS.items()])
    with TestClient(create_app(spans, of_spans)) as client:
        assert asked(client, "/ask", question=QUESTION)["answers"]
        assert client.post("/rank", json={"query": "a"}).status_code == 404


def test_requests_are_answered_in_turn_and_the_crowd_is_sent_away(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs beside another query; of five, two may wait."""
    begun, go, at_once, most = threading.Event(), threading.Event(), 0, 0
    rank = Index.rank

    def slow(self: Index, *args: Any, **named: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        begun.set()
        assert go.wait(30)
        at_once -= 1
        return rank(self, *args, **named)

    monkeypatch.setattr(Index, "rank", slow)
    with TestClient(create_app(index.model, index, waiting=2)) as client, ThreadPoolExecutor(5) as pool:
        first = pool.submit(client.post, "/rank", json={"query": QUESTION})
        assert begun.wait(30)
        others = [pool.submit(client.post, "/rank", json={"query": QUESTION}) for _ in range(4)]
        refused_ = [one for one in _done(others, 3)]
        assert [one.status_code for one in refused_] == [429] * 3 and refused_[0].headers["retry-after"] == "1"
        assert "plait_waiting 2.0" in client.get("/metrics").text
        go.set()
        answers = [one.result() for one in (first, *others)]
        assert sorted(one.status_code for one in answers) == [200, 200, 429, 429, 429] and most == 1
        monkeypatch.undo()
        metrics = client.get("/metrics").text
        assert 'plait_requests_total{route="/rank",status="429"} 3.0' in metrics
        assert 'plait_requests_total{route="/rank",status="200"} 2.0' in metrics
        assert 'plait_request_seconds_count{route="/rank"} 5.0' in metrics and "plait_waiting 0.0" in metrics


def _done(futures: list[Any], count: int) -> list[Any]:
    """The first answers that come."""
    from concurrent.futures import as_completed

    found = []
    for future in as_completed(futures, timeout=30):
        found.append(future.result())
        if len(found) == count:
            return found
    raise AssertionError(found)


def test_what_others_commit_is_read(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.server.app.FRESH", 0.0)
    with TestClient(create_app(index.model, index)) as client:
        other = Index.open(tmp_path / "s.plait", index.model)
        other.add([Document("new", "An albatross sleeps on the wing.")])
        [hit] = asked(client, "/rank", query="albatross")["hits"]
        assert hit["document"] == "new"


def test_a_failure_is_no_traceback_to_the_client(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "rank", lambda *_, **__: 1 / 0)
    with TestClient(create_app(index.model, index), raise_server_exceptions=False) as client:
        answer = client.post("/rank", json={"query": "a"})
        assert answer.status_code == 500 and answer.json()["error_type"] == "Backend"
        assert answer.json()["error"] == "the server failed at this request; its log says how"
        monkeypatch.undo()
        assert asked(client, "/rank", query=QUESTION)["hits"]


def test_the_command_serves(made: Path) -> None:
    """A real process: it says where it listens, answers, and ends when it is told to."""
    command = [sys.executable, "-m", "plait", "serve", str(made), "--port", "0"]
    environment = {**os.environ, "PLAIT_API_KEY": "secret"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            said = server.stdout.readline()
            place = re.search(r"on (http://127\.0\.0\.1:\d+)", said)
            assert place and "passages" in said, said + (server.stderr.read() if server.poll() is not None else "")
            with httpx.Client(base_url=place[1], headers={"Authorization": "Bearer secret"}, timeout=60) as client:
                expected = [hit.id for hit in Index.open(made).rank(QUESTION).hits]
                assert [hit["id"] for hit in asked(client, "/rank", query=QUESTION)["hits"]] == expected
                assert client.get("/info").json()["passages"] == len(Index.open(made).store)
                assert "/v1/rerank" in client.get("/openapi.json").json()["paths"]
                port = place[1].rpartition(":")[2]
                assert "needs an address that is free, but 127.0.0.1:" in refused("serve", made, "--port", port)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        assert "Traceback" not in server.stderr.read()


def test_what_cannot_be_served_is_refused(made: Path, tmp_path: Path) -> None:
    assert "--waiting must be 1 or more, but is 0" in refused("serve", made, "--waiting", 0)
    assert "--plan and --dtype are for a model alone" in refused("serve", made, "--plan", "join=1")
    assert "--port must be between 0 and 65535, but is 70000" in refused("serve", made, "--port", 70000)
    assert "an index is a folder with plait.json" in refused("serve", tmp_path / "nothing", "--port", 0)
