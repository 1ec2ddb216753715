"""Examples of three and more texts (LAIT): any of them stored, some of them absent, from data to scores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.parts import Part
from plait.plan import Plan
from tests.command import done, refused, toml
from tests.small import small_checkpoint

TEXTS = {
    "claim": ["a sailor built the bridge", "the music was silver"],
    "first": ["the bridge of stone", "a doctor wrote music in winter", "the river"],
    "second": ["the queen found a letter", "copper and stone"],
}
ROWS = [(0, 0, 1), (1, 1, 0), (0, 2, 0), (1, 1, 1)]
ROLES = "roles=claim+first+second,reader=claim,known=first+second"


@pytest.mark.parametrize("plan", ["join=0", "join=1", "join=2,mode=oneway", "join=2,mode=frozen,states=kv"])
def test_any_texts_can_be_stored(tmp_path: Path, plan: str) -> None:
    """What `encode` gave in place of any subset of the texts changes no score."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=f"{plan},{ROLES}")
    texts = [tuple(TEXTS[role][i] for role, i in zip(TEXTS, row, strict=True)) for row in ROWS]
    expected = model.predict(texts)
    known = {role: model.encode(role, some) for role, some in TEXTS.items()}
    for count in (1, 2, 3):
        for stored in itertools.combinations(TEXTS, count):
            rows: list[tuple[Part, ...]] = [
                tuple(known[role][i] if role in stored else TEXTS[role][i] for role, i in zip(TEXTS, row, strict=True))
                for row in ROWS
            ]
            assert model.predict(rows) == pytest.approx(expected, abs=1e-5)
    mixed: list[tuple[Part, ...]] = [(texts[0][0], known["first"][0], texts[0][2]), texts[1], texts[2], texts[3]]
    assert model.predict(mixed) == pytest.approx(expected, abs=1e-5)
    assert model.predict(mixed[0]) == pytest.approx(expected[0], abs=1e-5)


def test_a_plan_need_not_name_the_roles_again(tmp_path: Path) -> None:
    """Of a checkpoint that was saved with others than query and passage."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=f"join=1,{ROLES}")
    model.save_pretrained(tmp_path / "saved")
    text = f"join=2,mode=oneway,{ROLES}"
    assert Plait.from_pretrained(tmp_path / "saved", plan="join=2,mode=oneway").plans == {"score": Plan.parse(text)}
    two = Plait.from_pretrained(tmp_path / "saved", plan="join=2,roles=a+b").plans["score"]
    assert (two.roles, two.known, two.reader) == (("a", "b"), ("b",), "a")
    assert "roles=claim+first+second on" in done("plan", tmp_path / "saved", "--plan", "join=2")


@pytest.mark.parametrize("plan", ["join=0", "join=1", "join=2,mode=oneway", "join=1,mode=frozen"])
def test_an_absent_text_is_as_if_the_plan_had_no_such_role(tmp_path: Path, plan: str) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    three = Plait.from_pretrained(folder, plan=f"{plan},{ROLES}")
    two = Plait.from_pretrained(folder, plan=f"{plan},roles=claim+first,reader=claim,known=first")
    pairs = [(TEXTS["claim"][0], TEXTS["first"][1]), (TEXTS["claim"][1], TEXTS["first"][0])]
    whole = (TEXTS["claim"][0], TEXTS["first"][0], TEXTS["second"][0])
    lacking: list[tuple[Part, ...]] = [(*pair, None) for pair in pairs]
    assert three.predict(lacking) == pytest.approx(two.predict(pairs), abs=1e-5)
    assert three.predict([lacking[0], whole, lacking[1]])[[0, 2]] == pytest.approx(two.predict(pairs), abs=1e-5)


@pytest.mark.parametrize("plan", ["join=1", "join=2,mode=oneway", "join=1,keep.first=4,keep.second=4,selector=nearest"])
def test_one_store_serves_all_known_roles(tmp_path: Path, plan: str) -> None:
    """Evidence sentences are stored once and stand wherever an example needs them."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=f"{plan},{ROLES}")
    index = Index.create(tmp_path / "s.plait", model, codec="float32")
    evidence = [*TEXTS["first"], *TEXTS["second"]]
    index.add([Document(str(number), text) for number, text in enumerate(evidence)])
    rows = [(TEXTS["claim"][0], evidence[2], evidence[4]), (TEXTS["claim"][1], evidence[4], evidence[0])]
    for stored in (index, Index.open(tmp_path / "s.plait")):
        kept = dict(zip("420", stored.parts(["4", "2", "0"]), strict=True))
        mixed: list[tuple[Part, ...]] = [(rows[0][0], kept["2"], kept["4"]), (rows[1][0], kept["4"], rows[1][2])]
        assert model.predict(mixed) == pytest.approx(model.predict(rows), abs=1e-5)
    assert index.store.search_text("sailor bridge", 1)[0].id == "0"
    with pytest.raises(PlaitError, match="plans of two roles, but these have claim, first, second; give predict"):
        index.rank("river")
    with pytest.raises(PlaitError, match="but '9' is not there"):
        index.parts(["9"])
    unlike = Plait.from_pretrained(tmp_path / "m", plan=f"join=1,{ROLES},keep.first=4")
    with pytest.raises(PlaitError, match="read and kept alike, but first, second are not"):
        Index.create(tmp_path / "t.plait", unlike)


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    model = Plait.from_pretrained(folder, plan=f"join=1,{ROLES}")
    with pytest.raises(PlaitError, match="may lack any text but the claim"):
        model.predict([(None, "river", "stone")])
    other = Plait.from_pretrained(folder, plan=f"join=2,{ROLES}")
    with pytest.raises(PlaitError, match=r"one lacks states\.1"):
        model.predict([("river", other.encode("first", ["stone"])[0], "stone")])
    full = Plait.from_pretrained(folder, plan=f"join=0,positions=continue,{ROLES}")
    with pytest.raises(PlaitError, match="reads whole texts only"):
        full.predict([("river", "stone", None)])
    with pytest.raises(PlaitError, match="query and passage must have all of them, but number 1 has no passage"):
        Plait.from_pretrained(folder).predict([("river", "stone"), ("river", None)])


