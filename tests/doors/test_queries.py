"""Files of queries, each ranked for or answered: a JSON line a query."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command import done, refused
from tests.corpus import TEXTS, write


def test_rank_for_each_query_of_a_file(made: Path, tmp_path: Path) -> None:
    """A JSON line a query, in order, with what `rank --json` says of it; nothing else on standard output."""
    queries = {"1": "who built the bridge?", "3": "zzz", "4": "who, in the castle?"}
    bare, named = tmp_path / "queries.txt", tmp_path / "queries.jsonl"
    bare.write_text("who built the bridge?\n\n  zzz\r\nwho, in the castle?")
    write(named, [{"_id": f"q{id}", "text": text} for id, text in queries.items()])
    options = ["--top-k", 2, "--first-stage-weight", 1]
    found = [json.loads(line) for line in done("rank", made, "--queries", bare, *options).splitlines()]
    assert [one["id"] for one in found] == list(queries)
    for one, text in zip(found, queries.values(), strict=True):
        alone = json.loads(done("rank", made, text, *options, "--json"))
        assert {"id": one["id"], **alone}.keys() == one.keys()
        assert one["hits"] == alone["hits"] and one["query_tokens_cut"] == 0
    assert [len(one["hits"]) for one in found] == [2, 0, 2]
    again = [json.loads(line) for line in done("rank", made, "--queries", named, *options, "--json").splitlines()]
    assert [(one["id"], one["hits"]) for one in again] == [(f"q{one['id']}", one["hits"]) for one in found]


def test_ask_each_question_of_a_file(made: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    """A JSON line a question, in order, with what `ask --json` says of it: of a store and of one text."""
    questions = {"1": "who built the bridge?", "2": "zzz", "3": "where is the castle?"}
    path, text = tmp_path / "questions.txt", tmp_path / "chapter.txt"
    path.write_text("\n".join(questions.values()))
    text.write_text(" ".join(TEXTS.values()), "utf-8")
    for given in (["ask", made, "--read", 2], ["ask", "--text", text, "--model", checkpoint_path]):
        found = [json.loads(line) for line in done(*given, "--queries", path).splitlines()]
        assert [one.pop("id") for one in found] == list(questions)
        for one, question in zip(found, questions.values(), strict=True):
            alone = json.loads(done(*given, question, "--json"))
            assert one.keys() == alone.keys()
            assert all(one[name] == alone[name] for name in one if name not in ("seconds", "timing"))
    assert one["answer"]
    queries = ["--queries", path]
    assert "ask needs a store, or --text FILE, and a question or --queries" in refused("ask", made, "who?", *queries)
    assert "ask needs a store, or --text FILE, and a question or --queries" in refused("ask", *queries)
    for given in (["ask", "who?", "--text", text], ["ask", made, "--text", text]):
        assert "ask reads a store or --text, but was given" in refused(*given, *queries)
