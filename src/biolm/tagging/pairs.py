"""Gold documents beside their predictions: the same ids, the same texts, each mention once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from biolm.errors import InputError
from biolm.mentions import Document, Mention, in_order

Key = tuple[int, int, str]
"""(start, end, type): what makes two mentions of a text the same."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold document and the prediction of it, each mention once: by its key, the first of its kind."""

    gold: Document
    predicted: Document
    gold_mentions: dict[Key, Mention]
    predicted_mentions: dict[Key, Mention]

    @property
    def repeated(self) -> tuple[int, int]:
        """Mentions left out, in gold and in the prediction, because the same stood before."""
        return (
            len(self.gold.mentions) - len(self.gold_mentions),
            len(self.predicted.mentions) - len(self.predicted_mentions),
        )


def paired(gold: Iterable[Document], predicted: Iterable[Document]) -> list[Pair]:
    """Each gold document with the predicted one of its id, in gold's order.

    A mention that stands twice in one document, with the same start, end and type, is one mention. Raises InputError
    where an id is there twice or on one side only, where texts differ, or where a mention is not in its text.
    """
    golden, found = _by_id(gold, "gold"), _by_id(predicted, "predicted")
    _check_ids(list(golden), list(found))
    pairs = []
    for id_, document in golden.items():
        prediction = found[id_]
        if document.text != prediction.text:
            raise InputError(f"document {id_}: {_first_difference(document.text, prediction.text)}")
        pairs.append(Pair(document, prediction, _by_key(document, "gold"), _by_key(prediction, "predicted")))
    return pairs


def key_of(mention: Mention) -> Key:
    """(start, end, type) of a mention."""
    return mention.start, mention.end, mention.type


def overlap(first: Mention, second: Mention) -> int:
    """Characters that two mentions of a text share."""
    return max(0, min(first.end, second.end) - max(first.start, second.start))


def _by_id(documents: Iterable[Document], side: str) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for document in documents:
        if document.id in found:
            raise InputError(f"two {side} documents have the id {document.id}; give each its own")
        found[document.id] = document
    return found


def _check_ids(gold: Sequence[str], predicted: Sequence[str]) -> None:
    missing = sorted(set(gold) - set(predicted))
    surplus = sorted(set(predicted) - set(gold))
    complaints = []
    if missing:
        complaints.append(f"{len(missing):,} gold documents have no prediction: {_some(missing)}")
    if surplus:
        complaints.append(f"{len(surplus):,} predicted documents are not in gold: {_some(surplus)}")
    if complaints:
        raise InputError("; ".join(complaints) + "; predict exactly the gold documents, and keep their ids")


def _some(ids: Sequence[str], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (", ..." if len(ids) > most else "")


def _first_difference(gold: str, predicted: str) -> str:
    """Where two texts part, in words."""
    both = min(len(gold), len(predicted))
    place = next((place for place in range(both) if gold[place] != predicted[place]), both)

    def from_there(text: str) -> str:
        return repr(text[place : place + 20]) if place < len(text) else "its end"

    return (
        f"the texts differ from character {place:,} on, gold has {from_there(gold)}, the prediction "
        f"{from_there(predicted)}; predict on the gold text as it is"
    )


def _by_key(document: Document, side: str) -> dict[Key, Mention]:
    found: dict[Key, Mention] = {}
    for mention in in_order(list(document.mentions)):
        if not 0 <= mention.start < mention.end <= len(document.text):
            raise InputError(
                f"document {document.id}: the {side} mention {mention.start}-{mention.end} ({mention.type}) is empty "
                f"or outside the text of {len(document.text):,} characters"
            )
        found.setdefault(key_of(mention), mention)
    return found
