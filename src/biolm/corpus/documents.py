"""Which paper an article is: its PMID, PMCID and DOI joined while streaming."""

from array import array

from biolm.corpus.hashes import HashTable, hash64
from biolm.records import Article


class Documents:
    """The papers seen so far, numbered in the order of their first article.

    The first article with any of a paper's ids names the paper: "pmcid:PMC1", else "doi:10.1/x", else
    "pmid:1", else "sha256:..." of its record. Later articles that share any id are the same paper, and
    the ids that they add belong to it too.

    Limit: an article that joins two papers which have their names already gets one of them (PMCID before
    DOI before PMID) and the other keeps its own; a join in two passes comes with deduplication.
    Memory: about 120 bytes a paper with three ids.
    """

    def __init__(self) -> None:
        self._number_of = HashTable()
        self._names = bytearray()
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def number_of(self, article: Article) -> int:
        """The number of the article's paper, a new one when none of its ids was seen before."""
        names = identities(article)
        keys = [hash64(name) for name in names]
        known = (number for key in keys if (number := self._number_of.get(key)) is not None)
        number = next(known, None)
        if number is None:
            number = len(self._ends)
            self._names += names[0].encode()
            self._ends.append(len(self._names))
        for key in keys:
            self._number_of.add(key, number)
        return number

    def name(self, number: int) -> str:
        """The identity of a paper."""
        start = self._ends[number - 1] if number else 0
        return self._names[start : self._ends[number]].decode()


def identities(article: Article) -> list[str]:
    """An article's ids, the one that names its paper first; never empty."""
    ids = [
        f"{kind}:{value}"
        for kind, value in (("pmcid", article.pmcid), ("doi", article.doi), ("pmid", article.pmid))
        if value
    ]
    return ids or [f"sha256:{article.content_hash}"]
