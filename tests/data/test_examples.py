"""Labelled texts of every kind of file, in the shapes in which the public sets come."""

import csv
import gzip
import json
import warnings
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from plait.data import Example, read_examples, read_pairs
from plait.errors import DataWarning, PlaitError
from tests.data.test_bad_input import refused

GLUE = {
    "MRPC": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
        '1\t702876\t702977\tHe called "the witness" a liar.\tHe said "the witness"\r\n',
        Example("1", ('He called "the witness" a liar.', 'He said "the witness"'), 1.0),
    ),
    "MRPC test": (
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1089874\t1089925\tA\tB\n",
        Example("0", ("A", "B"), None),
    ),
    "QNLI": (
        'index\tquestion\tsentence\tlabel\n0\tWho?\t"I," he said.\tnot_entailment\n',
        Example("0", ("Who?", '"I," he said.'), "not_entailment"),
    ),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n133273\t213221\t213222\tWhy?\tWhy not?\t0\n",
        Example("133273", ("Why?", "Why not?"), 0.0),
    ),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "7\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane.\tAn air plane.\t5.000\n",
        Example("7", ("A plane.", "An air plane."), 5.0),
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t31193\t31193n\tgovernment\t(S)\t(S)\tIt rains.\tIt is wet.\tneutral\tneutral\n",
        Example("0", ("It rains.", "It is wet."), "neutral"),
    ),
    "CoLA": ("gj04\t1\t\tOur friends won't buy it.\n", Example("1", ("Our friends won't buy it.",), 1.0)),
    "RTE test": ("index\tsentence1\tsentence2\n0\tA\tB\n", Example("0", ("A", "B"), None)),
}


@pytest.mark.parametrize(("content", "expected"), GLUE.values(), ids=list(GLUE))
def test_glue(tmp_path: Path, content: str, expected: Example) -> None:
    (tmp_path / "train.tsv").write_bytes(content.encode())
    texts = ["sentence"] if len(expected.texts) == 1 else []
    assert read_examples(tmp_path / "train.tsv", texts=texts) == [expected]


def test_rows_that_are_cut_short(tmp_path: Path) -> None:
    """QQP has some, where a question held a line end; a file that has many is not one of a table."""
    file = tmp_path / "train.tsv"
    rows = [f"{i}\t{i}\t{i}\tWhy {i}?\tHow?\t{i % 2}" for i in range(200)]
    rows[50:51] = ["50\t50\t50\tWhy", "50?\tHow?\t0"]
    file.write_text("\n".join(["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", *rows]))
    with pytest.warns(DataWarning, match=r"2 of 201 rows have too few cells and are left out; .* line 52 must") as told:
        found = read_examples(file)
    assert told[0].filename == __file__
    assert [example.id for example in found] == [str(i) for i in range(200) if i != 50]
    rows[100:101] = ["100\tWhy", "100?\tHow?\t0"]
    file.write_text("\n".join(["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", *rows]))
    refused(lambda: read_examples(file), "line 52 must have 6 cells, one a column, but has 4; take")
    rows = [f"q{i}\tp{i}\t1" for i in range(200)]
    file.write_text("\n".join(["query\tpassage\tlabel", *rows, "q\tp"]))
    refused(lambda: read_examples(file), "line 202 must have 3 cells")  # of any other file none is left out


def test_text_files_with_tabs(tmp_path: Path) -> None:
    """SICK is one, with two labels; SNLI and MRPC come as such as well."""
    file = tmp_path / "SICK.txt"
    file.write_text("pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\n1\tA\tB\tNEUTRAL\t4.5\n")
    assert read_examples(file, label="relatedness_score") == [Example("1", ("A", "B"), 4.5)]
    assert read_examples(file, label="entailment_label") == [Example("1", ("A", "B"), "NEUTRAL")]
    refused(lambda: read_examples(file), "line 2 must have one label, but has 'relatedness_score', 'entailment_label'")


