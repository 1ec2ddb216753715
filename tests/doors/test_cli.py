"""The `plait` command on real files: what it prints."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from plait.index import Index
from plait.model import Plait
from plait.plan import Plan
from plait.store import Store
from tests.command import done, refused, run, start
from tests.conftest import PLANS
from tests.corpus import SMALL, TEXTS, corpus, write
from tests.small import small_checkpoint

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
    assert facts["bytes_per_token"] == {"passage": 2 * (32 + 2)} and facts["bytes_per_example"] == 50 * 68
    assert facts["gain"] == facts["full"] / facts["online"] > 1 and facts["layers"] == 3
    said = done(*arguments)
    assert (
        "join=1,mode=oneway" in said and "stored of passage: states.1, states.2" in said and "3,400 an example" in said
    )
    assert "torch" not in said and "itself + passage" in said
    plan = '{"join": 2, "mode": "frozen", "states": "kv"}'
    frozen = json.loads(done(*arguments[:2], "--plan", plan, *arguments[4:], "--json"))
    assert frozen["stored"]["passage"] == ["key.2@2", "value.2@2"]


def test_plan_counts_a_token_once(checkpoint_path: Path) -> None:
    """A token has one role: so many bytes of any, or of each where a budget makes them differ."""
    plan = "join=2,mode=oneway,roles=claim+e1+e2"
    said = done("plan", checkpoint_path, "--plan", plan, "--lengths", "claim=6,e1=50,e2=50")
    assert "\n34 bytes a stored token, 3,400 an example with int8 " in said
    said = done("plan", checkpoint_path, "--plan", f"{plan},keep.e2=8", "--lengths", "claim=6,e1=50,e2=50")
    assert "\n34 bytes a stored token of e1, 38 of e2, 2,004 an example with int8 " in said
    assert "\n0 bytes a stored token, 0 an example" in done("plan", checkpoint_path, "--plan", "join=0,roles=text")


# index, add, delete


def test_index_rank_and_ask(made: Path) -> None:
    found = json.loads(done("rank", made, "who built the bridge?", "--top-k", 3, "--json"))
    assert set(found) == {"hits", "seconds", "query_tokens_cut"} and found["query_tokens_cut"] == 0
    assert {"id", "document", "text", "start", "score", "first_stage", "metadata"} == set(found["hits"][0]) and len(
        found["hits"]
    ) == 3
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


def test_why_nothing_was_found(store: Path) -> None:
    for command in ("rank", "ask"):
        assert "no passage shares a word with the q" in done(command, store, "xylophone")
    done("delete", store, *TEXTS)
    for first_stage in ("bm25", "all"):
        for command in ("rank", "ask"):
            said = done(command, store, "river", "--first-stage", first_stage)
            assert said.startswith("the store holds no passage; plait add puts documents there\n")


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
    assert (
        said.startswith("2 documents stored as 2 passages")
        and "1 in place of others with their ids, 3 were there already" in said
    )
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
    shown = done("stats", store)
    assert "documents  3\n" in shown and f"bytes per passage  {stats['bytes_per_passage']:,.0f}\n" in shown
    assert f"plans  score: {stats['plans']['score']}; span: " in shown
    assert set(stats["tensors"]) == {"states.1", "states.2"}


def test_index_again_adds_what_is_new(store: Path, tmp_path: Path, checkpoint_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "fresh", "text": "the yellow river"}]
    path = write(tmp_path / "fresh.jsonl", rows)
    assert done("index", path, "--store", store).startswith("1 documents stored")
    again = done(
        "index", path, "--store", store, "--model", checkpoint_path, "--plan", "score: join=2,mode=oneway; span: join=1"
    )
    assert "1 were there already" in again


def test_what_a_file_lacks_is_pruned_where_asked(store: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "fresh.jsonl", [{"id": "bridge", "text": TEXTS["bridge"]}])
    noted = run("index", path, "--store", store)
    assert noted.code == 0 and "3 documents that are not in" in noted.err and "'castle' first; --prune" in noted.err
    assert len(Store.open(store).contents()) == 4
    assert "of 3 other documents removed" in done("index", path, "--store", store, "--prune")
    assert set(Store.open(store).contents()) == {"bridge"}
    assert "--prune" not in run("index", path, "--store", store).err


def test_files_of_one_name_without_ids(store: Path, tmp_path: Path) -> None:
    """The second takes the first one's place, and says so."""
    for folder, text in (("a", "a river"), ("b", "a stone")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "docs.jsonl", [{"text": text}])
    assert "note:" not in run("add", store, tmp_path / "a" / "docs.jsonl").err
    assert "another docs.jsonl are replaced; give them ids" in run("add", store, tmp_path / "b" / "docs.jsonl").err
    assert "--vectors must be pooled or none, but is given" in refused(
        "index", tmp_path / "a" / "docs.jsonl", "--store", tmp_path / "new", "--vectors", "given"
    )


