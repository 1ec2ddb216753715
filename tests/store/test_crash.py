"""Killed, full, damaged, contended: the store opens with everything committed, or says what is wrong."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from plait.errors import PlaitError
from plait.store import Store

from .samples import assert_holds, document, fingerprint, make, passage

WRITER = """
import sys
from pathlib import Path
from plait.store import Store
from tests.store.samples import document
store = Store.open(Path(sys.argv[1]))
with store.writing():
    print("ready", flush=True)
    for number in range(100000):
        name = f"w{number}"
        store.add(document(name, store.codec))
        print("add", name, flush=True)
        if number % 3 == 1:
            store.replace(document(name, store.codec, passages=2, edition="2"))
            print("replace", name, flush=True)
        if number % 4 == 3:
            store.delete([name])
            print("delete", name, flush=True)
        if number % 7 == 5:
            store.compact()
"""


def after(commits: int) -> dict[str, str]:
    """What WRITER's store holds after so many of its commits (compaction aside)."""
    contents, done = {"d0": "hash of d0 1"}, 0
    for number in range(commits):
        name = f"w{number}"
        steps = [(True, f"hash of {name} 1"), (number % 3 == 1, f"hash of {name} 2"), (number % 4 == 3, None)]
        for _, content in (step for step in steps if step[0]):
            if done == commits:
                return contents
            done += 1
            if content:
                contents[name] = content
            else:
                del contents[name]
    return contents


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "src"), str(root)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def no_size_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "s.plait"
    make(path, documents=1).close()
    writer = start(WRITER, path)
    assert writer.stdout and writer.stdout.readline() == "ready\n"
    chance = random.Random(seed)
    said = [writer.stdout.readline() for _ in range(chance.randrange(0, 25))]
    time.sleep(chance.random() * 0.03)
    writer.kill()
    said += writer.stdout.readlines()  # communicate() does not see what is buffered here
    writer.communicate()
    said = [line for line in said if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL

    # What was said to be committed is there, and perhaps the commit after it, and nothing else.
    store = Store.open(path)
    found = store.contents()
    assert found in (after(len(said)), after(len(said) + 1))
    rows = []
    for name, content in found.items():
        rows += document(name, store.codec, *((2, "2") if content.endswith(" 2") else (3, "1")))
    assert_holds(store, rows)
    # And it goes on: nobody holds the lock, nothing is in the way.
    store.add(document("after", store.codec))
    store.compact()
    assert store.contents() == {**found, "after": "hash of after 1"} and store.verify() == []
    assert len(os.listdir(path / "passages.lance" / "data")) == 1


def test_a_killed_create_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, os; from plait.store import Store; from tests.store.samples import fingerprint\n"
        "os.rename = lambda *a: os.kill(os.getpid(), 9)\n"
        "Store.create(sys.argv[1], fingerprint())"
    )
    killed = start(code, tmp_path / "s.plait")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(PlaitError, match="is not; build one"):
        Store.open(tmp_path / "s.plait")
    assert len(Store.create(tmp_path / "s.plait", fingerprint())) == 0


def test_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "s.plait"
    store = make(path, documents=1)
    other = start(
        "import sys, time; from plait.store import Store\n"
        "with Store.open(sys.argv[1]).writing():\n    print('ready', flush=True); time.sleep(60)",
        path,
    )
    assert other.stdout and other.stdout.readline() == "ready\n"
    for change in (
        lambda: store.add(document("x", store.codec)),
        lambda: store.delete(["d0"]),
        store.compact,
        store.optimize,
        lambda: store.replace(document("d0", store.codec)),
    ):
        with pytest.raises(PlaitError, match=f"process {other.pid} is writing"):
            change()
    assert_holds(store, document("d0", store.codec))
    assert_holds(Store.open(path), document("d0", store.codec))
    other.kill()
    other.communicate()
    store.add(document("x", store.codec))
    with store.writing(), pytest.raises(PlaitError, match=f"process {os.getpid()} "):
        Store.open(path).delete(["x"])


FORKING = """
import os, signal, sys, warnings
from plait.errors import PlaitError
from plait.store import Store
from tests.store.samples import document, make
warnings.simplefilter("ignore")
store = make(sys.argv[1], documents=2)
store.optimize()
store.search_text("river", 3)
store.add(document("x", store.codec))
for call in (store.optimize, lambda: store.add(document("y", store.codec)), store.compact, store.refresh,
             lambda: store.search_text("river", 3), lambda: store.texts(store.ids()), lambda: store.read(store.ids()),
             lambda: Store.open(sys.argv[1])):
    if not (child := os.fork()):
        signal.alarm(10)
        try:
            call()
        except PlaitError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
store.optimize()
store.add(document("y", store.codec))
print(len(store))
"""


def test_a_forked_process_is_told_and_does_not_hang(tmp_path: Path) -> None:
    forking = start(FORKING, tmp_path / "s.plait")
    *told, last = forking.communicate()[0].splitlines()
    assert last == "12" and len(told) == 8
    assert all(f"forked from {forking.pid}; start processes by spawn" in sentence for sentence in told)


