"""Where the system refuses a file, the sentence says what would help; nobody is told to delete a good store."""

import contextlib
import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from plait.errors import PlaitError
from plait.settings import FILE, read_settings
from plait.store import Store

from .samples import document, make
from .test_crash import start

AS_NOBODY = """
import os, sys
from plait.errors import PlaitError
from plait.store import Store
from tests.store.samples import document, make
warm = make(sys.argv[2])  # whatever is imported late is imported by who may
warm.search_text("river", 3), warm.read(warm.ids()), warm.optimize()
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    store = Store.open(sys.argv[1])
    store.search_text("river", 3), store.read(store.ids())
    store.add(document("new", store.codec))
except PlaitError as error:
    print(error)
"""


@pytest.fixture
def path() -> Iterator[Path]:
    """A store in a folder that anybody may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    make(folder / "s.plait", documents=2)
    yield folder / "s.plait"
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        ("passages.lance", "give this user the right"),
        ("passages.lance/_versions", "give this user the right"),
        ("passages.lance/data/*", "give this user the right"),
        ("writer.lock", "make it writable"),
        ("", "give this user the right"),
    ],
)
def test_what_a_user_may_not_read(path: Path, tmp_path: Path, closed: str, said: str) -> None:
    path.chmod(0o777)
    for file in path.glob(closed) if closed else [path]:
        file.chmod(0)
    told, err = start(AS_NOBODY, path, tmp_path / "warm.plait").communicate()
    path.chmod(0o755)
    assert said in told and "anew" not in told and told.count("\n") == 1, err


def test_a_store_that_a_user_may_only_read(path: Path, tmp_path: Path) -> None:
    """The lock may be taken, the table not written."""
    (path / "writer.lock").chmod(0o666)
    told, err = start(AS_NOBODY, path, tmp_path / "warm.plait").communicate()
    assert "add passages" in told and "give this user the right" in told and "anew" not in told, err


def test_too_many_open_files(tmp_path: Path) -> None:
    make(tmp_path / "s.plait", documents=2)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    told, held = [], []
    try:
        for number in range(12):
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(number):
                os.close(held.pop())
            try:
                store = Store.open(tmp_path / "s.plait")
                store.search_text("river", 3)
                store.read(store.ids())
                store.add(document(f"new {number}", store.codec))
            except PlaitError as error:
                told.append(str(error))
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert told and all("let the process open more files (ulimit -n)" in said for said in told), told
    assert Store.open(tmp_path / "s.plait").verify() == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EROFS, errno.EIO])
def test_settings_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Path, *_: object) -> str:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PlaitError, match=os.strerror(code)) as told:
        read_settings(tmp_path)
    assert FILE in str(told.value) and "build" not in str(told.value)


def test_more_than_there_is(tmp_path: Path) -> None:
    """A generator of ids, and counts that the table library has no number for."""
    store = make(tmp_path / "s.plait")
    assert len(store.search_text("edition", 2**64)) == 12
    assert store.delete(id for id in ("d0", "d1")) == 6
    assert store.delete(id for id in ("d2", "d3")) == 6
    assert store.search_text("edition", 2**64) == []
