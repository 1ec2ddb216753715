"""Labelled texts of every kind of file, in the shapes in which the public sets come."""

import csv
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

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
    "RTE test": ("index\tsentence1\tsentence2\n0\tA\tB\n", Example("0", ("A", "B"), None)),
}


@pytest.mark.parametrize(("content", "expected"), GLUE.values(), ids=list(GLUE))
def test_glue(tmp_path: Path, content: str, expected: Example) -> None:
    (tmp_path / "train.tsv").write_bytes(content.encode())
    assert read_examples(tmp_path / "train.tsv") == [expected]


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


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    """As `to_parquet` and the hub write it: the names of classes stand beside the schema."""
    table = pyarrow.table({"sentence1": ["A", "B", "E"], "sentence2": ["C", "D", "F"], "label": [1, 0, -1]})
    noted = {"huggingface": json.dumps({"info": {"features": FEATURES}}), "pandas": "{}"}
    parquet.write_table(table.replace_schema_metadata(noted), tmp_path / "a.parquet")
    with pytest.warns(DataWarning, match="1 of 3 examples have no class"):
        found = read_examples(tmp_path / "a.parquet")
    assert found == [Example("1", ("A", "C"), "not_entailment"), Example("2", ("B", "D"), "entailment")]
    table = pyarrow.table({"sentence1": ["A"], "sentence2": ["C"], "label": [2]}).replace_schema_metadata(noted)
    parquet.write_table(table, tmp_path / "b.parquet")
    refused(lambda: read_examples(tmp_path / "b.parquet"), "row 1: 'label' must be -1 or the number of a class, 0 to 1")
    for broken in ("{", "[]", '{"info": 1}'):
        parquet.write_table(table.replace_schema_metadata({"huggingface": broken}), tmp_path / "c.parquet")
        if broken == "{":
            refused(lambda: read_examples(tmp_path / "c.parquet"), "its metadata 'huggingface' must be JSON")
        else:
            assert read_examples(tmp_path / "c.parquet") == [Example("1", ("A", "C"), 2.0)]


