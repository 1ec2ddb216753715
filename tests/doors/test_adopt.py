"""`plait adopt`: documents and a full model in, a split model and a report out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from plait.adopt import Report, adopt
from plait.agreement import agreement
from plait.data import Document
from plait.errors import PlaitError
from plait.mining import Wanted, apart, cut, examples, mined, pseudo_queries
from plait.model import Plait
from plait.plan import Plan
from tests.command import done, refused
from tests.small import small_checkpoint
from tests.tokenizers import small_tokenizer

FEW = " by 9 held-out queries, which say little"
NOUNS = ["river", "stone", "copper", "lantern", "garden", "engine", "harbour", "castle"]
VERBS = ["found the", "wrote to the", "built a", "was by the"]


def documents(count: int = 24) -> list[Document]:
    texts = []
    for n in range(count):
        a, b, c = (NOUNS[(n * k + n // 8 + k) % len(NOUNS)] for k in (1, 3, 5))
        first, second, third = (VERBS[(n + k) % 4] for k in range(3))
        texts.append(
            f"The sailor of the {a} {first} {b} in winter {n}. A doctor {second} {c} and the {a}. The {b} {third} {c}."
        )
    return [Document(f"d{n}", text, {"title": f"{NOUNS[n % 8]} {n}"}) for n, text in enumerate(texts)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"id": d.id, "text": d.text, **d.metadata}) + "\n" for d in documents()))
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An ordinary cross-encoder, with another head that adopting leaves out."""
    return small_checkpoint(tmp_path / "teacher")


def test_adopting_brings_the_split_model_nearer(tmp_path: Path, corpus: Path, teacher: Path) -> None:
    out = tmp_path / "adopted"
    said = done("adopt", teacher, "--corpus", corpus, "--out", out, "--plan", "join=2,mode=oneway", "--epochs", 6,
                "--learning-rate", 1e-3, "--pseudo", 80)  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert report["adopted"]["drift"] < report["split"]["drift"]
    assert report["adopted"]["kendall"] > report["split"]["kendall"]
    assert report["queries"] == report["made"] <= 80 and 10 <= report["held_out"] <= report["queries"] // 4
    groups = {json.loads(line)["group"] for line in (out / "examples.jsonl").read_text().splitlines()}
    assert len(groups) <= report["queries"] - report["held_out"]
    done("adopt", teacher, "--corpus", corpus, "--out", tmp_path / "on", "--plan", "join=2,mode=oneway", "--start",
         out / "final", "--learning-rate", 1e-6, "--pseudo", 80)  # fmt: skip
    further = json.loads((tmp_path / "on" / "report.json").read_text())
    assert further["split"] == pytest.approx(report["adopted"], abs=1e-6)  # that is where it began
    assert "resume it, or choose another output" in refused(
        "adopt", teacher, "--corpus", corpus, "--out", out, "--plan", "join=2,mode=oneway"
    )
    card = (out / "final" / "README.md").read_text()
    assert "Adopted without labels" in card and f"top10 {report['adopted']['top10']:.3f}" in card
    assert "Nothing was measured" not in card and "- seed 0" in card
    assert report["verdict"] in said and said.splitlines()[-1] == f"saved to {out / 'final'}"
    model = Plait.from_pretrained(out / "final")
    assert {head: str(plan) for head, plan in model.plans.items()} == {"score": "join=2,mode=oneway"}


