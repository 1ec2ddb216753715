"""A text that was computed once and is asked many questions, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from plait import passages
from plait.errors import PlaitError, require_least
from plait.parts import as_stored
from plait.scoring import Timing, encode_query, score, spans, two_roles
from plait.spans import SpanFound

if TYPE_CHECKING:
    from plait.model import Plait


@dataclass(frozen=True)
class KnownAnswer:
    """An answer in a known text.

    Attributes:
        answer: its words, characters [start, end) of the text; empty if the model says that the text has no answer.
        sentence: the sentence around it, characters [sentence_start, sentence_start + len(sentence)).
        score: of the span, and of its passage where the text has several and the model ranks.
        timing: where the time went.
    """

    answer: str
    start: int
    end: int
    sentence: str
    sentence_start: int
    score: float
    timing: Timing


class Known:
    """Made by `Plait.read`."""

    def __init__(
        self, model: Plait, text: str, *, passage_tokens: int = 384, overlap: int = 64, codec: str = ""
    ) -> None:
        if not isinstance(text, str):
            raise PlaitError(f"a text to be read must be a str, but is {text!r:.60}; read one text at a time")
        self.model, self.text = model, text
        _, role = two_roles(model)
        room = model.text.room(role)
        passages.split("", model.tokenizer, passage_tokens, overlap)  # refuses what cannot be
        passages.require_readable(passage_tokens, room)
        room = min(passage_tokens, room)
        self.passages = list(passages.split(text, model.tokenizer, room, min(overlap, room // 2)))
        if not self.passages:
            raise PlaitError(
                "a text to be read must have a character that makes a token, but has none; pass another text"
            )
        encoded = model.encode(role, [p.text for p in self.passages])
        self._encoded = [as_stored(one, codec) for one in encoded] if codec else encoded

    @property
    def tokens(self) -> int:
        """Tokens held, special tokens and overlaps included."""
        return sum(len(e.offsets) for e in self._encoded)

    def ask(self, question: str, *, read: int = 3) -> KnownAnswer:
        """The best span of the text for a question.

        Args:
            question: a text that is not blank.
            read: passages that the span head reads, the best by the score head; all if the model does not rank.
        """
        require_least("read", read, "3 is the default")
        timing = Timing()
        chosen, bonus = list(range(len(self.passages))), [0.0] * len(self.passages)
        with torch.inference_mode():
            with timing.stage("query"):
                query = encode_query(self.model, question)
            if len(chosen) > 1 and "score" in self.model.plans and self.model.config.num_labels == 1:
                lengths = [len(e.offsets) for e in self._encoded]
                logits = score(self.model, query, lengths, self._fetch, timing)[:, 0]
                chosen = logits.argsort()[::-1][:read].tolist()
                bonus = logits.tolist()
            texts = [(self.passages[i].text, self._encoded[i].offsets) for i in chosen]
            found = spans(self.model, query, texts, lambda b, names: self._fetch([chosen[i] for i in b], names), timing)
        answers = [i for i, span in enumerate(found) if span.score > 0 or not self.model.no_answer]
        if not answers:
            return KnownAnswer("", 0, 0, "", 0, max(span.score for span in found), timing)
        best = max(answers, key=lambda i: found[i].score + bonus[chosen[i]])
        return self._answer(found[best], self.passages[chosen[best]].start, bonus[chosen[best]], timing)

    def _fetch(self, batch: Sequence[int], names: Sequence[str]) -> Mapping[str, Tensor]:
        return {name: torch.cat([self._encoded[i].states[name] for i in batch]) for name in names}

    def _answer(self, span: SpanFound, offset: int, bonus: float, timing: Timing) -> KnownAnswer:
        start, end = span.start + offset, span.end + offset
        first, last = passages.sentence(self.text, start, end)
        return KnownAnswer(span.text, start, end, self.text[first:last], first, span.score + bonus, timing)
