"""What requests say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from plait.first_stage import FirstStage


class _Search(BaseModel):
    model_config = ConfigDict(extra="forbid")
    candidates: int | list[str] | dict[str, float] | None = None
    first_stage: FirstStage = "auto"
    first_stage_weight: float = 0.0


class Rank(_Search):
    """See `Index.rank`."""

    query: str
    top_k: int | None = 10


class Ask(_Search):
    """See `Index.ask`."""

    question: str
    top_k: int = 1
    read: int = 3


class _Foreign(BaseModel):
    """A body that other servers take too; what these heed and this one does not is named in a note."""

    model_config = ConfigDict(extra="allow")
    query: str

    def unheeded(self) -> list[str]:
        """Notes."""
        return [f"{key} is not heeded" for key in self.model_extra or {}]


class RerankTexts(_Foreign):
    """As Text Embeddings Inference takes it. Texts that are too long are cut, with a note."""

    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = True
    truncation_direction: Literal["Right", "right"] = "Right"


class TextOf(BaseModel):
    """A document that is an object."""

    model_config = ConfigDict(extra="allow")
    text: str


class RerankDocuments(_Foreign):
    """As Cohere and Jina take it, and those that follow them."""

    documents: list[str | TextOf]
    model: str = ""
    top_n: int | None = None
    return_documents: bool = False

    def texts(self) -> list[str]:
        """The documents as texts."""
        return [document if isinstance(document, str) else document.text for document in self.documents]

    def document(self, number: int) -> Any:
        """One of them as it is given back."""
        return {"text": self.texts()[number]}
