"""The rooms of the package: who may import whom, how long a file may be, and what importing costs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "plait"
# From low to high; a module imports only from rooms that stand before its own (or from its own room).
ROOMS = (
    "errors extras files keep plan_text plan head_plans cost layout kernels store data settings saved hub machine"
    " passages text relation attention selection families states places thinning bottleneck saliency encoder compare"
    " beside heads spans writer hashes lora checkpoint saving given sbert fitting mining commits scoring parts known"
    " model cross_encoder positions distill tasks lessons labelled outputs measured taught teacher config course begin"
    " gradients resume trainer results vectors binding candidates first_stage rows index explain metrics evaluate"
    " judged card training points sweep plots agreement adopt show demo server cli __init__ __main__"
).split()
MODEL_FREE = {"store", "data"}  # they carry bytes and texts and know no model
TORCH_FREE = {"errors", "keep", "plan_text", "plan", "cost", "head_plans"}
HEAVY = ("torch", "transformers", "lance", "pyarrow")
FILES = sorted(path for path in SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def imported(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a file imports, at its top or inside a function."""
    package = ("plait", *path.relative_to(SRC).parent.parts)
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`, which import nothing when the program runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _executed(node)


def room_imported(name: str) -> str | None:
    """The room that a dotted name belongs to; names of plait itself (`from plait import Index`) are its __init__."""
    parts = name.split(".")
    if parts[0] != "plait":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "__init__"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} is no room of the project: give it a place in ROOMS"
    allowed = {"errors", "files", "kernels", "keep"} if room in MODEL_FREE else set(ROOMS[: ROOMS.index(room)])
    upward = [
        f"line {line}: {name}"
        for line, name in imported(path, ast.parse(path.read_text("utf-8")))
        if (target := room_imported(name)) is not None and target != room and target not in allowed
    ]
    assert not upward


def test_the_list_of_rooms_is_whole() -> None:
    """Every room stands in it, and in the table that newcomers read."""
    assert {*ROOMS} - {"checkpoints"} == {room_of(path) for path in FILES}
    table = (SRC.parents[1] / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`(\w+)(?:\.py|/)`", table)
    assert {*ROOMS} - {*named} == {"__init__", "__main__"}


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in TORCH_FREE], ids=name_of)
def test_plan_and_cost_know_no_torch(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not [name for _, name in imported(path, tree) if name.split(".")[0] in HEAVY]


@pytest.mark.parametrize("module", ["plait", "plait.plan", "plait.cost", "plait.data"])
def test_importing_is_light(module: str) -> None:
    """`plait plan` and `plait --help` must not wait for torch."""
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"import {module} loads {done.stdout.strip()}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_small_and_named_for_a_thing(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400
    assert path.name != "utils.py"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_things_have_docstrings(path: Path) -> None:
    assert not list(undocumented(ast.parse(path.read_text("utf-8")).body))


def undocumented(body: list[ast.stmt]) -> Iterator[str]:
    """Public functions, classes and methods without a docstring; stubs of @overload and setters need none."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
        if ast.get_docstring(node) is None and not decorators & {"overload", "setter"}:
            yield f"line {node.lineno}: {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body)


def test_these_checks_see_something() -> None:
    """A moved folder must not turn every check above into an empty list that passes."""
    tree = ast.parse("from .store import codecs\nfrom plait import Index\nimport torch.nn\nfrom plait.model import A")
    names = [name for _, name in imported(SRC / "data" / "jsonl.py", tree)]
    assert names == ["plait.data.store.codecs", "plait.Index", "torch.nn", "plait.model.A"]
    assert [room_imported(name) for name in names] == ["data", "__init__", None, "model"]
    assert list(undocumented(ast.parse("def f(): ...\nclass _C:\n  def g(self): ...").body)) == ["line 1: f"]
    assert {"errors", "data"} <= {room_of(path) for path in FILES}