def test_no_gold_label_is_left_out_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "snli_1.0_dev.jsonl"
    rows = [{"sentence1": "A", "sentence2": "B", "gold_label": label, "pairID": "x"} for label in ("-", "neutral", "-")]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(DataWarning, match="2 of 3 examples have no class"):
        assert read_examples(file) == [Example("2", ("A", "B"), "neutral")]
    file.write_text(json.dumps(rows[0]))
    assert read_examples(file) == [Example("1", ("A", "B"), None)]


def test_jsonl_with_named_columns_and_several_evidences(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"claim": "C", "title": "T", "evidence": ["one", "two"], "verdict": "SUPPORTS", "label": 3}\n'
        '{"claim": "D", "title": "U", "evidence": "three", "verdict": null, "label": 3}\n'
    )
    assert read_examples(tmp_path / "a.jsonl", texts=("claim", "title", "evidence"), label="verdict") == [
        Example("1", ("C", "T", "one", "two"), "SUPPORTS"),
        Example("2", ("D", "U", "three"), None),
    ]
    assert [example.texts for example in read_examples(tmp_path / "a.jsonl")] == [("C", "one", "two"), ("D", "three")]


def test_a_claim_without_evidence_is_a_single_text(tmp_path: Path) -> None:
    """FEVER's, of which nobody knows; an empty list says so, and a blank text of two is a mistake."""
    write(tmp_path / "a.jsonl", '{"claim": "C", "evidence": [], "label": "NOT ENOUGH INFO"}')
    assert read_examples(tmp_path / "a.jsonl") == [Example("1", ("C",), "NOT ENOUGH INFO")]
    assert list(read_pairs(tmp_path / "a.jsonl")) == [("C",)]
    wrong = {'{"claim": "C", "evidence": null}': "is null", '{"claim": "C", "evidence": " "}': "must not be empty",
             '{"claim": [], "evidence": []}': "'claim' must hold a text, but is an empty list"}  # fmt: skip
    for row, said in wrong.items():
        write(tmp_path / "b.jsonl", row)
        refused(lambda: read_examples(tmp_path / "b.jsonl"), said)


def test_labels(tmp_path: Path) -> None:
    """Numbers, true and false are values; texts are classes, also "1" in JSON, but not in a cell."""
    told = {"1": 1.0, "-0.5": -0.5, "true": 1.0, "false": 0.0, "null": None, '""': None}
    write(tmp_path / "a.jsonl", *(f'{{"text1": "A", "text2": "B", "score": {value}}}' for value in told))
    assert [example.label for example in read_examples(tmp_path / "a.jsonl")] == list(told.values())
    write(tmp_path / "b.jsonl", '{"text1": "A", "text2": "B", "label": "1"}', '["C", "D", "E"]')
    assert [example.label for example in read_examples(tmp_path / "b.jsonl")] == ["1", None]
    write(tmp_path / "c.csv", "query,passage,label", "A,B,1", "A,B,-2.5e-1", "A,B,.5", "A,B, 3. ", "A,B,")
    assert [example.label for example in read_examples(tmp_path / "c.csv")] == [1.0, -0.25, 0.5, 3.0, None]
    write(tmp_path / "d.csv", "query,passage,label", "A,B,nan", "A,B,1_000", "A,B,٣")
    assert [example.label for example in read_examples(tmp_path / "d.csv")] == ["nan", "1_000", "٣"]


def test_ids_and_groups(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    rows = [{"_id": 7, "query": "Q", "passage": "P", "qid": 3}, {"query": "Q", "passage": "R", "qid": None}]
    file.write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))
    assert read_examples(str(file)) == [Example("7", ("Q", "P"), None, "3"), Example("3", ("Q", "R"), None)]


