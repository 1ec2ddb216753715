"""Documents on their way into a store: which are new, and how many are written at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plait import passages
from plait.data import Document

COMMIT_PASSAGES = 256
"""Passages written in one commit, or more if a document has more; what a killed build loses at most."""


@dataclass(frozen=True)
class Pending:
    """A document cut into passages, or one that is there already and need not be cut."""

    document: Document
    content: str
    passages: list[passages.Passage]
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


def content_of(document: Document) -> str:
    """Hash of all that is stored of a document: what a build compares to skip it."""
    body = json.dumps([document.text, document.metadata], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
