"""Bytes of a file as text: plain, .gz or .xz; nothing that is not UTF-8 text gets through."""

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from plait.errors import PlaitError

BOM = b"\xef\xbb\xbf"
OPENERS: dict[str, Callable[[Path], object]] = {".gz": gzip.open, ".xz": lzma.open}


def kind(path: Path) -> str:
    """What a file is by its name, in lower case and below .gz or .xz: ".jsonl" for Docs.JSONL.gz; "" without one."""
    return Path(path.stem if path.suffix.lower() in OPENERS else path.name).suffix.lower()


def check_exists(path: Path) -> None:
    """PlaitError unless something stands at the path."""
    if not path.exists():
        raise PlaitError(f"{path} must be a file or directory that exists, but does not; check the path")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The (decompressed) bytes of a file; a file that is missing, unreadable or cut off raises PlaitError."""
    if path.is_dir():
        raise PlaitError(f"{path} must be a file, but is a directory; name a file in it")
    try:
        with cast(BinaryIO, OPENERS.get(path.suffix.lower(), lambda plain: plain.open("rb"))(path)) as stream:
            yield stream
    except FileNotFoundError:
        raise PlaitError(f"{path} must be a file that exists, but does not; check the path") from None
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise PlaitError(
            f"{path} must be a whole {path.suffix} archive, but is not ({_reason(error)}); make or fetch it again"
        ) from None
    except OSError as error:
        raise PlaitError(
            f"{path} must be readable, but is not ({_reason(error)}); check its permissions and disk"
        ) from None


def lines(path: Path) -> Iterator[str]:
    """The lines of a file with their line ends, one at a time; a byte-order mark at the start is left out."""
    offset = 0
    with opened(path) as stream:
        for line in stream:
            yield _decoded(line, path, offset)
            offset += len(line)
    if offset == 0:
        raise _empty(path)


def whole(path: Path, *, empty: bool = False) -> str:
    """All text of a file, line ends untouched; `empty`: also of one that holds nothing."""
    return _decoded(raw(path, empty=empty), path, 0)


def raw(path: Path, *, empty: bool = False) -> bytes:
    """All bytes of a file; PlaitError if there are none, unless it may be `empty`."""
    with opened(path) as stream:
        content = stream.read()
    if not content and not empty:
        raise _empty(path)
    return content


def _decoded(content: bytes, path: Path, offset: int) -> str:
    nul = content.find(b"\0")
    try:
        text = content.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        bad = error.start + (len(BOM) if offset == 0 and content.startswith(BOM) else 0)
        if nul < 0 or bad < nul:
            raise PlaitError(
                f"{path} must be UTF-8 text, but byte {offset + bad} is not; save it as UTF-8 or name a text file"
            ) from None
    if nul >= 0:
        raise PlaitError(f"{path} must be text, but byte {offset + nul} is NUL, as in a binary file; name a text file")
    return text


def _empty(path: Path) -> PlaitError:
    return PlaitError(f"{path} must hold text, but is empty; fill it or name another file")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".").lower()