def test_the_last_texts_of_an_example_may_be_absent(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "claim,e1,e2,label", "A,B,C,yes", "D,E,,no", "F,, ,no")
    names = ["claim", "e1", "e2"]
    assert [example.texts for example in read_examples(tmp_path / "a.csv", texts=names)] == [
        ("A", "B", "C"),
        ("D", "E"),
        ("F",),
    ]
    rows = [{"claim": "A", "e1": "B", "e2": None}, {"claim": "A", "e1": None, "e2": None}]
    write(tmp_path / "b.jsonl", json.dumps(rows[0]))
    assert read_examples(tmp_path / "b.jsonl", texts=names)[0].texts == ("A", "B")
    write(tmp_path / "c.jsonl", json.dumps(rows[1]), '{"claim": "A", "e1": [], "e2": null}')
    assert [example.texts for example in read_examples(tmp_path / "c.jsonl", texts=names)] == [("A",), ("A",)]
    write(tmp_path / "d.csv", "claim,e1,e2", "A,,C")
    refused(lambda: read_examples(tmp_path / "d.csv", texts=names), "'e1' must not be empty")
    write(tmp_path / "f.csv", "claim,e1,e2", ",,")
    refused(lambda: read_examples(tmp_path / "f.csv", texts=names), "'claim' must not be empty")
    write(tmp_path / "e.jsonl", json.dumps({"claim": "A", "e1": "B"}))
    refused(lambda: read_examples(tmp_path / "e.jsonl", texts=names), "'e2'")


