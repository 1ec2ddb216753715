"""What Hugging Face datasets write: folders of Arrow files, and Parquet with the names of classes."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import ipc, parquet

from plait.data import Example, read_examples
from plait.errors import DataWarning
from tests.data.test_bad_input import refused


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
