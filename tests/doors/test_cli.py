"""The `plait` command on real files: what it prints, what it refuses in one line, and that a refusal loses nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from plait.index import Index
from plait.model import Plait
from plait.plan import Plan
from plait.store import Store
from tests.command import done, refused, run, start
from tests.conftest import PLANS
from tests.small import small_checkpoint

TEXTS = {
    "bridge": "A doctor built the silver bridge. The sailor was in the harbour [red]in winter[/red].",
    "castle": "The painter found a letter of the queen in the castle on the mountain. " * 6,
    "music": "Music by the teacher: \\[the engine] of the railway. :smile:",
    "garden": "The garden of the village is yellow.",
}
SMALL = ["--passage-tokens", 40, "--overlap", 8, "--dtype", "float32"]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def corpus(folder: Path) -> Path:
    return write(folder / "docs.jsonl", [{"id": id, "text": text, "kind": len(id)} for id, text in TEXTS.items()])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checkpoint_path: Path) -> Path:
    """A store of TEXTS, built by the command. Not to be changed."""
    root = tmp_path_factory.mktemp("made")
    said = done("index", corpus(root), "--store", root / "s.plait", "--model", checkpoint_path, *SMALL)
    assert said.startswith("4 documents stored as ")
    return root / "s.plait"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it. Whatever a test does, what it leaves is whole."""
    shutil.copytree(made, tmp_path / "s.plait")
    yield tmp_path / "s.plait"
    assert "passages are whole" in done("verify", tmp_path / "s.plait")


def held(path: Path) -> tuple[dict[str, str], list[str], int]:
    """What a refusal must leave as it was."""
    opened = Store.open(path)
    return opened.contents(), opened.ids(), opened.version


# plan


def test_plan(checkpoint_path: Path) -> None:
    arguments = [
        "plan",
        checkpoint_path,
        "--plan",
        "join=1,mode=oneway",
        "--lengths",
        "query=6,passage=50",
        "--passages",
        10,
    ]
    facts = json.loads(done(*arguments, "--codec", "int8", "--json"))
    assert facts["stored"] == {"query": [], "passage": ["states.1", "states.2"]}
    assert facts["bytes_per_token"] == 2 * (32 + 2) and facts["bytes_per_example"] == 50 * 68
    assert facts["gain"] == facts["full"] / facts["online"] > 1 and facts["layers"] == 3
    said = done(*arguments)
    assert (
        "join=1,mode=oneway" in said and "stored of passage: states.1, states.2" in said and "3,400 an example" in said
    )
    assert "torch" not in said and "itself + passage" in said
    plan = '{"join": 2, "mode": "frozen", "states": "kv"}'
    frozen = json.loads(done(*arguments[:2], "--plan", plan, *arguments[4:], "--json"))
    assert frozen["stored"]["passage"] == ["key.2@2", "value.2@2"]


# index, add, delete


def test_index_rank_and_ask(made: Path) -> None:
    found = json.loads(done("rank", made, "who built the bridge?", "--top-k", 3, "--json"))
    assert set(found) == {"hits", "seconds", "query_tokens_cut"} and found["query_tokens_cut"] == 0
    assert {"id", "document", "text", "start", "score", "metadata"} == set(found["hits"][0]) and len(found["hits"]) == 3
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    for hit in found["hits"]:
        document = TEXTS[hit["document"]]
        assert document[hit["start"] : hit["start"] + len(hit["text"])] == hit["text"]
        assert hit["metadata"] == {"kind": len(hit["document"])}
    every = json.loads(done("rank", made, "who?", "--first-stage", "all", "--top-k", 99, "--json"))["hits"]
    assert {hit["document"] for hit in every} == set(TEXTS) and len(every) == len(Store.open(made)) > 4
    model = Plait.from_pretrained(Index.open(made).settings.model)
    live = model.predict([("who?", hit["text"]) for hit in every], activation_fn=lambda x: x)
    np.testing.assert_allclose([hit["score"] for hit in every], live, atol=0.3)  # the store is int8
    text = done("rank", made, "who built the bridge?", "--top-k", 2)
    assert text.splitlines()[0].split()[0] == "1" and found["hits"][0]["id"] in text and "first stage" in text
    answers = json.loads(done("ask", made, "who built the bridge?", "--top-k", 2, "--json"))["answers"]
    assert len(answers) == 2
    for answer in answers:
        assert answer["hit"]["text"][answer["start"] : answer["end"]] == answer["answer"] != ""
    said = done("ask", made, "who built the bridge?")
    assert answers[0]["answer"] in said and answers[0]["hit"]["id"] in said


def test_texts_are_printed_as_they_are(made: Path) -> None:
    """Brackets, colons and backslashes of texts are no markup."""
    said = done("rank", made, "music winter", "--first-stage", "all", "--top-k", 99)
    assert "\\[the engine] of the railway. :smile:" in said and "[red]in winter[/red]" in said


