"""Readers of documents, questions, pairs, labelled examples and test collections: files in, plain values out.

Knows no model.
"""

from plait.data.collection import Collection, is_beir, is_itself, read_collection, read_corpus, read_queries
from plait.data.corpus import bundled, located, read_documents
from plait.data.document import Document
from plait.data.example import Example, read_examples
from plait.data.pairs import read_pairs
from plait.data.squad import Question, read_squad
from plait.data.trec import check_run, read_qrels, read_run, write_run

__all__ = [
    "Collection",
    "Document",
    "Example",
    "Question",
    "bundled",
    "check_run",
    "is_beir",
    "is_itself",
    "located",
    "read_collection",
    "read_corpus",
    "read_documents",
    "read_examples",
    "read_pairs",
    "read_qrels",
    "read_queries",
    "read_run",
    "read_squad",
    "write_run",
]
