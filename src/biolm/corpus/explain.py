"""What happened to one paper: each of its passages, kept or dropped, and its records that gave none."""

from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.corpus.places import below, spelled
from biolm.corpus.reader import DROPPED, Corpus
from biolm.corpus.reasons import MEANING
from biolm.errors import ArtifactError, InputError
from biolm.sources.ids import plain_doi, plain_pmcid, plain_pmid


def explain(corpus: Corpus, paper: str) -> Iterator[dict[str, Any]]:
    """One row for each passage of the paper: `outcome` ("kept" or a reason), `meaning`, `split`, `section`, ...

    `paper` is a PMID, PMCID or DOI. Raises InputError where it is none, or the corpus knows no such paper, and
    ArtifactError for a corpus of format 1, which does not say what it dropped.
    """
    column, value = _asked(paper)
    if DROPPED not in corpus.manifest["files"]:
        raise ArtifactError(
            f"{spelled(corpus.folder)} does not say what it dropped; build it again with this biolm"
        )
    found = False
    shown = ["document", "section", "label", "source", "pmid", "pmcid", "doi"]
    for split in corpus.splits:
        for batch in corpus.iter_batches(split, [*shown, "text", "licence"]):
            for row in batch.filter(pc.equal(batch[column], value)).to_pylist():
                found = True
                yield {**row, "outcome": "kept", "meaning": "in the corpus", "split": split}
    with corpus.opened(below(corpus.folder, DROPPED)) as source:
        dropped = pq.read_table(source, filters=[(column, "=", value)])
    for row in dropped.to_pylist():
        found = True
        reason = row.pop("reason")
        if row["section"] is None and reason == "no_text":
            meaning = "the record has neither abstract nor figure legend"
        else:
            meaning = MEANING[reason]
        yield {**row, "outcome": reason, "meaning": meaning, "split": None}
    if not found:
        hint = f"; PMC{value} is another id" if column == "pmid" else ""
        raise InputError(
            f"no paper that {spelled(corpus.folder)} was built from has the {column.upper()} {value}{hint}; "
            "what could not be read is in report.json"
        )


def _asked(paper: str) -> tuple[str, str]:
    word = paper.strip()
    if word.upper().startswith("PMC") and (pmcid := plain_pmcid(word)):
        return "pmcid", pmcid
    if pmid := plain_pmid(word.lower().removeprefix("pmid:")):
        return "pmid", pmid
    if doi := plain_doi(word):
        return "doi", doi
    raise InputError(f"{paper!r} is no PMID, PMCID or DOI; give for example PMC3166277")