def test_no_word_in_common(made: Path) -> None:
    assert "no passage" in done("ask", made, "zzz")
    assert json.loads(done("rank", made, "zzz", "--json"))["hits"] == []
    assert json.loads(done("ask", made, "?!", "--json"))["answers"] == []


@pytest.mark.parametrize("kind", ["csv", "txt", "dir", "squad", "parquet"])
def test_index_of_other_files(checkpoint_path: Path, tmp_path: Path, kind: str) -> None:
    options: list[object] = []
    if kind == "csv":
        path = tmp_path / "docs.csv"
        path.write_text('name,body\none,"the river, yellow"\ntwo,the bridge\n')
        options = ["--text-column", "body", "--id-column", "name"]
        expected = {"one", "two"}
    elif kind == "txt":
        path = tmp_path / "chapter.txt"
        path.write_text("the river\nis yellow\n")
        expected = {"chapter.txt"}
    elif kind == "dir":
        path = tmp_path / "docs"
        (path / "more").mkdir(parents=True)
        (path / "a.txt").write_text("the river")
        (path / "more" / "b.md").write_text("the bridge")
        (path / "picture.png").write_bytes(b"\x89PNG\0\0")
        expected = {"a.txt", "more/b.md"}
    elif kind == "squad":
        path = tmp_path / "squad.json"
        answer = {"text": "river", "answer_start": 4}
        question = {"id": "q", "question": "what?", "answers": [answer]}
        paragraphs = [{"context": "the river", "qas": [question]}, {"context": "the bridge", "qas": []}]
        path.write_text(json.dumps({"version": "1.1", "data": [{"title": "Rivers", "paragraphs": paragraphs}]}))
        expected = {"Rivers/1", "Rivers/2"}
    else:
        import pyarrow as pa
        from pyarrow import parquet

        path = tmp_path / "docs.parquet"
        parquet.write_table(pa.table({"id": ["x", "y"], "text": ["the river", "the bridge"]}), path)
        expected = {"x", "y"}
    said = done("index", path, "--store", tmp_path / "s.plait", "--model", checkpoint_path, *SMALL, *options)
    assert said.startswith(f"{len(expected)} documents stored as {len(expected)} passages")
    assert set(Store.open(tmp_path / "s.plait").contents()) == expected
    [hit] = json.loads(done("rank", tmp_path / "s.plait", "river", "--json"))["hits"]
    assert "river" in hit["text"]


def test_add_upsert_delete_compact(store: Path, tmp_path: Path) -> None:
    before = Store.open(store).contents()
    rows: list[dict[str, object]] = [{"id": id, "text": text, "kind": len(id)} for id, text in TEXTS.items()]
    rows[1]["text"] = "The castle is new."
    rows.append({"id": "extra", "text": "A lantern of copper."})
    said = done("add", store, write(tmp_path / "more.jsonl", rows))
    assert said.startswith("2 documents stored as 2 passages") and "3 were there already" in said
    opened = Store.open(store)
    assert set(opened.contents()) == {*before, "extra"} and opened.contents()["castle"] != before["castle"]
    assert [p.text for p in opened.passages(opened.passage_ids("castle"))] == ["The castle is new."]
    assert json.loads(done("rank", store, "letter of the queen", "--json"))["hits"] == [] or "castle" not in {
        hit["document"] for hit in json.loads(done("rank", store, "letter queen", "--json"))["hits"]
    }
    assert "2 passages of 2 documents deleted" in done("delete", store, "castle", "extra")
    assert "castle" not in {
        h["document"] for h in json.loads(done("rank", store, "castle", "--first-stage", "all", "--json"))["hits"]
    }
    assert "MB before" in done("compact", store)
    assert Store.open(store).stats().versions == 1
    stats = json.loads(done("stats", store, "--json"))
    assert (stats["documents"], stats["passages"], stats["codec"]) == (3, 3, "int8")
    assert {head: Plan.parse(plan) for head, plan in stats["plans"].items()} == Plait.from_pretrained(
        stats["model"]
    ).plans
    assert "documents  3" in done("stats", store)
    assert set(stats["tensors"]) == {"states.1", "states.2"}


def test_index_again_adds_what_is_new(store: Path, tmp_path: Path, checkpoint_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "fresh", "text": "the yellow river"}]
    path = write(tmp_path / "fresh.jsonl", rows)
    assert done("index", path, "--store", store).startswith("1 documents stored")
    again = done(
        "index", path, "--store", store, "--model", checkpoint_path, "--plan", "score: join=2,mode=oneway; span: join=1"
    )
    assert "1 were there already" in again