def test_claims_with_few_evidence_sentences_are_learned_and_swept(tmp_path: Path) -> None:
    words = ["river", "stone", "lantern", "winter", "garden"]
    rows = [
        {"claim": f"{words[n % 5]} {words[n % 3]}",
         "evidence": [f"{words[(n + k) % 5]} copper" if n % 2 else words[(n + k) % 5] for k in range(1 + n % 3)],
         "label": "supports" if n % 2 else "refutes"}
        for n in range(110)
    ]  # fmt: skip
    data, held_out = tmp_path / "claims.jsonl", tmp_path / "more.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:80]))
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows[80:]))
    plan = "join=1,roles=claim+e1+e2+e3"
    fields = {
        "model": str(small_checkpoint(tmp_path / "start", heads=())), "data": str(data), "dev": str(held_out),
        "output": str(tmp_path / "out"), "task": "class", "score": plan, "epochs": 12.0, "learning_rate": 3e-3,
        "freeze_embeddings": False, "bfloat16": False, "elastic": "joint+oneway",
    }  # fmt: skip
    config = toml(tmp_path / "config.toml", fields)
    done("train", config)
    final = tmp_path / "out" / "final"
    found = json.loads(done("sweep", final, held_out, "--task", "class", "--known", 4, "--min-quality", 0.1, "--json"))
    assert all(point["quality"] > 70 for point in found["points"])
    for n, line in enumerate(done("predict", final, held_out).splitlines()):  # as it was trained, some texts absent
        assert json.loads(line)["texts"] == [rows[80 + n]["claim"], *rows[80 + n]["evidence"]]
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text("".join(json.dumps({"said": r["claim"], "seen": r["evidence"]}) + "\n" for r in rows[80:]))
    assert done("predict", final, renamed, "--texts", "said+seen") == done("predict", final, held_out)
    fewer = config.read_text().replace("e1+e2+e3", "e1+e2").replace(str(tmp_path / "out"), str(tmp_path / "other"))
    config.write_text(fewer)
    assert "at most 3 texts" in refused("train", config)


def test_claims_without_evidence_are_learned_swept_and_scored(tmp_path: Path) -> None:
    """FEVER's "not enough info", in lists and in columns; under a plan of two texts they are refused."""
    rows: list[dict[str, object]] = [
        {"claim": f"the {word} is copper", "evidence": [f"{word} stone", "a garden"][:n], "label": str(n)}
        for word in ("river", "lantern", "music", "harbour") for n in range(3)
    ]  # fmt: skip
    listed, cells = tmp_path / "claims.jsonl", tmp_path / "claims.csv"
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [[row["claim"], *row["evidence"], "", ""][:3] for row in rows]  # type: ignore[misc]
    cells.write_text("claim,e1,e2\n" + "".join(",".join(map(str, line)) + "\n" for line in lines))
    start = small_checkpoint(tmp_path / "start", heads=())
    fields = {
        "model": str(start), "data": str(listed), "output": str(tmp_path / "out"), "task": "class", "epochs": 1.0,
        "score": "join=1,mode=oneway,roles=claim+e1+e2", "freeze_embeddings": False, "bfloat16": False,
    }  # fmt: skip
    config = toml(tmp_path / "config.toml", fields)
    done("train", config)
    final = tmp_path / "out" / "final"
    said = [json.loads(line) for line in done("predict", final, listed, "--dtype", "float32").splitlines()]
    assert [line["texts"] for line in said] == [[row["claim"], *row["evidence"]] for row in rows]  # type: ignore[misc]
    assert said == [json.loads(line) for line in done("predict", final, cells, "--texts", "claim+e1+e2", "--dtype",
                                                      "float32").splitlines()]  # fmt: skip
    alone = Plait.from_pretrained(final).predict([(str(rows[0]["claim"]), None, None)])[0]
    assert list(said[0]["scores"].values()) == pytest.approx(alone.tolist(), abs=1e-5)
    swept = done("sweep", final, listed, "--task", "class", "--known", 2, "--min-quality", 0, "--json")
    assert {point["metrics"]["examples"] for point in json.loads(swept)["points"]} == {12}
    listed.write_text(json.dumps(rows[1]) + "\n" + json.dumps(rows[0]) + "\n")
    two = "join=1,roles=query+passage"
    assert "must have all of them, but number 1 has no passage" in refused("predict", final, listed, "--plan", two)
    assert "must have both, but example 2 has one" in refused("sweep", final, listed, "--task", "class", "--plan", two)
