"""What requests say. What the library checks itself is handed on as it is, so that one rule has one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_validator

from plait.errors import PlaitError, require_least
from plait.store import Store

_Count = Annotated[Any, WithJsonSchema({"type": "integer", "minimum": 1})]
_Candidates = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": "number"}},
            ]
        }
    ),
]
_FirstStage = Annotated[Any, WithJsonSchema({"enum": ["auto", "bm25", "vector", "all"]})]
_Weight = Annotated[Any, WithJsonSchema({"type": "number", "minimum": 0})]
_Texts = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "string"}})]
_Documents = Annotated[
    list[Any],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"text": {"type": "string"}}}]},
        }
    ),
]


_EXAMPLE: dict[str, Any] = {
    "query": "capital of Poland",
    "documents": ["Warsaw is the capital of Poland.", "Normandy is a region of France."],
}


class _Search(BaseModel):
    model_config = ConfigDict(extra="forbid")
    candidates: _Candidates = None
    first_stage: _FirstStage = "auto"
    first_stage_weight: _Weight = 0.0

    def wanted(self, store: Store) -> int:
        """How many of its passages are to be ranked, read or given back.

        0 stands for as many as usual, and for what the library will refuse.
        """
        passages, asked = len(store), self.candidates
        if asked is None:
            said = [getattr(self, name) for name in ("top_k", "read") if name in self.model_fields_set]
            asked = max((number for number in said if isinstance(number, int)), default=0)
            asked = passages if self.first_stage == "all" else asked
        elif isinstance(asked, list | dict):
            asked = sum(map(len, store.passages_of([id for id in asked if isinstance(id, str)]).values()))
        return min(asked, passages) if isinstance(asked, int) else 0


class Rank(_Search):
    """See `Index.rank`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "capital of Poland", "top_k": 3}]})
    query: str
    top_k: _Count = 10


class Ask(_Search):
    """See `Index.ask`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"question": "What is the capital of Poland?"}]})
    question: str
    top_k: _Count = 1
    read: _Count = 3


class Rerank(BaseModel):
    """As Text Embeddings Inference takes it, with `texts`, or as Cohere, Jina and those who follow them do, with
    `documents`. What other servers heed and this one does not is named in a note.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})
    query: str
    texts: _Texts | None = None
    documents: _Documents | None = None
    top_n: _Count = None
    return_text: bool = False
    return_documents: bool = False
    raw_scores: bool = False
    truncate: bool = True
    truncation_direction: str = "right"
    model: str = ""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Clients send null for what they leave out."""
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given

    def passages(self) -> list[str]:
        """What is to be ranked; PlaitError where that is not said, or is no text."""
        if (self.texts is None) == (self.documents is None):
            both = "neither" if self.texts is None else "both"
            raise PlaitError(f"a request must have either texts or documents, but has {both}; give one list of texts")
        given = self.texts if self.documents is None else self.documents
        found = list[str]()
        for number, one in enumerate(given or []):
            text = one.get("text") if isinstance(one, dict) and self.documents is not None else one
            if not isinstance(text, str):
                said = "texts" if self.documents is None else "texts, or objects with a text"
                raise PlaitError(f"what is ranked must be {said}, but number {number} is {one!r:.60}; mend it")
            found.append(text)
        if self.top_n is not None:
            require_least("top_n", self.top_n, "leave it out for all")
        return found

    def answer(self, served: str, passages: Sequence[str], scores: Sequence[tuple[int, float]]) -> Any:
        """What is given back of scores by number, best first, by a server of the model `served`."""
        if self.documents is None:
            text = [{"text": passages[i]} if self.return_text else {} for i, _ in scores]
            return [{"index": i, "score": score, **more} for (i, score), more in zip(scores, text, strict=True)]
        texts = [{"document": {"text": passages[i]}} if self.return_documents else {} for i, _ in scores]
        results = [{"index": i, "relevance_score": s, **more} for (i, s), more in zip(scores, texts, strict=True)]
        return {"model": served, "results": results}

    def unheeded(self, served: str) -> list[str]:
        """Notes of a server of the model `served`."""
        keys = sorted(self.model_extra or {})
        keys += [] if self.truncate else ["truncate=false"]
        keys += [] if self.truncation_direction.lower() == "right" else ["truncation_direction"]
        keys += [] if self.model in ("", served) else ["model"]
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        return [f"not heeded: {', '.join(keys[:3])}{more}"] if keys else []