def test_real_queries_are_held_out_first(tmp_path: Path, corpus: Path, teacher: Path) -> None:
    queries = tmp_path / "queries.txt"
    texts = [f"who {verb} {noun}" for verb in VERBS for noun in NOUNS[:5]]
    queries.write_text("\n".join(texts) + "\n\n")
    found = json.loads(
        done("adopt", teacher, "--corpus", corpus, "--out", tmp_path / "out", "--plan", "join=1", "--queries", queries,
             "--pseudo", 30, "--json")
    )  # fmt: skip
    assert (found["queries"], found["made"], found["held_out"]) == (30, 10, 4)
    listed = tmp_path / "queries.jsonl"
    listed.write_text("".join(json.dumps({"id": f"q{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    done("adopt", teacher, "--corpus", corpus, "--out", tmp_path / "listed", "--plan", "join=1", "--queries", listed,
         "--pseudo", 30)  # fmt: skip
    first, again = ((tmp_path / name / "examples.jsonl").read_text() for name in ("out", "listed"))
    assert first == again


def test_the_library_takes_paths_and_plans(tmp_path: Path, teacher: Path) -> None:
    some = iter(documents())  # as readers give them; and queries too few to hold one out
    report = adopt(teacher, some, tmp_path / "out", plan=Plan(1), pseudo=20, queries=["who found the river"])
    assert report.made == report.queries - 1
    with pytest.raises(PlaitError, match="queries must be a list"):
        adopt(teacher, documents(), tmp_path / "other", plan=Plan(1), queries="who found the river")
    assert (report.teacher, report.plan) == (str(teacher), "join=1,mode=joint")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["plan"] == report.plan


def test_refusals(tmp_path: Path, corpus: Path, teacher: Path) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    several = small_checkpoint(tmp_path / "classes", heads=("score",), num_labels=3)
    one = tmp_path / "one.jsonl"
    one.write_text('{"text": "river"}\n')
    for words, arguments in (
        ("must hold at least one query", ("--corpus", corpus, "--queries", empty)),
        ("queries or more", ("--corpus", one)),
        ("nowhere.jsonl", ("--corpus", tmp_path / "nowhere.jsonl")),
        ("device must be one of auto, cpu, but is 'cuda:1'", ("--corpus", corpus, "--device", "cuda:1")),
    ):
        assert words in refused("adopt", teacher, *arguments, "--out", out, "--plan", "join=1")
    reversed_roles = "join=1,roles=passage+query,known=passage,reader=query"
    assert "the live one first and the other known" in refused(
        "adopt", teacher, "--corpus", corpus, "--out", out, "--plan", reversed_roles
    )
    assert "one label" in refused("adopt", several, "--corpus", corpus, "--out", out, "--plan", "join=1")


def test_sentences_are_taken_out_of_their_passage(tmp_path: Path) -> None:
    docs = documents()
    texts = cut(docs, small_tokenizer())
    queries = pseudo_queries(docs, texts, 30)
    assert len({q.id for q in queries}) == len(queries) == 30
    assert sum(not q.passage for q in queries) == 15  # titles
    assert len({q.text for q in queries}) == 30
    assert [q.text for q in apart(queries, [Wanted("x", queries[3].text.upper())])] == [
        q.text for q in queries if q is not queries[3]
    ]
    part = Wanted("x", " ".join(queries[-1].text.split()[:-1]))
    assert queries[-1] not in apart(queries, [part]) and len(apart([part], queries)) == 0
    assert len(pseudo_queries([*docs[:3], Document("x", "stone", {"title": "alone"})], {}, 4)) == 4  # titles alone
    for query in queries:
        if query.passage:
            assert query.text in texts[query.passage] and query.text not in query.left
    found = mined(queries, texts, tmp_path / "words", 10)
    lists = list(examples(queries, texts, found, 6))
    by_group: dict[str, list[str]] = {}
    for example in lists:
        by_group.setdefault(example.group, []).append(example.texts[1])
        assert (example.label == 1.0) is (len(by_group[example.group]) == 1)
    for query in queries:
        passages = by_group[query.id]
        assert 2 <= len(passages) <= 6 and len(set(passages)) == len(passages)
        if query.passage:
            assert passages[0] == query.left and texts[query.passage] not in passages


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30, unique=True))
def test_agreement_by_its_definition(scores: list[int]) -> None:
    theirs = np.array(scores, np.float32)
    same = agreement({"q": theirs}, {"q": theirs + 3})
    assert same["kendall"] == pytest.approx(1) and same["top1"] == same["top10"] == 1
    assert same["drift"] == pytest.approx(0, abs=1e-5)
    ours = theirs[::-1].copy()
    other = agreement({"q": theirs}, {"q": ours})
    assert other["kendall"] == pytest.approx(kendalltau(theirs, ours).statistic)
    ten = min(10, len(scores) // 2)
    best, found = (set(sorted(range(len(x)), key=lambda i: -x[i])[:ten]) for x in (theirs, ours))
    assert other["top10"] == pytest.approx(len(best & found) / ten)


@pytest.mark.parametrize(
    ("top10", "ms", "worth", "says"),
    [
        (0.95, 10.0, True, "worth it: 5.0 times faster, 95% of the teacher's ten best kept"),
        (0.8, 10.0, False, "not yet worth it: 5.0 times faster, 80% of the teacher's ten best kept, less than 90%"),
        (0.95, 40.0, False, "not worth it: 1.2 times faster, 95% of the teacher's ten best kept, which saves little"),
    ],
)
def test_the_verdict(top10: float, ms: float, worth: bool, says: str) -> None:
    agreed = {"top10": top10}
    report = Report("t", "join=1", 0, "out", 9, 9, 9, 9, agreed, agreed, 50.0, ms, 100, 1000, 100)
    assert report.worth is worth and report.verdict().replace(FEW, "").startswith(says) and FEW in report.verdict()
    assert dataclasses.replace(report, held_out=20).verdict().startswith(says)
    assert json.loads(report.to_json())["worth"] is worth