def test_the_plans_that_a_checkpoint_has(checkpoint_path: Path, tmp_path: Path) -> None:
    lengths = ("--lengths", "query=6,passage=50", "--json")
    assert json.loads(done("plan", checkpoint_path, *lengths))["plan"] == PLANS["score"]
    span = json.loads(done("plan", checkpoint_path, "--head", "span", *lengths))["plan"]
    assert Plan.parse(span) == Plan.parse(PLANS["span"])
    assert json.loads(done("plan", checkpoint_path, "--plan", "join=1", *lengths))["plan"] == "join=1,mode=joint"
    plain = small_checkpoint(tmp_path / "plain", num_hidden_layers=5)
    assert json.loads(done("plan", plain, *lengths))["plan"] == "join=4,mode=oneway"


def test_a_store_of_int4(tmp_path: Path) -> None:
    """Built, counted, ranked, verified and opened again by commands; wide enough for several scales a token."""
    model = small_checkpoint(tmp_path / "bert", plans=PLANS, seed=2, hidden_size=128, max_position_embeddings=128)
    plan = ["--plan", "join=1,mode=oneway", "--lengths", "query=6,passage=50"]
    facts = json.loads(done("plan", model, *plan, "--codec", "int4", "--json"))
    assert facts["bytes_per_token"] == {"passage": 2 * (64 + 4 * 2)} and facts["codec"] == "int4"
    said = done("index", corpus(tmp_path), "--store", tmp_path / "s.plait", "--model", model, *SMALL, "--codec", "int4")
    assert said.startswith("4 documents stored as ")
    assert "were there already" in done("index", corpus(tmp_path), "--store", tmp_path / "s.plait", "--codec", "int4")
    assert "passages are whole" in done("verify", tmp_path / "s.plait")
    stats = json.loads(done("stats", tmp_path / "s.plait", "--json"))
    assert stats["codec"] == "int4" and stats["bytes_per_token"] == len(stats["tensors"]) * 72

    ranked = done("rank", tmp_path / "s.plait", "who?", "--first-stage", "all", "--top-k", 99, "--json")
    hits = json.loads(ranked)["hits"]
    assert {hit["document"] for hit in hits} == set(TEXTS)
    found = [hit["score"] for hit in hits]
    live = Plait.from_pretrained(model).predict([("who?", hit["text"]) for hit in hits], activation_fn=lambda x: x)
    assert np.corrcoef(found, live)[0, 1] > 0.9
    assert np.abs(np.array(found) - live).max() > 0.01  # it was four bits that were read
    for hit in Index.open(tmp_path / "s.plait").rank("who?", 99, first_stage="all").hits:
        assert hit.score == pytest.approx({one["id"]: one["score"] for one in hits}[hit.id], abs=1e-5)


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
    pairs.write_text(
        '{"query": "who?", "passage": "the doctor"}\n["what", "the \\u0072iver ü"]\n{"anchor": "a", "positive": "b"}\n'
    )
    rows = [json.loads(line) for line in done("predict", checkpoint_path, pairs, "--dtype", "float32").splitlines()]
    assert [row["texts"] for row in rows] == [["who?", "the doctor"], ["what", "the river ü"], ["a", "b"]]
    expected = Plait.from_pretrained(checkpoint_path).predict([tuple(row["texts"]) for row in rows])
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)
    small_checkpoint(tmp_path / "nli", heads=("score",), num_labels=3)
    rows = [json.loads(line) for line in done("predict", tmp_path / "nli", pairs, "--dtype", "float32").splitlines()]
    for row in rows:
        assert row["label"] == max(row["scores"], key=row["scores"].get) and set(row["scores"]) == set("012")


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


