"""Questions of SQuAD 1.1 and 2.0."""

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import ipc, parquet

from plait.data import Question, bundled, read_documents, read_squad
from plait.errors import DataWarning, PlaitError

SMALL: dict[str, Any] = {
    "data": [
        {
            "title": "Sea",
            "paragraphs": [
                {
                    "context": "The sea is salt.",
                    "qas": [
                        {"id": "q1", "question": "What is salt?", "answers": [{"text": "The sea", "answer_start": 0}]},
                        {"id": "q2", "question": "Who is it?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ]
}


def test_small_file(tmp_path: Path) -> None:
    questions = read_squad(written(tmp_path, SMALL))
    assert questions == [
        Question("q1", "What is salt?", "Sea/1", "The sea is salt.", (("The sea", 0),)),
        Question("q2", "Who is it?", "Sea/1", "The sea is salt.", (), impossible=True),
    ]


def test_version_2(tmp_path: Path) -> None:
    """The official shape: a question without an answer has plausible ones, which are none."""
    answered = {
        "question": "In what country is Normandy located?",
        "id": "56ddde6b9a695914005b9628",
        "answers": [{"text": "France", "answer_start": 22}, {"text": "France", "answer_start": 22}],
        "is_impossible": False,
    }
    impossible = {
        "plausible_answers": [{"text": "Normandy", "answer_start": 10}],
        "question": "Who gave their name to Spain?",
        "id": "5ad39d53604f3c001a3fe8d1",
        "answers": [],
        "is_impossible": True,
    }
    text = "They took Normandy in France."
    article = {"title": "Normans", "paragraphs": [{"qas": [answered, impossible], "context": text}]}
    first, second = read_squad(written(tmp_path, {"version": "v2.0", "data": [article]}))
    assert (first.answers, first.impossible) == ((("France", 22), ("France", 22)), False)
    assert second == Question(impossible["id"], impossible["question"], "Normans/1", text, (), impossible=True)  # type: ignore[arg-type]


def test_bundled_questions_belong_to_bundled_documents() -> None:
    questions = read_squad(bundled("squad-dev"))
    texts = {document.id: document.text for document in read_documents(bundled("squad-dev"))}
    assert len(questions) == 10_570
    assert all(texts[question.document] == question.passage for question in questions)
    assert all(q.passage[start : start + len(text)] == text for q in questions for text, start in q.answers)
    assert not any(question.impossible for question in questions)


def rows_of(questions: list[Question]) -> list[dict[str, object]]:
    """As the hub has them."""
    return [
        {
            "id": q.id, "title": q.document.rpartition("/")[0], "context": q.passage, "question": q.question,
            "answers": {"text": [text for text, _ in q.answers], "answer_start": [start for _, start in q.answers]},
        }
        for q in questions
    ]  # fmt: skip


def test_a_row_a_question(tmp_path: Path) -> None:
    """From JSON Lines, Parquet and a folder of datasets; the questions of one text are of one document."""
    expected = [*read_squad(bundled("squad-dev"))[:40], *read_squad(written(tmp_path, SMALL))]
    rows = rows_of(expected)
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_squad(tmp_path / "a.jsonl") == expected
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_squad(tmp_path / "a.parquet") == expected
    (tmp_path / "set").mkdir()
    with ipc.new_stream(tmp_path / "set" / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (tmp_path / "set" / "dataset_info.json").write_text("{}")
    assert read_squad(tmp_path / "set") == expected
    bare = {name: value for name, value in rows[0].items() if name not in ("id", "title")}
    (tmp_path / "b.jsonl").write_text(json.dumps(bare))
    assert [(q.id, q.document) for q in read_squad(tmp_path / "b.jsonl")] == [("1", "b.jsonl/1")]
    for change, said in (
        ({"answers": ["France"]}, "line 1: 'answers' must have lists text and answer_start"),
        ({"answers": {"text": ["no"], "answer_start": [0]}}, "'no' does not stand at 0"),
        ({"context": None}, "line 1: the context must be a text"),
    ):
        (tmp_path / "b.jsonl").write_text(json.dumps(bare | change))
        with pytest.raises(PlaitError) as caught:
            read_squad(tmp_path / "b.jsonl")
        assert said in str(caught.value)


def test_rows_of_which_none_has_an_answer_are_told(tmp_path: Path) -> None:
    """As in a hidden test split."""
    row = {"id": "1", "title": "A", "context": "The river.", "question": "What?"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row | {"answers": {"text": [], "answer_start": []}}) + "\n")
    with pytest.warns(DataWarning, match="none of the 1 questions has an answer"):
        [found] = read_squad(tmp_path / "rows.jsonl")
    assert found.impossible


PARAGRAPH = ("data", 0, "paragraphs", 0)
QUESTION = (*PARAGRAPH, "qas", 0)
BROKEN: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "data no list": (("data",), {}, "'data' must be a list of objects"),
    "no title": (("data", 0, "title"), None, "article 1: the title must be a text"),
    "no paragraphs": (("data", 0, "paragraphs"), None, "article 1: 'paragraphs' must be a list"),
    "empty context": ((*PARAGRAPH, "context"), "", "article 1 ('Sea') paragraph 1: the context must not be empty"),
    "no questions": ((*PARAGRAPH, "qas"), None, "paragraph 1: 'qas' must be a list"),
    "empty question": ((*QUESTION, "question"), " ", "paragraph 1, question 1: the question must not be empty"),
    "empty id": ((*QUESTION, "id"), "", "question 1: the question's id must not be empty"),
    "id twice": ((*QUESTION, "id"), "q2", "has 'q2' in 'Sea/1' and in 'Sea/1'"),
    "misplaced answer": ((*QUESTION, "answers", 0, "answer_start"), 1, "'The sea' does not stand at 1"),
    "answer before the text": ((*QUESTION, "answers", 0, "answer_start"), -16, "'The sea' does not stand at -16"),
    "answer without place": ((*QUESTION, "answers", 0, "answer_start"), None, "'The sea' does not stand at None"),
    "empty answer": ((*QUESTION, "answers", 0, "text"), "", "the answer's text must not be empty"),
}


@pytest.mark.parametrize(("path", "value", "said"), BROKEN.values(), ids=list(BROKEN))
def test_broken_file(tmp_path: Path, path: tuple[str | int, ...], value: object, said: str) -> None:
    content = copy.deepcopy(SMALL)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PlaitError) as caught:
        read_squad(written(tmp_path, content))
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlaitError) as caught:
        read_squad(tmp_path / "no.json")
    assert str(caught.value) == f"{tmp_path / 'no.json'} must be a file that exists, but does not; check the path"


def test_a_file_without_questions(tmp_path: Path) -> None:
    content = copy.deepcopy(SMALL)
    for paragraph in (p for article in content["data"] for p in article["paragraphs"]):
        paragraph["qas"] = []
    nothing: dict[str, Any] = {"data": []}
    for empty in (content, nothing):
        with pytest.raises(PlaitError, match="must hold at least one question, but holds none"):
            read_squad(written(tmp_path, empty))


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="questions must be a file of"):
        read_squad(tmp_path)


def written(folder: Path, content: object) -> Path:
    """A SQuAD file with this content."""
    file = folder / "squad.json"
    file.write_text(json.dumps(content))
    return file
