"""A corpus's description as Croissant 1.0 (docs.mlcommons.org/croissant): what data sets are found and loaded by."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from biolm.corpus.writer import SCHEMA

CROISSANT = "croissant.json"
COLUMNS = {
    "text": "The passage: an abstract, or a figure's title and caption.",
    "section": "abstract, figure_legend or supplementary_legend.",
    "label": "The figure's label, which is not part of the text; empty for an abstract.",
    "title": "Title of the paper.",
    "document": "Identity of the paper, the same in all its passages.",
    "pmid": "PubMed's id of the paper, where known.",
    "pmcid": "PubMed Central's id of the paper, where known.",
    "doi": "DOI of the paper, where known.",
    "journal": "Where it appeared.",
    "year": "When it appeared.",
    "licence": "SPDX id of the paper's licence, or unknown.",
    "language": "Of the text, as the source states it.",
    "source": "File, and member of an archive, that the passage was read from.",
    "kind": "Type of an abstract beside the main one.",
    "article_type": "Type of the article, as the source states it.",
    "rights": "What a figure says of its own rights, which the paper's licence may not cover.",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(facts: Mapping[str, Any], files: Mapping[str, str], name: str) -> dict[str, Any]:
    """The description of a corpus from the facts of its manifest and the SHA-256 of its Parquet files, by name.

    One record set a split.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": (
            f"{facts['counts']['passages_kept']:,} abstracts and figure legends of life-science papers, each under "
            "the licence of its paper."
        ),
        "license": [_licence_address(licence) for licence in facts["licences"]],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "encodingFormat": "application/x-parquet",
                "sha256": sha256,
            }
            for file, sha256 in sorted(files.items())
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": file.removesuffix(".parquet"),
                "name": file.removesuffix(".parquet"),
                "description": f"Passages of the {file.partition('-')[0]} split.",
                "field": [_field(file, column) for column in SCHEMA],
            }
            for file in sorted(files)
        ],
    }


def _field(file: str, column: pa.Field) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{file.removesuffix('.parquet')}/{column.name}",
        "name": column.name,
        "description": COLUMNS[column.name],
        "dataType": "sc:Integer" if pa.types.is_integer(column.type) else "sc:Text",
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }


def _licence_address(licence: str) -> str:
    """The address of an SPDX licence; a word for what SPDX does not list."""
    listed = licence.startswith("CC") and licence[-1].isdigit()
    return f"https://spdx.org/licenses/{licence}.html" if listed else licence
