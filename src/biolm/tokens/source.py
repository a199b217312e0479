"""What a token store is made of: a corpus of ours, or what others wrote (`foreign.py`), as batches of ids."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.reader import Corpus
from biolm.tokens.tokenizer import Tokenizer

BATCH_PASSAGES = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumns:
    """Which columns of somebody else's data hold what."""

    text: str | None = None
    """The passages; None: "text"."""
    document: str | None = None
    """What a passage's document is known by; None: each passage is a document of its own."""

    @property
    def text_or_default(self) -> str:
        """The text's column."""
        return self.text or "text"

    @property
    def wanted(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([self.text_or_default, *([self.document] if self.document else [])]))

    def as_options(self) -> str:
        """What asks for them on the command line, each after a space."""
        asked = {"--text-column": self.text, "--document-column": self.document}
        return "".join(f" {option} {shlex.quote(name)}" for option, name in asked.items() if name is not None)

    @property
    def named(self) -> bool:
        """Whether any was asked for."""
        return self.text is not None or self.document is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Some passages, in their order."""

    ids: NDArray[np.int64]
    """(tokens,): all passages end to end, without special tokens."""
    lengths: NDArray[np.int64]
    """(passages,): tokens of each."""
    sections: list[str]
    """(passages,): names out of `store.SECTIONS`."""
    documents: list[str] | None
    """(passages,): what each one's document is known by; None: each is a document of its own."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that gave no passage, by reason."""
    amount: float
    """How much of the source's `total` this was."""


class Source(Protocol):
    """Passages in splits, read once from beginning to end, with flat memory."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256; equal for equal passages in equal splits."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names among train, validation, test; one may turn out to hold no passage."""

    @property
    def total(self) -> float | None:
        """How much there is, in `unit`; None where that is not known before it is read."""

    @property
    def unit(self) -> str:
        """Of `total`: "passages" or "MB"."""

    def batches(self, split: str, tokenizer: Tokenizer) -> Iterator[Batch]:
        """The passages of a split. Raises BiolmError where they cannot be read."""

    def facts(
        self, splits: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """What the store's manifest says of its source: `corpus` in docs/formats.md.

        `splits`: for each with passages what was stored of it (`passages`, `documents`). No path of the machine.
        """


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """A corpus that biolm built."""

    corpus: Corpus

    @property
    def fingerprint(self) -> str:
        """The corpus's."""
        return self.corpus.fingerprint

    @property
    def splits(self) -> tuple[str, ...]:
        """The corpus's."""
        return self.corpus.splits

    @property
    def total(self) -> float:
        """Passages in all splits."""
        return self.corpus.passages

    @property
    def unit(self) -> str:
        """Passages."""
        return "passages"

    def batches(self, split: str, tokenizer: Tokenizer) -> Iterator[Batch]:
        """Texts in the order of the corpus. Raises ArtifactError for a damaged file."""
        columns = ("text", "section", "document")
        for batch in self.corpus.iter_batches(split, columns=columns, batch_rows=BATCH_PASSAGES):
            rows = batch.to_pydict()
            ids, lengths = flat(tokenizer.encode(rows["text"]))
            yield Batch(
                ids=ids,
                lengths=lengths,
                sections=rows["section"],
                documents=rows["document"],
                amount=len(lengths),
            )

    def facts(
        self, splits: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """What the corpus's manifest says."""
        parts = ("sources", "settings", "counts", "splits", "licences", "languages")
        return {"fingerprint": self.fingerprint, **{part: self.corpus.manifest[part] for part in parts}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What is known of data that biolm did not build: little, and no licence or language among it."""

    kind: str
    """"ids" (EMBO/biolang's layout) or "texts"."""
    name: str
    """Of the file, folder or Hub repository; no path."""
    fingerprint: str
    sources: list[dict[str, Any]]
    """For each file `split`, `name`, `bytes`, `sha256`; of the Hub `name`, `revision`, `config`."""
    settings: dict[str, Any]
    """How it was read."""

    def facts(
        self, splits: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """`Source.facts`."""
        kept = sum(stored["passages"] for stored in splits.values())
        return {
            "kind": self.kind,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "sources": self.sources,
            "settings": self.settings,
            "counts": {
                "rows_read": kept + sum(left_out.values()),
                "passages_kept": kept,
                "dropped": dict(sorted(left_out.items())),
            },
            "splits": {
                split: {count: stored[count] for count in ("passages", "documents")}
                for split, stored in splits.items()
            },
        }


def flat(encoded: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists of ids as (ids end to end, length of each)."""
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.fromiter(chain.from_iterable(encoded), np.int64, int(lengths.sum())), lengths
