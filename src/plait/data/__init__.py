"""Readers of documents, questions and pairs: files in, plain values out. Knows no model."""

from plait.data.corpus import bundled, read_documents
from plait.data.document import Document
from plait.data.pairs import read_pairs
from plait.data.squad import Question, read_squad

__all__ = ["Document", "Question", "bundled", "read_documents", "read_pairs", "read_squad"]
