"""`push_to_hub` against a stand-in that speaks the hub's protocol over HTTP, on this machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plait.model import Plait
from tests.small import small_checkpoint


class Hub(ThreadingHTTPServer):
    """Keeps what is committed: files by repository and path; `secret` is the token that may write."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.secret = "secret"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {self.server.secret}":
            return self.answer(401, {"error": "Invalid credentials"})
        path = self.path.split("?")[0]
        here = f"http://{self.headers['Host']}"
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.files.setdefault(name, {})
            return self.answer(200, {"url": f"{here}/{name}", "name": name})
        name = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            found = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": found})
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self.answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{here}/{name}/commit/0"})
        return self.answer(200, {})

    def do_GET(self) -> None:
        self.answer(404, {"error": "not here"})

    def answer(self, code: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def push(hub: Hub, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's address is read when the library is imported."""
    code = f"from plait import Plait, PlaitError\nmodel = Plait.from_pretrained({str(folder)!r})\n" + (
        f"try:\n  print(model.push_to_hub('me/split', token={token!r}))\nexcept PlaitError as error:\n  print(error)"
    )
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_what_is_pushed_is_what_is_saved(tmp_path: Path, hub: Hub) -> None:
    folder = small_checkpoint(tmp_path / "model", plans={"score": "join=2,mode=oneway"})
    (folder / "README.md").write_text("# A card")
    done = push(hub, folder, "secret")
    assert done.stdout.strip().endswith("me/split/commit/0"), done.stderr
    target = tmp_path / "back"
    target.mkdir()
    for name, content in hub.files["me/split"].items():
        (target / name).write_bytes(content)
    pair = [("river", "stone river")]
    assert (target / "README.md").read_text() == "# A card"
    assert Plait.from_pretrained(target).predict(pair) == Plait.from_pretrained(folder).predict(pair)


def test_a_token_that_may_not_write(tmp_path: Path, hub: Hub) -> None:
    folder = small_checkpoint(tmp_path / "model")
    done = push(hub, folder, "wrong")
    assert "check its name, your token and the network" in done.stdout and "Traceback" not in done.stderr
    assert not hub.files
