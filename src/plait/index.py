"""An index: a corpus, its store, a first stage and a model, so that texts go in and ranked passages and answers come
out.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait import passages
from plait.binding import fingerprint, model_of
from plait.candidates import Candidates, passages_of
from plait.commits import commits, pending
from plait.data import Document
from plait.errors import PlaitError, require_least
from plait.first_stage import CANDIDATES, FirstStage, candidates_of, require_candidates
from plait.keep import rows as rows_of
from plait.model import Plait
from plait.parts import Encoded, made_by
from plait.results import Added, Answers, Found, Hit, Ranking
from plait.rows import store_rows
from plait.scoring import Query, Timing, encode_query, require_finite, require_one_label, score, spans, stored_role
from plait.settings import FILE, Settings, Vectors, name_anywhere, read_settings, to_json
from plait.store import Damage, Stats, Store, check, retried
from plait.text import require_list
from plait.vectors import Given, vector_name, vectors_of


class Index:
    """Made by `create` or `open`."""

    def __init__(self, store: Store, model: Plait, settings: Settings) -> None:
        self.store, self.model, self.settings = store, model, settings
        self._role = stored_role(model)
        tokens = min(settings.passage_tokens, model.text.room(self._role))
        overlap = min(settings.overlap, tokens // 2)
        self._cut = functools.partial(passages.split, tokenizer=model.tokenizer, tokens=tokens, overlap=overlap)

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: Plait,
        *,
        name: str = "",
        codec: str = "int8",
        passage_tokens: int = 384,
        overlap: int = 64,
        vectors: Vectors | Literal["auto"] = "auto",
        vector_width: int = 0,
    ) -> Self:
        """Make an empty index.

        Args:
            path: a free path; it becomes a folder.
            model: computes the passages now and the queries later.
            name: folder or hub id that `open` will load the model from; default: what it was loaded from.
            codec: float32, float16, bfloat16, int8 or int4.
            passage_tokens, overlap: see Settings.
            vectors, vector_width: see Settings; `given` needs the width of the vectors, `auto` is `pooled` where the
                model compares by cosine and `none` elsewhere.
        """
        if not isinstance(model, Plait):
            raise PlaitError(f"model must be a Plait, but is {model!r:.60}; load it with Plait.from_pretrained")
        known = stored_role(model)
        if not {"score", "span"} & set(model.plans):
            model.plan("score")  # refuses: nothing could be asked of this index
        passages.split("", model.tokenizer, passage_tokens, overlap)  # refuses what cannot be
        passages.require_readable(passage_tokens, model.text.room(known))
        vectors = vectors_of(model, vectors, vector_width)
        if vectors == "pooled":
            vector_width = model.encoder.family.shape.width(vector_name(model, known))
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        plans = {head: str(plan) for head, plan in model.plans.items()}
        numbers = int(passage_tokens), int(overlap)  # numpy's are no JSON
        settings = Settings(name_anywhere(name or model.name_or_path), plans, dtype, *numbers, vectors)
        beside = {FILE: to_json(settings)}
        store = Store.create(path, fingerprint(model, codec), vector_width=vector_width, beside=beside)
        return cls(store, model, settings)

    @classmethod
    def open(cls, path: str | Path, model: Plait | None = None, *, device: torch.device | str = "cpu") -> Self:
        """Open an index, with the model that made it (loaded from where it was onto a device, unless given).

        Raises:
            PlaitError: no index is there, it is damaged, or another model, tokenizer, plan or codec made it.
        """
        if model is not None and not isinstance(model, Plait):
            raise PlaitError(f"model must be a Plait, but is {model!r:.60}; load it with Plait.from_pretrained")
        settings = read_settings(path)
        store = Store.open(path)
        if model is None:
            model = model_of(settings, device=device)
        check(fingerprint(model, store.fingerprint.codec), store.fingerprint)
        return cls(store, model, settings)

    # Writing

    def add(
        self,
        documents: Iterable[Document],
        vectors: Given | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Added:
        """Add documents, and replace those whose content changed. What is there unchanged is left alone, so that a
        build that was killed goes on where it stopped.

        Args:
            documents: ids must be different.
            vectors: texts -> float32 [texts, width], for an index of given vectors.
            progress: called with documents and passages done, after each commit.

        Raises:
            PlaitError: a document that cannot be stored; those before it, up to the last commit, are.
        """
        if (self.settings.vectors == "given") != (vectors is not None):
            raise PlaitError(
                f"vectors must be passed if the index was made with vectors=given and only then, but it has "
                f"vectors={self.settings.vectors}; {'pass' if vectors is None else 'leave out'} vectors"
            )
        if isinstance(documents, Document):
            raise PlaitError(f"documents must be several, but are the one {documents.id!r}; pass [Document(...)]")
        model, role = self.model, self._role
        written = replaced = unchanged = rows_written = tokens = 0
        with self.store.writing():
            there = self.store.contents()
            try:
                for batch in commits(pending(documents, there, self._cut)):
                    unchanged += batch.unchanged
                    changed = [one for one in batch.documents if one.passages]
                    rows = store_rows(model, role, self.store.codec, self.settings.vectors, vectors, changed)
                    if rows:
                        self.store.replace(rows)
                    self.store.delete(one.document.id for one in batch.documents if not one.passages)
                    written += len(changed)
                    replaced += sum(one.document.id in there for one in changed)
                    rows_written += len(rows)
                    tokens += sum(row.n_tokens for row in rows)
                    if progress:
                        progress(written + unchanged, rows_written)
            except PlaitError:
                with contextlib.suppress(PlaitError):  # a full disk, say; the next build does it
                    self.store.optimize()
                raise
            self.store.optimize()
        return Added(written, replaced, unchanged, rows_written, tokens)

    def delete(self, documents: Iterable[str]) -> int:
        """Remove documents by id; returns how many passages went. Ids that are not there are an error."""
        return self.store.delete(documents)

    def compact(self) -> None:
        """Merge small files, drop what was deleted and old versions."""
        self.store.compact()

    # Reading

    def refresh(self) -> None:
        """Read from now on what other processes have committed, as every change through this index does, too.

        Raises:
            PlaitError: the index was removed, and another built in its place; open it again.
        """
        self.store.refresh()

    def verify(self) -> list[Damage]:
        """Compare every stored passage with its checksum; empty if all is well."""
        return self.store.verify()

    def stats(self) -> Stats:
        """Counts and sizes of the store."""
        return self.store.stats()

    @retried
    def parts(self, ids: Sequence[str]) -> list[Encoded]:
        """Stored passages as parts of examples for `Plait.predict`, whatever roles these have: LAIT's many segments.

        Args:
            ids: of passages, as hits have them: their document's, with #number if that has several.
        """
        ids, still = require_list("ids", ids), self._still()
        kept, lengths = still.store.passages(ids), still.store.lengths(ids)
        read = still._fetch(ids, range(len(ids)), self.model.needs(self._role))
        maker = made_by(self.model, self._role)
        split = {name: x.split([rows_of(name, length) for length in lengths]) for name, x in read.items()}
        return [
            Encoded({name: pieces[i] for name, pieces in split.items()}, passage.offsets, 0, maker)
            for i, passage in enumerate(kept)
        ]

    @retried
    def rank(
        self,
        query: str,
        top_k: int | None = 10,
        *,
        candidates: Candidates | None = None,
        first_stage: FirstStage = "auto",
        first_stage_weight: float = 0.0,
        vector: NDArray[np.float32] | None = None,
    ) -> Ranking:
        """Rank passages for a query.

        Args:
            query: a text that is not blank.
            top_k: hits to return; None for all candidates.
            candidates: how many passages the first stage hands to the model; default 100, or `top_k` if that is more.
                Or what another search found in its place, as ids of documents or as {id: score}: all passages of each
                are ranked; what is not in the index is left out with a DataWarning.
            first_stage: `bm25`, `vector` (cosine), `all` passages of the index, or `auto`: `vector` where an index has
                the vectors that the model compares by cosine, else `bm25`.
            first_stage_weight: how many times its scores, or that other search's, count beside the model's logits
                (linear interpolation, Wang et al., ICTIR 2021); `plait.judged` finds the best for queries whose
                relevant documents are known.
            vector: the query's, for an index of given vectors, which `auto` then searches by.
        """
        if top_k is not None:
            require_least("top_k", top_k, "10 is the default")
        require_one_label(self.model)
        timing = Timing()
        with torch.inference_mode():
            still = self._still()
            asked = self._query(query, timing)
            return still._rank(asked, top_k, candidates, first_stage, first_stage_weight, vector, timing)

    @retried
    def ask(
        self,
        question: str,
        top_k: int = 1,
        *,
        read: int = 3,
        candidates: Candidates | None = None,
        first_stage: FirstStage = "auto",
        first_stage_weight: float = 0.0,
    ) -> Answers:
        """Answer a question with spans of the `read` best passages, one a passage. Without a score head, the best are
        those of the first stage.

        Args:
            question: a text that is not blank.
            top_k: answers to return; fewer where the model says that passages have none.
            read: passages that the span head reads, at least `top_k`.
            candidates, first_stage, first_stage_weight: as in `rank`. Of documents without scores the first are the
                first stage's best.
        """
        require_least("top_k", top_k, "1 is the default")
        require_least("read", read, "3 is the default")
        self.model.plan("span")  # refuses a model without a span head
        timing = Timing()
        with torch.inference_mode():
            still = self._still()
            query = self._query(question, timing)
            most = max(read, top_k)
            ranking = still._rank(query, most, candidates, first_stage, first_stage_weight, None, timing)
            ids = [hit.id for hit in ranking.hits]
            with timing.stage("read"):
                texts = [(p.text, p.offsets) for p in still.store.passages(ids)] if ids else []
            found = spans(self.model, query, texts, functools.partial(still._fetch, ids), timing)
        answers = [
            Found(s.text, s.start, s.end, s.score + h.score, h)
            for s, h in zip(found, ranking.hits, strict=True)
            if s.score > 0 or not self.model.no_answer
        ]
        answers.sort(key=lambda answer: -answer.score)
        return Answers(answers[:top_k], ranking)

    @retried
    def answer_in(self, question: str, document: str) -> Found:
        """The best span for a question within one stored document, by the span head alone; empty if there is none."""
        timing, still = Timing(), self._still()
        ids = still.store.passage_ids(document)
        with torch.inference_mode():
            query = self._query(question, timing)
            kept = still.store.passages(ids)
            texts = [(p.text, p.offsets) for p in kept]
            found = spans(self.model, query, texts, functools.partial(still._fetch, ids), timing)
        best = max(range(len(found)), key=lambda i: found[i].score)
        span, p = found[best], kept[best]
        hit = Hit(p.id, p.document, p.text, p.start, 0.0, 0.0, p.metadata)
        if self.model.no_answer and span.score <= 0:
            return Found("", 0, 0, span.score, hit)
        return Found(span.text, span.start, span.end, span.score, hit)

    def _still(self) -> Self:
        """The index as it is now: what other threads write meanwhile does not reach a query halfway."""
        still = copy.copy(self)
        still.store = self.store.still()
        return still

    def _query(self, text: str, timing: Timing) -> Query:
        with timing.stage("query"):
            return encode_query(self.model, text)

    def _rank(
        self,
        query: Query,
        top_k: int | None,
        candidates: Candidates | None,
        first_stage: FirstStage,
        weight: float,
        vector: NDArray[np.float32] | None,
        timing: Timing,
    ) -> Ranking:
        asked = require_candidates(candidates, first_stage, weight, vector)
        ranks = "score" in self.model.plans
        if ranks:
            require_one_label(self.model)
        with timing.stage("first stage"):
            if isinstance(asked, dict):
                handed = passages_of(self.store, asked)
            else:
                count = max(CANDIDATES, top_k or 0) if asked is None else asked
                vectors = self.settings.vectors
                handed = candidates_of(self.store, self.model, query, count, first_stage, vector, vectors)
        if not handed:
            return Ranking([], timing, query.cut)
        ids = [one.id for one in handed]
        lengths = self.store.lengths(ids)
        logits = np.zeros(len(ids), np.float32)  # without a score head the first stage's order stays
        if ranks:
            fetch = functools.partial(self._fetch, ids)
            logits = score(self.model, query, lengths, fetch, timing)[:, 0]
            require_finite(logits)
        with timing.stage("read"):
            with np.errstate(over="ignore"):
                scores = (logits + np.array([weight * one.score for one in handed])).astype(np.float32)
            if not np.isfinite(scores).all():
                raise PlaitError(
                    f"scores with first_stage_weight={weight:g} must be finite numbers, but are not; pass a smaller one"
                )
            best = np.argsort(-scores, kind="stable")[:top_k]
            found = self.store.passages([ids[i] for i in best])
        hits = [
            Hit(p.id, p.document, p.text, p.start, float(scores[i]), handed[i].score, p.metadata)
            for i, p in zip(best, found, strict=True)
        ]
        return Ranking(hits, timing, query.cut)

    def _fetch(self, ids: Sequence[str], batch: Sequence[int], names: Sequence[str]) -> Mapping[str, Tensor]:
        dtype = next(self.model.parameters()).dtype
        readable = dtype if dtype == torch.bfloat16 else torch.float32
        return self.store.read([ids[i] for i in batch], names, readable).states
