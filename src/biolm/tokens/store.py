"""The token store: one flat array of ids per split, memory-mapped, with an index.

Twelve million passages of 250 tokens are 6 GB of uint16 on disk and nothing in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.artifacts import read_manifest, sha256_json
from biolm.errors import ArtifactError
from biolm.tokens.tokenizer import Vocabulary

KIND = "token store"
VERSION = 3
READABLE = (1, 2, 3)
"""Format versions that are read; in 1 there are no supplementary legends, before 3 no texts of others."""
SECTIONS = ("abstract", "figure_legend", "supplementary_legend", "text")
"""A passage's section is stored as its place in this tuple; `text`: of others' data, whose sections are not known."""


@dataclass(frozen=True, slots=True)
class TokenSplit:
    """The passages of one split; all arrays are read-only maps of files."""

    name: str
    ids: NDArray[Any]
    """(tokens,) uint16 or uint32: all passages end to end, without special tokens."""
    offsets: NDArray[np.int64]
    """(passages + 1,): passage i is ids[offsets[i]:offsets[i + 1]]."""
    documents: NDArray[np.int32]
    """(passages,): index of the paper within the split."""
    sections: NDArray[np.uint8]
    """(passages,): index into SECTIONS."""
    document_count: int

    def __len__(self) -> int:
        """Number of passages."""
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True)
class TokenStore:
    """An opened store."""

    folder: Path
    manifest: Mapping[str, Any]
    vocabulary: Vocabulary

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold passages."""
        return tuple(self.manifest["splits"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contents; equal stores hold the same ids in the same order."""
        return sha256_json({name: facts["sha256"] for name, facts in self.manifest["files"].items()})

    @property
    def name(self) -> str:
        """What others' data are called, or the folder of a corpus's store."""
        return str(self.manifest["corpus"].get("name", self.folder))

    @property
    def remedy(self) -> str:
        """What to do about a split that is not there."""
        if "kind" in self.manifest["corpus"]:
            return "give data that has it, or ask for another split"
        return "build the corpus with another --split"

    def split(self, name: str) -> TokenSplit:
        """Map one split. Raises ArtifactError when the corpus has no such passages."""
        if name not in self.manifest["splits"]:
            raise ArtifactError(
                f"{self.name} has no passages in its {name} split (it has {', '.join(self.splits)}); {self.remedy}"
            )
        facts = self.manifest["splits"][name]
        passages, tokens = facts["passages"], facts["tokens"]
        return TokenSplit(
            name=name,
            ids=self._map(f"{name}.ids", self.manifest["dtype"], tokens),
            offsets=self._map(f"{name}.offsets", "int64", passages + 1),
            documents=self._map(f"{name}.documents", "int32", passages),
            sections=self._map(f"{name}.sections", "uint8", passages),
            document_count=facts["documents"],
        )

    def unigram_counts(self) -> NDArray[np.int64]:
        """(vocabulary,): how often each id occurs in the training split (in all where there is none)."""
        return np.array(self._map("unigram.counts", "int64", self.vocabulary.size))

    def _map(self, name: str, dtype: str, length: int) -> NDArray[Any]:
        if length == 0:
            return np.empty(0, np.dtype(dtype).newbyteorder("<"))
        return np.memmap(
            self.folder / name, dtype=np.dtype(dtype).newbyteorder("<"), mode="r", shape=(length,)
        )


def open_tokens(folder: Path) -> TokenStore:
    """Open a store. Raises ArtifactError where the folder holds no whole one."""
    manifest = read_manifest(
        folder, kind=KIND, version=READABLE, rebuild=f"biolm tokenize CORPUS --tokenizer NAME --out {folder}"
    )
    facts = manifest["vocabulary"]
    vocabulary = Vocabulary(
        size=facts["size"],
        prefix=tuple(facts["prefix"]),
        suffix=tuple(facts["suffix"]),
        mask_id=facts["mask_id"],
        special_ids=tuple(facts["special_ids"]),
        hash=facts["hash"],
    )
    return TokenStore(folder, manifest, vocabulary)