ARTICLE: dict[str, Any] = {
    "answers": ["B", "A"],
    "options": [["salt", "deep", "cold", "far"], ["Fish.", "Ships."]],
    "questions": ["The sea is _ .", "What is in it?"],
    "article": "The sea is deep. Fish live there.",
    "id": "high1.txt",
}
OPTIONS = [
    Example("high1.txt/1/A", ("The sea is salt .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/1/B", ("The sea is deep .", "The sea is deep. Fish live there."), 1.0, "high1.txt/1"),
    Example("high1.txt/1/C", ("The sea is cold .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/1/D", ("The sea is far .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/2/A", ("What is in it? Fish.", "The sea is deep. Fish live there."), 1.0, "high1.txt/2"),
    Example("high1.txt/2/B", ("What is in it? Ships.", "The sea is deep. Fish live there."), 0.0, "high1.txt/2"),
]


def test_race(tmp_path: Path) -> None:
    (tmp_path / "test" / "high").mkdir(parents=True)
    (tmp_path / "test" / "middle").mkdir()
    write(tmp_path / "test" / "high" / "1.txt", json.dumps(ARTICLE))
    other = {name: value for name, value in ARTICLE.items() if name not in ("id", "answers")}
    write(tmp_path / "test" / "middle" / "2.txt", json.dumps(other))
    found = read_examples(tmp_path / "test")
    assert found[:6] == OPTIONS
    assert [(example.id, example.label) for example in found[6:8]] == [("2.txt/1/A", None), ("2.txt/1/B", None)]
    assert read_examples(tmp_path / "test" / "high") == OPTIONS
    assert read_examples(tmp_path / "test" / "high" / "1.txt") == OPTIONS
    refused(lambda: read_examples(tmp_path), "must be one split of RACE, but holds test; name")
    bare = ARTICLE | {"questions": [], "options": [], "answers": [], "id": "high2.txt"}
    write(tmp_path / "race.jsonl", json.dumps(bare), json.dumps(ARTICLE))
    assert read_examples(tmp_path / "race.jsonl") == OPTIONS


def test_race_with_a_row_a_question(tmp_path: Path) -> None:
    """As the hub has it: an article's questions need not stand together."""
    same = {"example_id": ARTICLE["id"], "article": ARTICLE["article"]}
    rows = [
        {**same, "question": ARTICLE["questions"][n], "options": ARTICLE["options"][n], "answer": ARTICLE["answers"][n]}
        for n in range(2)
    ]
    other = {**rows[0], "example_id": "middle2.txt", "answer": "A"}
    write(tmp_path / "race.jsonl", *map(json.dumps, (rows[0], other, rows[1])))
    found = read_examples(tmp_path / "race.jsonl")
    assert found[:4] + found[8:] == OPTIONS
    assert [(example.group, example.label) for example in found[4:6]] == [("middle2.txt/1", 1.0), ("middle2.txt/1", 0)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "race.parquet")
    assert read_examples(tmp_path / "race.parquet") == OPTIONS
    saved(tmp_path / "race", pyarrow.Table.from_pylist(rows).to_pydict())
    assert read_examples(tmp_path / "race") == OPTIONS
    write(tmp_path / "bad.jsonl", json.dumps({**rows[0], "options": "A, B"}))
    refused(lambda: read_examples(tmp_path / "bad.jsonl"), "question 1 must have a list of two or more options")


BROKEN_RACE: dict[str, tuple[dict[str, object], str]] = {
    "a letter of no option": ({"answers": ["E", "A"]}, "question 1: the answer must be one of A, B, C, D, but is 'E'"),
    "a letter of another question's": ({"answers": ["A", "C"]}, "question 2: the answer must be one of A, B, but"),
    "numbers": ({"answers": [1, 0]}, "question 1: the answer must be one of A, B, C, D, but is 1"),
    "too few answers": ({"answers": ["A"]}, "has 2 questions, options for 2 and 1 answers"),
    "too few options": ({"options": [["a", "b"]]}, "has 2 questions, options for 1 and 2 answers"),
    "one option": ({"options": [["a", "b"], ["c"]]}, "question 2 must have a list of two or more options"),
    "no list": ({"questions": None}, "'questions' must be a list, as in RACE, but is null"),
    "an empty article": ({"article": " "}, "the article must not be empty"),
    "an empty question": ({"questions": ["", "b"]}, "question 1: the question must not be empty"),
    "an empty option": ({"options": [["a", "b", "c", ""], ["a", "b"]]}, "question 1: option D must not be empty"),
    "an empty id": ({"id": ""}, "the article's id must not be empty"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN_RACE.values(), ids=list(BROKEN_RACE))
def test_broken_race(tmp_path: Path, change: dict[str, object], said: str) -> None:
    write(tmp_path / "a.jsonl", json.dumps(ARTICLE), json.dumps(ARTICLE | {"id": "high2.txt"} | change))
    refused(lambda: read_examples(tmp_path / "a.jsonl"), "a.jsonl line 2", said)


def test_folders_of_something_else(tmp_path: Path) -> None:
    refused(lambda: read_examples(tmp_path), f"{tmp_path} must hold RACE's .txt files or what datasets'")
    refused(lambda: read_examples(tmp_path / "no"), "no must be a file or directory that exists")
    (tmp_path / "a.txt").write_text("One.")
    refused(lambda: read_examples(tmp_path), "a.txt must be JSON")
    (tmp_path / "a.txt").write_text('{"data": []}')
    refused(lambda: read_examples(tmp_path), "a.txt must be an article of RACE (an object with article, options, ques")
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name, json.dumps(ARTICLE))
    refused(lambda: read_examples(tmp_path), "'high1.txt/1/A' stands at", "a.txt, question 1 and", "b.txt, question 1;")


FEATURES = {
    "sentence1": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["entailment", "not_entailment"], "_type": "ClassLabel"},
}


def saved(folder: Path, *shards: dict[str, list[object]]) -> Path:
    """A folder as `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        table = pyarrow.table(shard)
        with ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": FEATURES}))
    return folder


def test_dataset_saved_by_hugging_face(tmp_path: Path) -> None:
    first: dict[str, list[object]] = {"sentence1": ["A", "B"], "sentence2": ["C", "D"], "label": [0, 1]}
    folder = saved(tmp_path / "set" / "train", first, {"sentence1": ["E"], "sentence2": ["F"], "label": [-1]})
    with pytest.warns(DataWarning, match="1 of 3 examples have no class"):
        found = read_examples(folder)
    assert found == [Example("1", ("A", "C"), "entailment"), Example("2", ("B", "D"), "not_entailment")]
    test = saved(tmp_path / "set" / "test", first | {"label": [-1, None]})
    assert [example.label for example in read_examples(test)] == [None, None]
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    refused(lambda: read_examples(tmp_path / "set"), "must be one split of a dataset, but holds train, test; name")


def test_dataset_with_lists_and_values(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", {"claim": ["C"], "evidence": [["one", "two"]], "score": [0.5], "id": ["x"]})
    assert read_examples(folder) == [Example("x", ("C", "one", "two"), 0.5)]


def test_broken_dataset(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", {"sentence1": ["A", "B"], "sentence2": ["C", "D"], "label": [0, 2]})
    refused(lambda: read_examples(folder), "a row 2: 'label' must be -1 or the number of a class, 0 to 1, but is 2")
    data = folder / "data-00000-of-00001.arrow"
    content = data.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"\0" * 100, b"no Arrow at all"):
        data.write_bytes(broken)
        refused(lambda: read_examples(folder), "data-00000-of-00001.arrow must be a whole Arrow stream, but is not")
    data.unlink()
    refused(lambda: read_examples(folder), "data-00000-of-00001.arrow must be a file that exists")
    for state, said in {
        "[]": "state.json must be a JSON object",
        "{": "state.json must be JSON",
        "": "state.json must hold text, but is empty",
        "{}": "'_data_files' must be a list",
        '{"_data_files": [1]}': "state.json must name its files, but names 1",
        '{"_data_files": []}': "must hold at least one example",
    }.items():
        (folder / "state.json").write_text(state)
        refused(lambda: read_examples(folder), said)
    (folder / "dataset_info.json").write_text('{"features": [1]}')
    refused(lambda: read_examples(folder), "dataset_info.json: 'features' must be an object")
    (folder / "dataset_info.json").unlink()
    refused(lambda: read_examples(folder), "dataset_info.json must be a file that exists")


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
