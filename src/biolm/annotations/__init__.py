"""Annotated texts in every layout that corpora come in, read into and written from `biolm.mentions.Document`."""

from biolm.annotations.read import FORMS, AnnotatedData, DocumentStream, iter_documents, read_documents
from biolm.annotations.write import WRITTEN_FORMS, write_documents

__all__ = [
    "FORMS",
    "WRITTEN_FORMS",
    "AnnotatedData",
    "DocumentStream",
    "iter_documents",
    "read_documents",
    "write_documents",
]