def test_parquet(tmp_path: Path) -> None:
    columns = {"premise": ["A", "B"], "hypothesis": ["C", "D"], "label": [True, False], "idx": [0, 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert read_examples(tmp_path / "a.parquet") == [Example("0", ("A", "C"), 1.0), Example("1", ("B", "D"), 0.0)]


PAIR = b'{"text1": "a", "text2": "b", '
BAD = {
    "empty": ("a.jsonl", b"", "a.jsonl must hold text, but is empty"),
    "blank": ("a.jsonl", b"\n", "must hold at least one example"),
    "a header alone": ("a.tsv", b"sentence1\tsentence2\tlabel\n", "must hold at least one example"),
    "no text columns": ("a.csv", b"a,b\n1,2\n", "line 2 must have 'query' and 'passage'", "has 'a', 'b'"),
    "bad JSON": ("a.jsonl", b'["a", "b"]\n{', "line 2 must be JSON"),
    "binary": ("a.tsv", b"sentence1\tsentence2\na\tb\0\n", "byte 23 is NUL"),
    "cut off": ("a.tsv.gz", gzip.compress(b"sentence1\tsentence2\na\tb\n")[:-9], "must be a whole .gz archive"),
    "a cell too few": ("a.tsv", b"sentence1\tsentence2\tlabel\na\tb\t1\na\tb\n", "line 3 must have 3 cells", "has 2"),
    "a cell too many": ("a.tsv", b'sentence1\tsentence2\n"a\tb"\tc\n', "line 2 must have 2 cells", "has 3"),
    "empty text": ("a.tsv", b"sentence1\tsentence2\na\t\n", "line 2: 'sentence2' must not be empty"),
    "no text": ("a.jsonl", b'{"text1": "a", "text2": 5}', "line 1: 'text2' must be a text, but is a number"),
    "no text in a list": (
        "a.jsonl",
        b'{"claim": "a", "evidence": ["b", 5]}',
        "'evidence' must be a text, but is a num",
    ),
    "an empty list": ("a.jsonl", b'{"claim": [], "evidence": "b"}', "'claim' must hold a text, but is an empty list"),
    "duplicate ids": ("a.jsonl", PAIR + b'"id": 1}\n' + PAIR + b'"idx": "1"}', "'1' stands at", "line 1 and", "line 2"),
    "empty id": ("a.jsonl", PAIR + b'"id": ""}', "line 1: 'id' must not be empty"),
    "id a list": ("a.jsonl", PAIR + b'"id": []}', "line 1: 'id' must be a text, but is a list"),
    "group a list": ("a.jsonl", PAIR + b'"group": [1]}', "line 1: 'group' must be a text, but is a list"),
    "label a list": (
        "a.jsonl",
        PAIR + b'"labels": [1]}',
        "line 1: 'labels' must be a class or a number, but is a list",
    ),
    "label infinite": ("a.jsonl", PAIR + b'"score": 1e999}', "line 1: 'score' must be a finite number, but is inf"),
    "label NaN": ("a.jsonl", PAIR + b'"score": NaN}', "line 1: 'score' must be a finite number, but is nan"),
    "label huge": ("a.jsonl", PAIR + b'"score": 1' + b"0" * 400 + b"}", "must be a finite number, but is 1000"),
    "a class among numbers": (
        "a.csv",
        b"query,passage,label\na,b,\na,b,1\na,b,yes\n",
        "all numbers or all names",
        "line 3 has 1.0 and",
        "line 4 has 'yes'",
    ),
    "two labels": ("a.jsonl", PAIR + b'"label": 1, "score": 2}', "must have one label, but has 'label', 'score'"),
    "unknown kind": ("a.pdf", b"%PDF", "examples must be a file of .jsonl", "a.pdf; convert"),
    "a text file": ("a.txt", b"One.\nTwo.\n", "line 2 must have 'query' and 'passage'"),
}


@pytest.mark.parametrize(("name", "content", "said"), [(n, c, s) for n, c, *s in BAD.values()], ids=list(BAD))
def test_bad_examples(tmp_path: Path, name: str, content: bytes, said: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: read_examples(tmp_path / name), *said)


def test_bad_columns_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    write(file, '{"a": "x", "b": "y"}')
    refused(lambda: read_examples(file, texts=("a", "c")), "line 1 must have the column 'c', but has 'a', 'b'")
    refused(lambda: read_examples(file, texts=("a", "b"), label="c"), "line 1 must have the column 'c', but has 'a'")
    assert [len(example.texts) for example in read_examples(file, texts=("a",))] == [1]  # for a plan of one role
    refused(lambda: read_examples(file, texts="ab"), "texts must be a list of columns, but is 'ab'")
    write(file, '["x", "y"]')
    refused(lambda: read_examples(file, texts=("a", "b")), "must have the columns 'a', 'b', but has a list")
    refused(lambda: read_examples(file, label="c"), "line 1 must have the column 'c', but has no field")


sentences = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
classes = st.sampled_from(["entailment", "neutral", "contradiction", None])
values = st.floats(-1e6, 1e6).map(lambda value: value + 0.0) | st.none()
labelled = st.lists(st.tuples(sentences, sentences, classes), min_size=1, max_size=6) | st.lists(
    st.tuples(sentences, sentences, values), min_size=1, max_size=6
)


@given(rows=labelled)
@settings(deadline=None, max_examples=50)
def test_round_trip(rows: list[tuple[str, str, str | float | None]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any texts and labels come back from JSON Lines and from CSV as they were written."""
    folder = tmp_path_factory.mktemp("round")
    write(folder / "a.jsonl", *(json.dumps({"premise": a, "hypothesis": b, "label": label}) for a, b, label in rows))
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("premise", "hypothesis", "label"), *rows])
    expected = [Example(str(number), (a, b), label) for number, (a, b, label) in enumerate(rows, start=1)]
    assert read_examples(folder / "a.jsonl") == read_examples(folder / "a.csv") == expected


@given(content=st.binary(max_size=60), kind=st.sampled_from([".tsv", ".csv", ".jsonl", ".txt", ".parquet"]))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_read_or_refused(content: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("any") / f"a{kind}"
    file.write_bytes(b"text1\ttext2\n" * (kind == ".tsv") + content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            assert read_examples(file)
        except PlaitError as error:
            assert str(file) in str(error)


def write(file: Path, *lines: str) -> None:
    """These lines as a file."""
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
