"""Candidates to learn from and to be measured on: of judged queries, and of a user's own documents without labels."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from plait import passages
from plait.data import Document, Example, is_itself, read_collection, read_run
from plait.errors import PlaitError
from plait.store import Words

SENTENCE_CHARACTERS = (30, 300)
"""Shortest and longest sentence that can stand for a query."""
ROUNDS = 6
"""Sentences that are tried of each passage."""


@dataclass(frozen=True)
class Wanted:
    """A query; of one made from a sentence, the passage it was taken out of and what is left of that."""

    id: str
    text: str
    passage: str = ""
    left: str = ""


def cut(documents: Iterable[Document], tokenizer: Any, tokens: int = 384, overlap: int = 64) -> dict[str, str]:
    """Passages by id (`document#number`), cut as an index cuts them."""
    found = {
        f"{document.id}#{number}": passage.text
        for document in documents
        for number, passage in enumerate(passages.split(document.text, tokenizer, tokens, overlap))
    }
    if not found:
        raise PlaitError("a corpus must hold a text that makes a token, but holds none; name another one")
    return found


def pseudo_queries(documents: Sequence[Document], texts: Mapping[str, str], count: int, seed: int = 0) -> list[Wanted]:
    """Up to `count` queries: titles of documents, and sentences taken out of their passage (the inverse cloze task of
    Lee et al. 2019), half of each where there are enough.
    """
    rng = random.Random(seed)
    titles: dict[str, Wanted] = {}  # by its words: no query stands twice
    for document in documents:
        title = document.metadata.get("title")
        if isinstance(title, str) and title.strip():
            titles.setdefault(_words(title), Wanted(f"title {document.id}", title))
    chosen = rng.sample(sorted(titles), min(count // 2, len(titles)))
    wanted = {words: titles[words] for words in chosen}
    ids = list(texts)
    rng.shuffle(ids)
    for turn in range(ROUNDS):  # one sentence a passage each time
        for id in ids:
            if len(wanted) == count:
                return list(wanted.values())
            sentence = _sentence(texts[id], rng)
            if sentence is not None:
                first, last = sentence
                query, rest = texts[id][first:last], " ".join((texts[id][:first] + texts[id][last:]).split())
                wanted.setdefault(_words(query), Wanted(f"sentence {turn} {id}", query, id, rest))
    more = [words for words in sorted(titles) if words not in wanted]
    wanted |= {words: titles[words] for words in rng.sample(more, min(count - len(wanted), len(more)))}
    return list(wanted.values())


def _words(text: str) -> str:
    return " ".join(text.lower().split())


def apart(queries: Sequence[Wanted], held_out: Sequence[Wanted]) -> list[Wanted]:
    """The queries that neither are a part of a held-out one nor have one as a part, by their words."""
    taken = [f" {_words(query.text)} " for query in held_out]

    def shared(query: Wanted) -> bool:
        words = f" {_words(query.text)} "
        return any(words in other or other in words for other in taken)

    return [query for query in queries if not shared(query)]


def _sentence(text: str, rng: random.Random) -> tuple[int, int] | None:
    """Characters of one of a passage's sentences, if something is left of the passage without it."""
    first, last = passages.sentence(text, *[rng.randrange(len(text))] * 2)
    shortest, longest = SENTENCE_CHARACTERS
    whole = shortest <= last - first <= min(longest, len(text) - shortest)
    return (first, last) if whole and text[first:last].strip() else None


def mined(queries: Sequence[Wanted], texts: Mapping[str, str], folder: Path, depth: int = 100) -> dict[str, list[str]]:
    """For each query the ids of its `depth` best passages by BM25, from a table made in `folder`."""
    words = Words(folder, texts)
    return {query.id: [hit.id for hit in words.search(query.text, depth)] for query in queries}


def judged_lists(folder: Path, split: str, run: str = "", depth: int = 100, count: int = 0) -> list[Example]:
    """The `depth` best documents of every query of a BEIR folder's split, or of its first `count`, by a TREC run or
    without one by BM25, a group a query, and what else is judged: relevant as the split says, those that it does not
    judge 0. None is the query itself.

    Raises:
        PlaitError: the folder or the run cannot be read, or the run lacks a query or names an unknown document.
    """
    collection = read_collection(folder, split)
    there = collection.documents.keys() | collection.without
    if run:
        scores = read_run(run)
        found = {query: sorted(some, key=some.__getitem__, reverse=True) for query, some in scores.items()}
        if lacking := collection.queries.keys() - found.keys():
            raise PlaitError(
                f"a run must have documents of every judged query, but {run} has none of {len(lacking)} of the "
                f"{len(collection.queries)} of {folder}'s split {split}, {min(lacking)!r} first; name that split's run"
            )
        for query, ids in found.items():
            for id in ids:
                if query in collection.queries and id not in there:
                    raise PlaitError(
                        f"a run must name documents of the corpus, but {run} has {id!r}, which {folder} has not; make "
                        "it from the same corpus"
                    )
    else:
        texts = {id: document.text for id, document in collection.documents.items()}
        with tempfile.TemporaryDirectory() as words:
            asked = [Wanted(id, text) for id, text in islice(collection.queries.items(), count or None)]
            found = mined(asked, texts, Path(words) / "words", depth)
    listed = []
    for query, text in islice(collection.queries.items(), count or None):
        labels = {id: float(relevance) for id, relevance in collection.qrels[query].items()}
        best = [id for id in found[query][:depth] if not is_itself(query, id, labels)]
        labels |= {id: 0.0 for id in best if id not in labels}
        labels = {id: label for id, label in labels.items() if id not in collection.without}
        listed += [
            Example(f"{query} {id}", (text, collection.documents[id].text), label, query, id in best)
            for id, label in labels.items()
        ]
    return listed


def examples(
    queries: Sequence[Wanted],
    texts: Mapping[str, str],
    found: Mapping[str, Sequence[str]],
    candidates: int,
    seed: int = 0,
) -> Iterator[Example]:
    """Lists of `candidates` passages a query: half of them its best, the others by chance from the rest.

    The first of each list is labelled 1, which says only where the list begins: a sentence's own passage, without the
    sentence, or what BM25 found first.
    """
    rng = random.Random(seed)
    for query in queries:
        ids = [id for id in found[query.id] if id != query.passage]
        best = ids[: candidates // 2]
        rest = ids[len(best) :]
        chosen = [*best, *rng.sample(rest, min(len(rest), candidates - len(best) - bool(query.passage)))]
        listed = [(query.passage, query.left)] if query.passage else []
        listed += [(id, texts[id]) for id in chosen]
        if len(listed) < 2:
            continue
        for number, (id, text) in enumerate(listed):
            yield Example(f"{query.id} {id}", (query.text, text), float(number == 0), query.id)
