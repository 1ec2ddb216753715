"""Bad input to the `plait` command: one sentence, exit code 1, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest

from plait.index import Index
from plait.store import Store
from tests.command import done, refused, run
from tests.conftest import PLANS
from tests.corpus import SMALL, TEXTS, corpus, held, write
from tests.small import small_checkpoint


def test_empty_queries(store: Path, tmp_path: Path, checkpoint_path: Path) -> None:
    before = held(store)
    (tmp_path / "chapter.txt").write_text("the river")
    for query in ("", "  ", "\n"):
        for sentence in (
            refused("rank", store, query),
            refused("ask", store, query),
            refused("ask", "--text", tmp_path / "chapter.txt", query, "--model", checkpoint_path),
        ):
            assert "a query must be a text with a character that is not blank" in sentence
    assert held(store) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty-id.jsonl", '{"id": "", "text": "x"}\n', "line 1: field 'id' must not be empty"),
        ("twice.jsonl", '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "'a' stands at .* line 1 .* line 2"),
        ("lines.jsonl", '{"id": "a\\nb", "text": "x"}\n{"id": "a\\nb", "text": "y"}\n', "must name one document"),
        ("empty-text.jsonl", '{"id": "a", "text": ""}\n{"id": "b", "text": " "}\n', "but holds 2 without a text"),
        ("bad.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"\n', "line 2 must be JSON"),
        ("list.jsonl", "[1, 2]\n", "line 1 must be a JSON object, but is a list"),
        ("null.jsonl", "null\n", "line 1 must be a JSON object, but is null"),
        ("string.jsonl", '"a"\n', "line 1 must be a JSON object, but is a text"),
        ("no-text.jsonl", '{"id": "a", "body": "x"}\n', "must have a field 'text'"),
        ("nothing.jsonl", "", "empty"),
        ("blank.txt", " \n", "but holds 1 without a text"),
        ("binary.txt", "\0\1\2ELF", "binary"),
        ("latin.txt", b"caf\xe9", "UTF-8"),
        ("picture.png", b"\x89PNG\0", r"documents must be a directory or a file of"),
        ("columns.csv", "id,text\na,b,c\n", "line 2 must have 2 cells"),
        ("squad.json", '{"data": 3}', "'data' must be a list"),
        ("broken.parquet", b"PAR1 no", "Parquet"),
        ("broken.jsonl.gz", b"\x1f\x8b\x08\0no", "archive"),
        ("no-token.jsonl", '{"id": "a", "text": "\\u200b"}\n', "'a' has none"),
    ],
)  # fmt: skip
def test_bad_documents(
    store: Path, tmp_path: Path, checkpoint_path: Path, name: str, content: str | bytes, words: str
) -> None:
    import re

    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = held(store)
    for arguments in (["add", store, path], ["index", path, "--store", store]):
        assert re.search(words, refused(*arguments)), arguments
    assert held(store) == before
    new = tmp_path / "new.plait"
    assert re.search(words, refused("index", path, "--store", new, "--model", checkpoint_path, *SMALL))
    assert not new.exists() or Index.open(new).store.ids() == []


def test_documents_without_a_text_are_noted(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"id": "new", "text": "The river is yellow."}\n{"id": "bridge", "text": ""}\n')
    added = run("add", store, path)
    assert added.code == 0 and "1 of 2 documents have no text, 'bridge' first, and are left out" in added.err
    assert {"new", "bridge"} <= Index.open(store).store.contents().keys()  # what is stored of it stays


def test_documents_without_a_token_stop_no_build(tmp_path: Path, checkpoint_path: Path) -> None:
    """Of zero-width characters alone, as scraped corpora have some."""
    path, new = tmp_path / "docs.jsonl", tmp_path / "new.plait"
    texts = {"a": "The river is yellow.", "empty": "\u200b\u200b", "b": "The stone bridge."}
    path.write_text("".join(json.dumps({"id": id, "text": text}) + "\n" for id, text in texts.items()))
    built = run("index", path, "--store", new, "--model", checkpoint_path, *SMALL)
    assert built.code == 0, built.err
    assert "1 of 3 documents have no character that makes a token, 'empty' first, and are left out" in built.err
    assert Index.open(new).store.contents().keys() == {"a", "b"}


def test_missing_paths(store: Path, tmp_path: Path) -> None:
    before = held(store)
    for sentence in (
        refused("add", store, tmp_path / "missing.jsonl"),
        refused("index", tmp_path / "missing.jsonl", "--store", tmp_path / "new.plait"),
        refused("predict", tmp_path / "missing", tmp_path / "missing.jsonl"),
    ):
        assert "missing" in sentence
    more = corpus(tmp_path)
    for command in (["rank", "q"], ["ask", "q"], ["delete", "a"], ["stats"], ["verify"], ["compact"], ["add", more]):
        assert "nowhere" in refused(command[0], tmp_path / "nowhere", *command[1:])
    assert held(store) == before and not (tmp_path / "nowhere").exists() and not (tmp_path / "new.plait").exists()


def test_a_document_of_ten_megabytes(store: Path, tmp_path: Path) -> None:
    before = held(store)
    path = write(tmp_path / "long.jsonl", [{"id": "long", "text": "the river is yellow " * 500_000}])
    assert path.stat().st_size > 10_000_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sentence = refused("add", store, path)
    assert "document 'long': a text must have at most" in sentence
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 400_000  # KiB
    assert held(store) == before
    (tmp_path / "long.txt").write_text("the river is yellow " * 500_000)
    assert "at most" in refused(
        "ask", "--text", tmp_path / "long.txt", "what?", "--model", Index.open(store).settings.model
    )


def test_a_long_document_becomes_many_passages(store: Path, tmp_path: Path) -> None:
    text = " ".join(f"river{number % 7} stone" for number in range(3_000))
    done("add", store, write(tmp_path / "long.jsonl", [{"id": "long", "text": text}]))
    opened = Store.open(store)
    rows = opened.passages(opened.passage_ids("long"))
    assert len(rows) > 200 and all(text[p.start : p.start + len(p.text)] == p.text for p in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plan", "jion=1"], "a plan has the keys .* but was given 'jion'"),
        (["--plan", "join=7"], "join must be between 0 and 3"),
        (["--plan", "join=one"], "join must be a layer number"),
        (["--plan", "join=1,join=2"], "names each key once"),
        (["--plan", "join=0,positions=continue"], "positions=continue"),
        (["--plan", "score: join=1; other: join=1"], "'other'"),
        (["--codec", "int2"], "codec must be one of"),
        (["--dtype", "int3"], "dtype must be one of"),
        (["--device", "nowhere"], "device must be one that PyTorch can use here, but is 'nowhere' .* pass auto or cpu"),
        (["--device", "cuda:99"], "device must be one that PyTorch can use here, but is 'cuda:99'"),
        (["--overlap", "40"], "overlap of at most half"),
        (["--vectors", "some"], "vectors must be one of"),
    ],
)
def test_bad_options_of_a_new_store(checkpoint_path: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    import re

    said = refused(
        "index", corpus(tmp_path), "--store", tmp_path / "s.plait", "--model", checkpoint_path, *SMALL, *arguments
    )
    assert re.search(words, said)
    assert not (tmp_path / "s.plait").exists()


def test_bad_plans_for_plan(checkpoint_path: Path, tmp_path: Path) -> None:
    assert "'jion'" in refused("plan", checkpoint_path, "--plan", "jion=1")
    assert "head must be one of score, span, text" in refused("plan", checkpoint_path, "--head", "scores")
    assert "a text head needs a decoder" in refused("plan", checkpoint_path, "--head", "text")
    plan = ["plan", checkpoint_path, "--plan", "join=1"]
    assert "lengths" in refused(*plan, "--lengths", "query=0,passage=9")
    assert "1 to 128 tokens" in refused(*plan, "--lengths", "query=6,passage=129")
    assert "'passage' is missing" in refused(*plan, "--lengths", "query=6")
    assert "passages must be 1 or more" in refused(*plan, "--lengths", "query=6,passage=9", "--passages", 0)
    assert "codec must be one of" in refused(*plan, "--lengths", "query=6,passage=9", "--codec", "zip")
    assert "no folder" in refused("plan", tmp_path / "missing")


def test_a_store_of_another_model(store: Path, tmp_path: Path, checkpoint_path: Path) -> None:
    before = held(store)
    other = small_checkpoint(tmp_path / "other", plans=PLANS, seed=5, max_position_embeddings=128)
    path = write(tmp_path / "more.jsonl", [{"id": "more", "text": "the river"}])
    assert "goes on with the model that began it" in refused("index", path, "--store", store, "--model", other)
    assert "begun with plan" in refused("index", path, "--store", store, "--plan", "score: join=3; span: join=1")
    for option in (["--codec", "float32"], ["--passage-tokens", 32], ["--overlap", 4], ["--vectors", "pooled"]):
        assert "begun with" in refused("index", path, "--store", store, *option)
    settings = json.loads((store / "plait.json").read_text())
    (store / "plait.json").write_text(json.dumps(settings | {"model": str(other)}))
    for command in (["rank", store, "river"], ["ask", store, "river?"], ["add", store, path]):
        assert "model (the store has" in refused(*command)
    (store / "plait.json").write_text(json.dumps(settings | {"model": str(tmp_path / "gone")}))
    assert "no folder" in refused("rank", store, "river")
    assert held(store) == before


def test_broken_checkpoints(checkpoint_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint_path, broken)
    (broken / "model.safetensors").write_bytes((checkpoint_path / "model.safetensors").read_bytes()[:999])
    pairs = write(tmp_path / "pairs.jsonl", [{"query": "a", "passage": "b"}])
    for command in (
        ["index", corpus(tmp_path), "--store", tmp_path / "s.plait", "--model", broken],
        ["predict", broken, pairs],
        ["ask", "--text", corpus(tmp_path), "what?", "--model", broken],
    ):
        assert "check the path and that the files are whole" in refused(*command)
    assert "bundled checkpoint must be one of" in refused("predict", "bundled:nothing", pairs)
    assert not (tmp_path / "s.plait").exists()


def test_numbers_that_cannot_be(store: Path) -> None:
    before = held(store)
    for command in ("rank", "ask"):
        for top_k in (0, -1):
            assert f"top_k must be 1 or more, but is {top_k}" in refused(command, store, "river", "--top-k", top_k)
        assert "must be" in refused(command, store, "river", "--candidates", 0)
        assert "first_stage must be one of" in refused(command, store, "river", "--first-stage", "magic")
        assert "vectors=pooled" in refused(command, store, "river", "--first-stage", "vector")
    assert held(store) == before


def test_deleted_ids(store: Path) -> None:
    done("delete", store, "music")
    before = held(store)
    for ids, said in ((["music"], "'music' is not there"), (["music"] * 2, "'music' is not there; check"),
                      (["bridge", "nobody"], "'nobody' is not there"),
                      (["music", "nobody"], "'music', 'nobody' are not there")):  # fmt: skip
        assert said in refused("delete", store, *ids)
    assert held(store) == before
    assert "music" not in {
        h["document"] for h in json.loads(done("rank", store, "music", "--first-stage", "all", "--json"))["hits"]
    }


def test_two_writers(store: Path, tmp_path: Path) -> None:
    before = held(store)
    path = write(tmp_path / "more.jsonl", [{"id": "more", "text": "the river"}])
    with Store.open(store).writing():
        for command in (
            ["add", store, path],
            ["index", path, "--store", store],
            ["delete", store, "music"],
            ["compact", store],
        ):
            assert f"process {os.getpid()} is writing" in refused(*command)
        assert json.loads(done("rank", store, "river", "--json"))  # readers are not in its way
    assert held(store) == before
    done("add", store, path)


def test_disk_full(store: Path, tmp_path: Path, checkpoint_path: Path) -> None:
    before = held(store)
    words = " ".join(os.urandom(3).hex() for _ in range(9_000))
    path = write(tmp_path / "big.jsonl", [{"id": "big", "text": words}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        sentences = [refused("add", store, path), refused("index", path, "--store", store)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
        sentences.append(refused("index", path, "--store", tmp_path / "new.plait", "--model", checkpoint_path, *SMALL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all("free space" in sentence for sentence in sentences)
    assert held(store) == before
    assert not (tmp_path / "new.plait").exists() and not list(tmp_path.glob(".new.plait*"))
    assert done("add", store, path).startswith("1 documents stored")


def test_a_query_longer_than_the_model_reads(store: Path) -> None:
    for command in ("rank", "ask"):
        result = run(command, store, "river " * 300, "--json")
        assert result.code == 0, result
        assert (
            result.err.startswith("note: 1 of 1 query texts are longer than the 126 tokens")
            and result.err.count("\n") == 1
        )
        assert json.loads(result.out)["query_tokens_cut"] == 300 - 126


def test_verify_finds_a_flipped_byte(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.plait"
    shutil.copytree(made, path)
    assert f"{len(Store.open(made))} passages are whole" in done("verify", path)
    [data] = [p for p in (path / "passages.lance" / "data").iterdir()]
    content = bytearray(data.read_bytes())
    codec = Store.open(made).codec
    length = Store.open(made).lengths(["garden"])[0]
    part, row = Store.open(made)._now.catalog.places["garden"]
    content[int(part.positions[0, row]) + codec.row_bytes["states.1"] * length // 2] ^= 4
    data.write_bytes(content)
    result = run("verify", path)
    assert result.code == 1 and result.err.splitlines()[0].startswith("garden: its content differs")
    assert result.err.splitlines()[1].startswith("plait: 1 of ") and "Traceback" not in result.err
    # What the sentence advises mends it.
    done("delete", path, "garden")
    done("add", path, write(tmp_path / "garden.jsonl", [{"id": "garden", "text": TEXTS["garden"]}]))
    assert "passages are whole" in done("verify", path)


def test_bad_pairs(checkpoint_path: Path, tmp_path: Path) -> None:
    for content, words in {
        '["a", "b"]\n["c"]\n': "line 2",
        '["a", "b", "c"]\n': "an example must have 2 texts",
        '{"query": "a"}\n': "line 1 must have 'query' and 'passage'",
        '["a", " "]\n': "must not be empty",
        "{": "line 1 must be JSON",
        "": "empty",
    }.items():
        (tmp_path / "pairs.jsonl").write_text(content)
        assert words in refused("predict", checkpoint_path, tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.jsonl").write_text('["a", "b"]\n')
    assert "batch_size must be 1 or more" in refused(
        "predict", checkpoint_path, tmp_path / "pairs.jsonl", "--batch-size", 0
    )
    span = small_checkpoint(tmp_path / "span", heads=("span",))
    assert "sequence-classification head" in refused("predict", span, tmp_path / "pairs.jsonl")


def test_one_column_for_two_roles(checkpoint_path: Path, tmp_path: Path) -> None:
    """Unless each of its rows holds both texts."""
    pairs, lists = tmp_path / "pairs.csv", tmp_path / "lists.jsonl"
    pairs.write_text("query,passage\nwho?,the doctor\n")
    lists.write_text('{"both": ["who?", "the doctor"]}\n')
    said = refused("predict", checkpoint_path, pairs, "--texts", "query")
    assert said == "--texts must name a column for each of query and passage, but is query; join two by +"
    expected = done("predict", checkpoint_path, pairs, "--texts", "query+passage")
    assert done("predict", checkpoint_path, lists, "--texts", "both") == expected


def test_options_of_the_other_kind_of_known_text(store: Path, tmp_path: Path) -> None:
    """`ask` reads a store, which has its model, or one text, which has no first stage."""
    text = tmp_path / "chapter.txt"
    text.write_text("the river")
    for option in (["--top-k", 2], ["--candidates", 5], ["--first-stage", "all"]):
        assert "are for stores, but --text is given" in refused("ask", "--text", text, "what?", *option)
    for option in (["--plan", "join=1"], ["--dtype", "float32"]):
        assert "are for --text, but" in refused("ask", store, "what?", *option)


def test_a_query_that_is_not_unicode(store: Path) -> None:
    """What the shell hands over where its bytes are no UTF-8."""
    for command in ("rank", "ask"):
        assert "character 3 of number 0 is half of a surrogate pair" in refused(command, store, "caf\udce9")


def test_arguments_that_are_missing(store: Path) -> None:
    assert "ask needs a store, or --text FILE, and a question" in refused("ask", store)
    assert "ask needs a store, or --text FILE, and a question" in refused("ask")
    assert "rank takes a query or --queries FILE, but was given neither" in refused("rank", store)
    for arguments in (["rank"], ["nonsense"], ["rank", store, "q", "--top-k", "many"]):  # typer's own, code 2
        result = run(*arguments)
        assert result.code == 2 and result.err and "Traceback" not in result.err


def test_a_query_and_a_file_of_queries_are_not_ranked_at_once(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_text("river\n")
    assert "but was given both" in refused("rank", store, "river", "--queries", path)
    for content, words in {"": "empty", " \n\n": "at least one query", "1\triver\nmore\n": "must have 2 cells"}.items():
        path.write_text(content)
        assert words in refused("rank", store, "--queries", path)
    assert "queries must be a file of .jsonl" in refused("rank", store, "--queries", tmp_path / "queries.md")


def test_a_store_and_a_text_are_not_asked_at_once(checkpoint_path: Path, tmp_path: Path) -> None:
    assert "leave one out" in refused("ask", tmp_path / "s.plait", "who?", "--text", corpus(tmp_path))


def test_a_store_that_nobody_could_ask_is_not_made(tmp_path: Path) -> None:
    model = small_checkpoint(tmp_path / "nli", heads=("score",), num_labels=3)
    said = refused("index", corpus(tmp_path), "--store", tmp_path / "s.plait", "--model", model, "--plan", "join=1")
    assert "one label" in said and not (tmp_path / "s.plait").exists()
