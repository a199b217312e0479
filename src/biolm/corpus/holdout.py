"""Papers that must not enter a corpus, since something is to be measured on them."""

import re
from importlib.resources import files
from pathlib import Path

from biolm.errors import InputError
from biolm.sources.ids import plain_doi, plain_pmcid, plain_pmid

NER_PAPERS = "@ner"
"""The word for the shipped list of papers of named-entity benchmarks."""


_SEVERAL = re.compile(r"\s|[,;|]\s*(?:doi:\s*)?10\.\d{4}", re.IGNORECASE)
"""More than one id."""
_REMARK = re.compile(r"(?:^|\s)#")
"""A DOI may hold a #."""


def read_held_out(path: Path, option: str = "--hold-out") -> tuple[str, ...]:
    """The ids of a text file, one a line, as "pmid:1", "pmcid:PMC1" or "doi:10.1/x", sorted.

    A number is a PMID; what follows a # is a remark. `@ner` is the shipped list. Raises InputError for a line
    that is no id; `option` is what to call the file.
    """
    try:
        if str(path).lower() == NER_PAPERS:
            lines = files("biolm.corpus").joinpath("ner_papers.txt").read_text("utf-8").splitlines()
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{option} {path} cannot be read: {error}; give a text file of ids, or {NER_PAPERS}"
        ) from None
    found = set()
    for number, line in enumerate(lines, 1):
        word = _REMARK.split(line)[0].strip()
        if word:
            found.add(_named(word, f"{path}, line {number}"))
    if not found:
        raise InputError(f"{option} {path} names no paper; give PMIDs, PMCIDs or DOIs, one a line")
    return tuple(sorted(found))


def _named(word: str, where: str) -> str:
    kind, _, value = word.rpartition(":") if word.lower().startswith(("pmid:", "pmcid:")) else ("", "", word)
    if kind.lower() in ("", "pmid") and (pmid := plain_pmid(value)):
        return f"pmid:{pmid}"
    if value.upper().startswith("PMC") and (pmcid := plain_pmcid(value)):
        return f"pmcid:{pmcid}"
    if not _SEVERAL.search(word) and (doi := plain_doi(word.rstrip(".,;"))):
        return f"doi:{doi}"
    shown = word if len(word) <= 60 else f"{word[:60]}…"
    raise InputError(f"{where}: {shown!r} is no PMID, PMCID or DOI; give one id a line")