def test_plans_in_every_form_are_explained(checkpoint_path: Path, tmp_path: Path) -> None:
    """As other commands take them; lengths are of the plan's own roles."""
    both = "score: join=2,mode=oneway; span: join=1"
    facts = [
        json.loads(done("plan", checkpoint_path, "--plan", both, "--head", head, "--json"))
        for head in ("score", "span")
    ]
    assert [one["plan"] for one in facts] == ["join=2,mode=oneway", "join=1,mode=joint,reader=passage"]
    of_three = json.loads(done("plan", checkpoint_path, "--plan", "join=1,roles=a+b+c", "--json"))
    assert of_three["lengths"] == {"a": 16, "b": 128, "c": 128}
    single = small_checkpoint(tmp_path / "m", heads=("score",), plans={"score": "join=0,roles=text,keep.text=0.5@1"})
    assert json.loads(done("plan", single, "--json"))["lengths"] == {"text": 66}
    assert json.loads(done("plan", small_checkpoint(tmp_path / "plain"), "--json"))["plan"] == "join=2,mode=oneway"


def test_the_version_and_the_help() -> None:
    assert done("--version").strip() == f"plait {version('plait')}"
    assert "computed once, stored, and joined late" in done("--help")


def test_a_plan_that_was_not_trained_for_is_noted(tmp_path: Path) -> None:
    model = small_checkpoint(tmp_path / "bert", plans=PLANS, max_position_embeddings=128)
    given = ["index", corpus(tmp_path), "--model", model, *SMALL]
    assert "was saved with the plan" not in run(*given, "--store", tmp_path / "own.plait").err
    others = "score: join=2,mode=oneway,states=kv; span: join=1"  # stored otherwise, scored alike
    assert "was saved with the plan" not in run(*given, "--store", tmp_path / "kv.plait", "--plan", others).err
    said = run(*given, "--store", tmp_path / "other.plait", "--plan", "score: join=1,mode=oneway; span: join=1")
    assert said.code == 0 and "score head" in said.err and "span head" not in said.err
    assert "was saved with the plan join=2,mode=oneway, but here has join=1,mode=oneway" in said.err


def test_a_sweep_that_finds_no_plan_shows_what_it_measured(tmp_path: Path) -> None:
    model = small_checkpoint(tmp_path / "bert", heads=("score",))
    path = write(tmp_path / "pairs.jsonl", [{"text1": "river", "text2": w, "label": n} for n, w in enumerate("abc")])
    given = ["sweep", model, path, "--task", "value", "--modes", "joint", "--known", 2, "--max-ms", 0.0001]
    found = run(*given, "--out", tmp_path / "out")
    assert found.code == 1 and "| join=1,mode=joint |" in found.out and "but none has" in found.err
    assert (tmp_path / "out" / "table.md").read_text().count("join=") == 3
    assert (tmp_path / "out" / "chart.png").read_bytes().startswith(b"\x89PNG")
    found = run(*given[:-2], "--joins", "2", "--json")
    assert [point["join"] for point in json.loads(found.out)["points"]] == [0, 2]
    assert "--joins must be numbers joined by +, but is '1,2'" in run(*given, "--joins", "1,2").err
    found = run(*given, "--json")
    assert found.code == 1 and json.loads(found.out)["chosen"] is None and len(json.loads(found.out)["points"]) == 3