def test_the_same_command_again(checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with options that the model cannot follow to the letter, and with another way to write the model's path."""
    options = ["--codec", "float16", "--passage-tokens", 384, "--overlap", 64, "--vectors", "none"]
    path = corpus(tmp_path)
    monkeypatch.chdir(checkpoint_path)
    for model, end in (("../bert", "passages"), (checkpoint_path, "were there already")):
        assert end in done("index", path, "--store", tmp_path / "s.plait", "--model", model, *options)
    monkeypatch.chdir(tmp_path)
    assert json.loads(done("rank", "s.plait", "river", "--first-stage", "all", "--json"))["hits"]


def test_vectors(checkpoint_path: Path, tmp_path: Path) -> None:
    done(
        "index",
        corpus(tmp_path),
        "--store",
        tmp_path / "v.plait",
        "--model",
        checkpoint_path,
        "--vectors",
        "pooled",
        *SMALL,
    )
    found = json.loads(
        done("rank", tmp_path / "v.plait", "zzz", "--first-stage", "vector", "--candidates", 2, "--json")
    )
    assert len(found["hits"]) == 2


# predict


def test_predict(checkpoint_path: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"query": "who?", "passage": "the doctor"}\n["what", "the \\u0072iver ü"]\n')
    rows = [json.loads(line) for line in done("predict", checkpoint_path, pairs, "--dtype", "float32").splitlines()]
    assert [row["texts"] for row in rows] == [["who?", "the doctor"], ["what", "the river ü"]]
    expected = Plait.from_pretrained(checkpoint_path).predict([tuple(row["texts"]) for row in rows])
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)
    small_checkpoint(tmp_path / "nli", heads=("score",), num_labels=3)
    rows = [json.loads(line) for line in done("predict", tmp_path / "nli", pairs, "--dtype", "float32").splitlines()]
    for row in rows:
        assert row["label"] == max(row["scores"], key=row["scores"].get) and len(row["scores"]) == 3


# ask --text


def test_ask_one_text_many_questions(checkpoint_path: Path, tmp_path: Path) -> None:
    text = tmp_path / "chapter.txt"
    text.write_text(" ".join(TEXTS.values()), "utf-8")
    arguments = ["ask", "--text", text, "--model", checkpoint_path, "--dtype", "float32"]
    said = done(*arguments, "--json", stdin="who built the bridge?\nwhere is the castle?\n").splitlines()
    answers = [json.loads(line) for line in said]
    assert len(answers) == 2
    known = Plait.from_pretrained(checkpoint_path).read(text.read_text("utf-8"))
    for answer, question in zip(answers, ("who built the bridge?", "where is the castle?"), strict=True):
        expected = known.ask(question)
        assert (answer["answer"], answer["start"], answer["end"]) == (expected.answer, expected.start, expected.end)
        assert text.read_text("utf-8")[answer["start"] : answer["end"]] == answer["answer"]
    assert done(*arguments, stdin="") == ""
    plain = done(*arguments, stdin="who built the bridge?\n\nnever asked")
    assert answers[0]["answer"] in plain and plain.count(" ms") == 1
    # The question may also stand on the command line, where it is no path and is not read as one.
    for question in ("who built the bridge?", "./what//is/the river", "."):
        [line] = done(*arguments, question, "--json").splitlines()
        assert json.loads(line)["answer"] == known.ask(question).answer


# Bad input: one sentence, exit code 1, nothing lost


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
        ("empty-text.jsonl", '{"id": "a", "text": "x"}\n{"id": "b", "text": " "}\n', "line 2: field 'text' must not"),
        ("bad.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"\n', "line 2 must be JSON"),
        ("list.jsonl", "[1, 2]\n", "line 1 must be a JSON object"),
        ("no-text.jsonl", '{"id": "a", "body": "x"}\n', "must have a field 'text'"),
        ("nothing.jsonl", "", "empty"),
        ("blank.txt", " \n", "must not be empty"),
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
        (["--codec", "int4"], "codec must be one of"),
        (["--dtype", "int3"], "dtype must be one of"),
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
    assert "begun with model" in refused("index", path, "--store", store, "--model", other)
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
    assert "'music' is not there" in refused("delete", store, "music").replace("are not", "is not")
    assert "'nobody'" in refused("delete", store, "bridge", "nobody")
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


def test_arguments_that_are_missing(store: Path) -> None:
    assert "ask needs a store and a question" in refused("ask", store)
    assert "ask needs a store and a question" in refused("ask")
    for arguments in (["rank", store], ["nonsense"], ["rank", store, "q", "--top-k", "many"]):  # typer's own, code 2
        result = run(*arguments)
        assert result.code == 2 and result.err and "Traceback" not in result.err


# A real process, once: the module runs as a command, and its streams are clean


def test_as_a_process(made: Path, tmp_path: Path) -> None:
    good, bad = start("rank", made, "river " * 300, "--json"), start("rank", tmp_path / "nowhere", "river")
    out, err = good.communicate(timeout=120)
    assert good.returncode == 0 and json.loads(out)["query_tokens_cut"] == 174
    note = "note: 1 of 1 query texts are longer than the 126 tokens this model reads; 174 tokens at their ends were"
    assert err == f"{note} left out\n"
    out, err = bad.communicate(timeout=120)
    assert bad.returncode == 1 and out == "" and err.startswith("plait: ") and err.count("\n") == 1


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.code == 0
    for command in ("plan", "index", "add", "delete", "rank", "ask", "predict", "stats", "verify", "compact"):
        assert command in result.out
