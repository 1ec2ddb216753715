"""Folders that Hugging Face datasets wrote (`save_to_disk`): Arrow files, with the names of the classes beside them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from plait.data.document import Record
from plait.data.jsonl import parsed
from plait.data.source import opened, whole
from plait.errors import PlaitError, reason

INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
NO_CLASS = "-"
"""What stands for the class of a row that has none (-1); SNLI writes it so."""


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like one that `save_to_disk` wrote."""
    return any((folder / name).exists() for name in (INFO, STATE, SPLITS))


def records(folder: Path) -> Iterator[Record]:
    """One record a row, in order, with the names of classes for their numbers; a row without an id gets its number."""
    if (folder / SPLITS).exists():
        splits = [str(name) for name in _list(_object(folder / SPLITS), "splits", folder / SPLITS)]
        raise PlaitError(
            f"{folder} must be one split of a dataset, but holds {', '.join(splits) or 'none'}; "
            f"name {folder / (splits or ['train'])[0]}"
        )
    return with_classes(_rows(folder), classes_of(_object(folder / INFO), folder / INFO), folder)


def with_classes(
    rows: Iterable[dict[str, object]], classes: Mapping[str, list[object]], source: Path
) -> Iterator[Record]:
    """One record a row, in order, with the names of classes for their numbers."""
    for number, fields in enumerate(rows, start=1):
        for name in classes.keys() & fields.keys():
            fields[name] = _class(fields[name], classes[name], f"{source} row {number}: '{name}'")
        yield Record(number, str(number), fields)


def _class(number: object, names: list[object], what: str) -> object:
    if number is None or number == -1:
        return None if number is None else NO_CLASS
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise PlaitError(
            f"{what} must be -1 or the number of a class, 0 to {len(names) - 1}, but is {number!r}; save the dataset "
            "again"
        )
    return names[number]


def classes_of(info: Mapping[str, object], file: Path) -> dict[str, list[object]]:
    """The columns that hold classes, with the names of these."""
    features = info.get("features") or {}
    if not isinstance(features, dict):
        raise PlaitError(f"{file}: 'features' must be an object, but is not; save the dataset again")
    return {
        name: _list(feature, "names", file)
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _rows(folder: Path) -> Iterator[dict[str, object]]:
    import pyarrow
    from pyarrow import ipc

    for entry in _list(_object(folder / STATE), "_data_files", folder / STATE):
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise PlaitError(f"{folder / STATE} must name its files, but names {entry!r}; save the dataset again")
        file = folder / entry["filename"]
        with opened(file) as stream:
            try:
                with ipc.open_stream(stream) as reader:
                    for batch in reader:
                        yield from batch.to_pylist()
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise PlaitError(
                    f"{file} must be a whole Arrow stream, but is not ({reason(error)}); save the dataset again"
                ) from None


def _object(file: Path) -> dict[str, object]:
    content = parsed(whole(file), str(file))
    if not isinstance(content, dict):
        raise PlaitError(f"{file} must be a JSON object, but is not; save the dataset again")
    return content


def _list(parent: Mapping[str, object], key: str, file: Path) -> list[object]:
    values = parent.get(key)
    if not isinstance(values, list):
        raise PlaitError(f"{file}: '{key}' must be a list, but is not; save the dataset again")
    return values
