"""What is asked over HTTP is what the library answers; what cannot be is one sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from plait.cross_encoder import CrossEncoder
from plait.data import Document
from plait.index import Index
from plait.model import Plait
from plait.server import create_app
from tests.command import refused
from tests.corpus import PASSAGES, QUESTION, TEXTS, raw


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
    for path in ("/v1/rerank", "/v2/rerank"):
        found = asked(client, path, model="any", query=QUESTION, documents=documents, top_n=2, return_documents=True)
        assert found["model"] == "any" and [one["index"] for one in found["results"]] == order[:2]
        assert [one["document"] for one in found["results"]] == [{"text": PASSAGES[i]} for i in order[:2]]
    assert asked(client, "/rerank", query=QUESTION, texts=[]) == []


def test_what_is_cut_or_not_heeded_is_said(client: TestClient) -> None:
    body = {"query": QUESTION, "documents": ["river " * 900], "max_tokens_per_doc": 100}
    notes = client.post("/v1/rerank", json=body).headers["x-plait-notes"]
    assert notes.startswith("max_tokens_per_doc is not heeded; 1 of 1 passage texts are longer than the 127 tokens")
    assert "x-plait-notes" not in client.post("/rerank", json={"query": QUESTION, "texts": PASSAGES}).headers


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (
            "/rank",
            {"query": " "},
            422,
            "a query must be a text with a character that is not blank, but number 0 is ' '",
        ),
        ("/rank", {"query": "a", "top_k": 0}, 422, "top_k must be 1 or more, but is 0; 10 is the default"),
        ("/rank", {"query": "a", "candidates": 3, "first_stage": "all"}, 422, "first_stage=all has no candidates"),
        ("/rank", {"query": "a", "first_stage": "x"}, 422, "first_stage: Input should be 'auto', 'bm25'"),
        ("/rank", {"query": "a", "top": 3}, 422, "top: Extra inputs are not permitted, but is 3; see /docs"),
        ("/rank", {}, 422, "query: Field required, but is {}; see /docs"),
        ("/ask", {"question": 3}, 422, "question: Input should be a valid string, but is 3; see /docs"),
        (
            "/rerank",
            {"query": "a", "texts": ["b", ""]},
            422,
            "a passage must be a text with a character that is not bla",
        ),
        ("/rerank", {"query": "a", "texts": ["b"], "truncation_direction": "Left"}, 422, "truncation_direction: Input"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, 422, "top_k must be 1 or more, but is -1"),
        ("/rank", None, 422, "a request: Field required, but is None; see /docs"),
        ("/nowhere", {}, 404, "there is no POST /nowhere; see /docs"),
        ("/rank", {"query": "a" * 40_000}, 413, "a request must hold at most 20,000 bytes; send fewer texts at once"),
    ],
)
def test_bad_requests_get_one_sentence(
    index: Index, path: str, body: dict[str, object] | None, status: int, says: str
) -> None:
    with TestClient(create_app(index.model, index, max_body=20_000)) as client:
        answer = client.post(path, json=body) if body is not None else client.post(path)
        assert answer.status_code == status and answer.json()["error"].startswith(says), answer.text
        assert set(answer.json()) == {"error", "error_type"} and "\n" not in answer.json()["error"]
        pieces = (piece for piece in [b'{"query": "', b"a" * 40_000, b'"}'])  # whose length no header says
        assert client.post("/rank", content=pieces).status_code == 413
        assert client.post("/rank", content=b"{not json").status_code == 422
        assert client.get("/rank").status_code == 405


def test_the_page_names_every_route(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    paths = client.get("/openapi.json").json()["paths"]
    assert all(f"`{path}`" in page or f" {path}`" in page for path in paths) and len(paths) == 8
    said = page[page.index("-d '") :].split("'")[1]
    assert client.post("/ask", json=json.loads(said)).status_code == 200


def test_a_model_alone_has_no_store(index: Index) -> None:
    with TestClient(create_app(index.model)) as client:
        assert client.post("/rank", json={"query": "a"}).json()["error"] == "there is no POST /rank; see /docs"
        assert asked(client, "/rerank", query=QUESTION, texts=PASSAGES)
        assert "passages" not in client.get("/info").json()


def test_a_key_is_asked_for(index: Index) -> None:
    with TestClient(create_app(index.model, index, key="schlüssel")) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "schlüssel".encode()}):
            answer = client.post("/rank", json={"query": "a"}, headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401 and answer.json()["error_type"] == "Unauthorized"
        right = {"Authorization": "Bearer schlüssel".encode()}
        assert client.post("/rank", json={"query": "river"}, headers=right).status_code == 200  # type: ignore[arg-type]
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200


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
        (tmp_path / "s.plait").rename(tmp_path / "away")
        answer = client.post("/rank", json={"query": "albatross"})
        assert answer.status_code == 503 and answer.json()["error_type"] == "Unhealthy", answer.text


def test_a_failure_is_no_traceback_to_the_client(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "rank", lambda *_, **__: 1 / 0)
    with TestClient(create_app(index.model, index), raise_server_exceptions=False) as client:
        answer = client.post("/rank", json={"query": "a"})
        assert answer.status_code == 500 and answer.json() == {
            "error": "the server failed at this request; its log says how", "error_type": "Backend",
        }  # fmt: skip
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
            server.send_signal(signal.SIGINT)
            server.wait(60)
        assert "Traceback" not in server.stderr.read()


def test_what_cannot_be_served_is_refused(made: Path, tmp_path: Path) -> None:
    assert "--waiting must be 1 or more, but is 0" in refused("serve", made, "--waiting", 0)
    assert "--plan and --dtype are for a model alone" in refused("serve", made, "--plan", "join=1")
    nowhere = refused("serve", made, "--host", "nowhere.invalid", "--port", 0)
    assert "needs an address that is free, but nowhere.invalid:0 is not" in nowhere
    assert "is not" in refused("serve", tmp_path / "nothing", "--port", 0)