def test_writers_take_turns(tmp_path: Path) -> None:
    one = make(tmp_path / "s.plait", documents=1)
    two = Store.open(tmp_path / "s.plait")
    one.add(document("x", one.codec))
    with pytest.raises(PlaitError, match="'x'"):
        two.add(document("x", one.codec))
    two.delete(["d0"])
    one.replace(document("x", one.codec, edition="2"))
    assert_holds(Store.open(tmp_path / "s.plait"), document("x", one.codec, edition="2"))


def test_paths_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    (tmp_path / "fake" / "passages.lance").mkdir(parents=True)
    for name in ("nothing", "file", "folder", "fake"):
        with pytest.raises(PlaitError):
            Store.open(tmp_path / name)
    for name in ("file", "folder", "fake", "file/below"):
        with pytest.raises(PlaitError):
            Store.create(tmp_path / name, fingerprint())
    make(tmp_path / "s.plait")
    with pytest.raises(PlaitError, match="exists"):
        Store.create(tmp_path / "s.plait", fingerprint())
    with pytest.raises(PlaitError):
        Store.open(tmp_path / "s.plait", version=77)
    (tmp_path / "empty").mkdir()
    assert len(Store.create(tmp_path / "empty", fingerprint())) == 0
    import lance
    import pyarrow as pa

    lance.write_dataset(pa.table({"a": [1]}), str(tmp_path / "foreign" / "passages.lance"))
    with pytest.raises(PlaitError, match="no Plait store"):
        Store.open(tmp_path / "foreign")


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in (path / "passages.lance").rglob("*") if p.is_file())


def test_truncated_files_are_told(tmp_path: Path) -> None:
    make(tmp_path / "good.plait", documents=2).compact()
    rows = [row for n in range(2) for row in document(f"d{n}", Store.open(tmp_path / "good.plait").codec)]
    for victim in files_of(tmp_path / "good.plait"):
        for keep in (0, 0.5, None):
            path = tmp_path / "bad.plait"
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(tmp_path / "good.plait", path)
            target = path / victim.relative_to(tmp_path / "good.plait")
            if keep is None:
                target.unlink()
            else:
                os.truncate(target, int(target.stat().st_size * keep))
            try:
                store = Store.open(path)
                store.search_text("river", 3)
                damaged = store.verify()
                store.read(store.ids())
            except PlaitError as told:
                assert "\n" not in str(told) and len(str(told)) < 700
            else:
                if not damaged:
                    assert_holds(store, rows)


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_byte_passes_verify_unseen(tmp_path: Path, seed: int) -> None:
    make(tmp_path / "good.plait", documents=3).compact()
    path = tmp_path / "bad.plait"
    shutil.copytree(tmp_path / "good.plait", path)
    [data] = [p for p in files_of(path) if p.parent.name == "data"]
    sound = data.read_bytes()
    chance = np.random.default_rng(seed)
    seen = 0
    for position in chance.choice(len(sound), 60, replace=False):
        broken = bytearray(sound)
        broken[position] ^= 1 << int(chance.integers(8))
        data.write_bytes(broken)
        try:
            store = Store.open(path)
            damaged = store.verify()
        except PlaitError:
            seen += 1
            continue
        if damaged:
            seen += 1
        else:
            assert_holds(store, [row for n in range(3) for row in document(f"d{n}", store.codec)])
    assert seen > 10


def test_a_flipped_byte_is_found_in_its_passage(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait", documents=1)
    part = next(iter(store._now.catalog.parts.values()))
    assert part.file
    data = tmp_path / "s.plait" / "passages.lance" / "data" / part.file
    broken = bytearray(data.read_bytes())
    broken[int(part.positions[1, 2]) + 5] ^= 1
    store.close()
    data.write_bytes(broken)
    [found] = Store.open(tmp_path / "s.plait").verify()
    assert found.id == "d0#2" and "checksum" in found.reason


def test_disk_full_while_adding(tmp_path: Path, no_size_limit: None) -> None:
    store = make(tmp_path / "s.plait", documents=2)
    rows = [row for n in range(2) for row in document(f"d{n}", store.codec)]
    big = [passage("big", i, store.codec, text=os.urandom(20000).hex()) for i in range(5)]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (store.add, store.replace):
        resource.setrlimit(resource.RLIMIT_FSIZE, (40000, hard))
        with pytest.raises(PlaitError, match="free space"):
            write(big)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert_holds(store, rows)
        assert_holds(Store.open(tmp_path / "s.plait"), rows)
    store.add(big)
    assert_holds(Store.open(tmp_path / "s.plait"), [*rows, *big])


def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        store = make(disk / "s.plait", documents=1)
        kept = document("d0", store.codec)
        with pytest.raises(PlaitError, match="free space"):
            for number in range(100):
                rows = [passage(f"big{number}", i, store.codec, text=os.urandom(20000).hex()) for i in range(2)]
                store.add(rows)
                kept += rows
        assert_holds(store, kept)
        again = Store.open(disk / "s.plait")
        assert_holds(again, kept)
        with pytest.raises(PlaitError, match="free space"):
            Store.create(disk / "other.plait", fingerprint())
        with pytest.raises(PlaitError, match="free space"):
            again.compact()
            again.compact()
        assert_holds(Store.open(disk / "s.plait"), kept)
        store.close()
        again.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="create a store"):
        Store.create("/proc/nowhere/s.plait", fingerprint())
