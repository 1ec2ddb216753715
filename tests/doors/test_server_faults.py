"""What is the server's own fault is 503, and so says /health until a request is answered again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from plait.data import Document
from plait.index import Index
from plait.model import Plait
from plait.server import create_app
from tests.corpus import PASSAGES, QUESTION, TEXTS


@pytest.fixture
def index(checkpoint_path: Path, tmp_path: Path) -> Index:
    return built(tmp_path, Plait.from_pretrained(checkpoint_path))


def built(folder: Path, model: Plait) -> Index:
    index = Index.create(folder / "s.plait", model)
    index.add([Document(id, text) for id, text in TEXTS.items()])
    return index


def asked(client: TestClient, path: str, **body: object) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("fresh", [0.0, 100.0])
def test_faults_of_the_store_are_the_servers(index: Index, tmp_path: Path, fresh: float, monkeypatch: Any) -> None:
    monkeypatch.setattr("plait.server.app.FRESH", fresh)
    with TestClient(create_app(index.model, index)) as client:
        assert client.get("/health").status_code == 200
        (tmp_path / "s.plait").rename(tmp_path / "away")
        for _ in range(2):
            answer = client.post("/rank", json={"query": "bridge"})
            assert answer.status_code == 503 and answer.json()["error_type"] == "Unhealthy", answer.text
            assert str(tmp_path) not in answer.text and client.get("/health").status_code == 503
        (tmp_path / "away").rename(tmp_path / "s.plait")
        assert asked(client, "/rank", query="bridge")["hits"] and client.get("/health").status_code == 200


def test_a_store_that_was_built_anew_is_the_servers_fault(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait.server.app.FRESH", 0.0)
    with TestClient(create_app(index.model, index)) as client:
        shutil.rmtree(tmp_path / "s.plait")
        built(tmp_path, index.model)
        assert client.post("/rank", json={"query": "bridge"}).status_code == 503
        assert client.get("/health").status_code == 503


@pytest.mark.parametrize(
    ("path", "body"),
    [("/rerank", {"query": QUESTION, "texts": PASSAGES}), ("/ask", {"question": QUESTION}), ("/rank", {"query": "a"})],
)
def test_weights_that_give_no_numbers_are_the_servers_fault(index: Index, path: str, body: dict[str, object]) -> None:
    """And /health says so no longer than until a request is answered."""
    weights = list(index.model.heads.parameters())
    kept = [weight.detach().clone() for weight in weights]
    with TestClient(create_app(index.model, index)) as client, torch.no_grad():
        for weight in weights:
            weight.fill_(torch.nan)
        answer = client.post(path, json=body)
        assert answer.status_code == 503 and client.get("/health").status_code == 503, answer.text
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
        assert asked(client, path, **body) and client.get("/health").status_code == 200
