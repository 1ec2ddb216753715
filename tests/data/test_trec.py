"""Runs and judgements in TREC's formats."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import check_run, read_qrels, read_run, write_run
from tests.data.test_bad_input import refused


def test_run(tmp_path: Path) -> None:
    """Blanks of any number part the columns; the score counts, the rank does not."""
    file = tmp_path / "bm25.run"
    file.write_text("q1 Q0 d1 2 1.5 bm25\nq1\tQ0\td2  1\t-2e-1 bm25\r\n\nq2 Q0 d1 1 3 bm25")
    assert read_run(file) == {"q1": {"d1": 1.5, "d2": -0.2}, "q2": {"d1": 3.0}}


def test_qrels(tmp_path: Path) -> None:
    file = tmp_path / "qrels.txt.gz"
    file.write_bytes(gzip.compress(b"1 0 184 3\n1 0 29 0\n2  Q0 184 -1\n"))
    assert read_qrels(str(file)) == {"1": {"184": 3, "29": 0}, "2": {"184": -1}}


def test_written_run(tmp_path: Path) -> None:
    """Documents by falling score, equal ones in the order of the run."""
    write_run(tmp_path / "a.run", {"q": {"d1": 1, "d2": 2.5, "d3": 1.0}, "none": {}}, "mine")
    assert (tmp_path / "a.run").read_text() == "q Q0 d2 1 2.5 mine\nq Q0 d1 2 1.0 mine\nq Q0 d3 3 1.0 mine\n"


def test_a_run_takes_the_place_of_another_whole(tmp_path: Path) -> None:
    """Who reads the one that was there reads on in it; a run that is refused leaves it."""
    file = tmp_path / "runs" / "a.run"
    write_run(file, {"q": {"d1": 1}})
    with file.open() as before:
        write_run(file, {"q": {"d2": 2}})
        assert before.read() == "q Q0 d1 1 1.0 plait\n"
    refused(lambda: write_run(file, {"q": {"d3": 3}, "r": {"a b": 1}}), "a document's id must hold no blank", "'a b'")
    assert read_run(file) == {"q": {"d2": 2.0}} and list(file.parent.iterdir()) == [file]


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: name.split() == [name] and "\0" not in name and not name.startswith("\ufeff")
)
scores = st.floats(allow_nan=False, allow_infinity=False)
runs = st.dictionaries(names, st.dictionaries(names, scores, min_size=1, max_size=5), min_size=1, max_size=4)


@given(run=runs)
@settings(deadline=None, max_examples=50)
def test_round_trip(run: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every id and score comes back exactly, ranked."""
    file = tmp_path_factory.mktemp("run") / "a.run"
    write_run(file, run)
    found = read_run(file)
    assert found == run
    assert all(list(of.values()) == sorted(of.values(), reverse=True) for of in found.values())


BAD_RUNS = {
    "empty": (b"", "a.run must hold text, but is empty"),
    "blank": (b"\n \n", "a.run must hold at least one line"),
    "too few columns": (b"q Q0 d 1 2 t\nq Q0 d 1 2\n", "a.run line 2 must have 6 columns (query, Q0,", "has 5"),
    "too many columns": (b"q Q0 d 1 2 t u\n", "line 1 must have 6 columns", "has 7"),
    "judgements": (b"q 0 d 1\n", "line 1 must have 6 columns", "has 4; mend that line or name a TREC file"),
    "no number": (b"q Q0 d 1 high t\n", "line 1: the score must be a finite number, but is 'high'"),
    "NaN": (b"q Q0 d 1 nan t\n", "line 1: the score must be a finite number, but is 'nan'"),
    "infinite": (b"q Q0 d 1 -inf t\n", "line 1: the score must be a finite number, but is '-inf'"),
    "twice": (b"q Q0 d 1 2 t\nr Q0 d 1 2 t\nq Q0 d 2 1 t\n", "a.run line 3 names 'd' again for 'q'"),
    "binary": (b"q Q0 d 1 2 t\n\0", "byte 13 is NUL"),
}
BAD_QRELS = {
    "empty": (b"", "a.qrels must hold text, but is empty"),
    "BEIR": (b"query-id\tcorpus-id\tscore\n", "line 1 must have 4 columns (query, 0, document, relevance), but has 3"),
    "a run": (b"q Q0 d 1 2 t\n", "line 1 must have 4 columns", "has 6"),
    "half": (b"q 0 d 1\nq 0 e 0.5\n", "line 2: the relevance must be a whole number, but is '0.5'"),
    "twice": (b"q 0 d 1\nq 0 d 1\n", "a.qrels line 2 names 'd' again for 'q'"),
}


@pytest.mark.parametrize(("content", "said"), [(c, s) for c, *s in BAD_RUNS.values()], ids=list(BAD_RUNS))
def test_bad_run(tmp_path: Path, content: bytes, said: list[str]) -> None:
    (tmp_path / "a.run").write_bytes(content)
    refused(lambda: read_run(tmp_path / "a.run"), *said)


@pytest.mark.parametrize(("content", "said"), [(c, s) for c, *s in BAD_QRELS.values()], ids=list(BAD_QRELS))
def test_bad_qrels(tmp_path: Path, content: bytes, said: list[str]) -> None:
    (tmp_path / "a.qrels").write_bytes(content)
    refused(lambda: read_qrels(tmp_path / "a.qrels"), *said)


def test_no_file(tmp_path: Path) -> None:
    refused(lambda: read_run(tmp_path / "no.run"), "no.run must be a file that exists")
    refused(lambda: read_qrels(tmp_path), "must be a file, but is a directory")


def test_runs_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "a.run"
    refused(lambda: write_run(file, {"a b": {"d": 1}}), "a query's id must hold no blank", "'a b'")
    refused(lambda: write_run(file, {"q": {"": 1}}), "a document's id must hold no blank and not be empty")
    refused(lambda: write_run(file, {"q": {"d": 1}}, "my run"), "the tag must hold no blank", "'my run'")
    refused(lambda: write_run(file, {"q": {"d": float("nan")}}), "a score must be finite, but is nan for 'd'")
    refused(lambda: write_run(file, {"q": {}}), "a run must hold at least one document", "a.run is not written")
    refused(lambda: check_run(file, ["a b"], []), "a query's id must hold no blank", "'a b'")
    refused(lambda: check_run(file, ["q"], ["d", "a b"]), "a document's id must hold no blank", "'a b'")
    refused(lambda: check_run(tmp_path / "a.run.gz", ["q"], ["d"]), "a run must be written as plain text", ".gz")
    refused(lambda: check_run(tmp_path, ["q"], ["d"]), "a run must be written to a file, but", "is a folder")
    (tmp_path / ".plait").mkdir()  # a store may be called so
    check_run(file, ["q"], ["d"])
    (tmp_path / ".plait").rmdir()
    assert not list(tmp_path.iterdir())
    refused(lambda: write_run(tmp_path / "a.gz", {"q": {"d": 1}}), "must be written as plain text, but", "a.gz")
    assert not list(tmp_path.iterdir())
    file.mkdir()
    refused(lambda: write_run(file, {"q": {"d": 1}}), "a file must be written whole, but", "a.run could not be")
    assert list(tmp_path.iterdir()) == [file]
