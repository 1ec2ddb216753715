"""Documents on their way into a store: which are new, and how many are written at once."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from plait.data import Document
from plait.errors import DataWarning, PlaitError
from plait.passages import Passage

COMMIT_PASSAGES = 256
"""Passages written in one commit, or more if a document has more; what a killed build loses at most."""


@dataclass(frozen=True)
class Pending:
    """A document cut into passages, none if it is there but has no token any more; or one that is there already as it
    is and need not be cut.
    """

    document: Document
    content: str
    passages: list[Passage]
    unchanged: bool


@dataclass(frozen=True)
class Commit:
    """Documents that are written at once, and how many since the last commit were there already."""

    documents: list[Pending]
    unchanged: int


def commits(pending: Iterable[Pending]) -> Iterator[Commit]:
    """Group documents; each commit but the last has at least COMMIT_PASSAGES passages."""
    documents: list[Pending] = []
    unchanged = count = 0
    for one in pending:
        unchanged += one.unchanged
        if not one.unchanged:
            documents.append(one)
            count += len(one.passages)
        if count >= COMMIT_PASSAGES:
            yield Commit(documents, unchanged)
            documents, unchanged, count = [], 0, 0
    yield Commit(documents, unchanged)


def pending(
    documents: Iterable[Document], there: Mapping[str, str], cut: Callable[[str], Iterable[Passage]]
) -> Iterator[Pending]:
    """The documents in order, cut unless they are `there` (id -> content) as they are. Those without a character that
    makes a token are left out, with one DataWarning, and what is there of them goes.

    Raises:
        PlaitError: for something that is no document or cannot be stored, an id that comes twice, or documents of which
            none has a token.
    """
    seen: set[str] = set()
    empty: list[str] = []
    for document in documents:
        if not isinstance(document, Document):
            raise PlaitError(f"documents must be plait.Document(id, text), but one is {document!r:.60}; make it one")
        document.check()
        if document.id in seen:
            raise PlaitError(f"documents must have different ids, but {document.id!r} comes twice; rename one")
        seen.add(document.id)
        content = content_of(document)
        if there.get(document.id) == content:
            yield Pending(document, content, [], True)
            continue
        try:
            passages = list(cut(document.text))
        except PlaitError as error:
            raise PlaitError(f"document {document.id!r}: {error}") from None
        if not passages:  # of zero-width characters alone, say
            empty.append(document.id)
            if document.id not in there:
                continue
        yield Pending(document, content, passages, False)
    if empty and len(empty) == len(seen):
        raise PlaitError(
            f"a document must have a character that makes a token, but {empty[0]!r} has none; leave it out"
        )
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(seen)} documents have no character that makes a token, {empty[0]!r} first, and are "
            "left out",
            DataWarning,
            stacklevel=2,
        )


def content_of(document: Document) -> str:
    """Hash of all that is stored of a document: what a build compares to skip it."""
    body = json.dumps([document.text, document.metadata], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
