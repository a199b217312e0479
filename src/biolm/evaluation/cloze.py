"""Cloze probes: does a model fill the blanks of a prompt with the answer, of however many pieces?

A blank of n pieces is n masks. They are filled from left to right, each given those before it, by a beam search: filled
independently of each other, as fill-mask does, the pieces of different words are mixed. What the search finds for
one and for several pieces is ranked together by mean log-probability a piece, since a sum prefers one piece always
(Jiang et al. 2020, X-FACTR, §4). With a beam as wide as the vocabulary the search is exhaustive.
"""

import csv
import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batches.bootstrap import document_weights
from biolm.errors import InputError
from biolm.evaluation.tally import with_interval
from biolm.model.device import resolve_row_tokens
from biolm.model.families import token_limit
from biolm.model.masked_lm import AskedRow, packed_logits
from biolm.tokens.tokenizer import Tokenizer

BLANK = "<mask>"
"""A blank in a prompt, whatever the model's own mask token is called."""
ACCURACIES = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt and what should be in it."""

    prompt: str
    answers: tuple[tuple[str, ...], ...]
    """For each blank, the answers that are right."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What could be in the blanks."""

    texts: tuple[str, ...]
    """For each blank."""
    log_probability: float
    """Of all pieces, each given those before it; nats."""
    pieces: int

    @property
    def score(self) -> float:
        """By which fillings are ranked."""
        return self.log_probability / self.pieces


@dataclass(frozen=True, slots=True)
class Answered:
    """A probe and what the model says to it."""

    probe: Probe
    fillings: list[Filling]
    """Best first, each text once."""
    rank: int | None
    """Place of the first right one, from 1; None where the search did not find any."""


def read_probes(path: Path) -> list[Probe]:
    """A TSV with the columns `prompt` and `answer` (for more blanks `answer2`, ...), several answers divided by |.

    Raises InputError for a file that is none, and for a row whose blanks and answers do not agree.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = [name for name in reader.fieldnames or [] if name and name.startswith("answer")]
            if "prompt" not in (reader.fieldnames or []) or not names:
                raise InputError(
                    f"{path} has no columns prompt and answer; its first line must name its columns"
                )
            probes = [_probe(row, names, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as tab-separated text: {error}") from None
    if not probes:
        raise InputError(f"{path} has no probe; give a line for each below the names of the columns")
    return probes


def answer(
    model: Any,
    tokenizer: Tokenizer,
    probe: Probe,
    *,
    max_pieces: int = 3,
    beam: int = 20,
    max_row_tokens: int | None = None,
) -> Answered:
    """Search the blanks of one probe. `max_pieces`: of each blank at most; `beam`: fillings kept at each piece.

    Raises InputError for a prompt longer than the model takes.
    """
    model.eval()
    budget = resolve_row_tokens(max_row_tokens, model.device)
    found: dict[tuple[str, ...], Filling] = {}
    for sizes in itertools.product(range(1, max_pieces + 1), repeat=probe.prompt.count(BLANK)):
        for filling in _search(model, tokenizer, probe.prompt, sizes, beam, budget):
            known = found.get(filling.texts)
            if known is None or filling.score > known.score:
                found[filling.texts] = filling
    ranked = sorted(found.values(), key=lambda filling: (-filling.score, filling.texts))
    wanted = [{_as_decoded(tokenizer, text) for text in texts} for texts in probe.answers]
    rank = next(
        (
            place
            for place, filling in enumerate(ranked, start=1)
            if all(text in texts for text, texts in zip(filling.texts, wanted, strict=True))
        ),
        None,
    )
    return Answered(probe, ranked, rank)


def accuracies(answered: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """`accuracy_at_1`, `_5`, `_10` and `mean_reciprocal_rank`, with 95 % intervals over probes."""
    ranks = np.array([np.inf if each.rank is None else each.rank for each in answered])
    weights = np.array([document_weights(place, seed=0) for place in range(len(ranks))], np.float64)
    values = {f"accuracy_at_{k}": (ranks <= k).astype(np.float64) for k in ACCURACIES}
    values["mean_reciprocal_rank"] = 1 / ranks
    with np.errstate(invalid="ignore"):
        return {
            name: with_interval(float(value.mean()), value @ weights / weights.sum(0))
            for name, value in values.items()
        }


@torch.inference_mode()
def _search(
    model: Any, tokenizer: Tokenizer, prompt: str, sizes: Sequence[int], beam: int, max_row_tokens: int
) -> list[Filling]:
    vocabulary = tokenizer.vocabulary
    parts = prompt.split(BLANK)
    mask = tokenizer.stock.mask_token
    text = parts[0] + "".join(mask * size + part for size, part in zip(sizes, parts[1:], strict=True))
    ids = np.array(tokenizer.encode_with_mask(text), np.int64)
    limit = token_limit(model.config)
    if len(ids) > limit:
        raise InputError(f'"{prompt[:60]}" is {len(ids)} tokens long, the model takes {limit}; shorten it')
    places = np.flatnonzero(ids == vocabulary.mask_id)
    if len(places) != sum(sizes):
        raise InputError(
            f'"{prompt[:60]}" spells {mask}, which is this model\'s mask; write blanks as {BLANK} alone'
        )
    first = {int(place) for place in places[np.cumsum(sizes) - sizes]}
    beams, scores = ids[None], np.zeros(1)
    for place in places:
        logits = _logits(model, beams, int(place), max_row_tokens)
        log_probabilities = logits.double().log_softmax(-1)
        usable = torch.as_tensor(
            _usable(tokenizer, log_probabilities.shape[1], begins=int(place) in first), device=model.device
        )
        log_probabilities[:, ~usable] = -torch.inf
        width = min(beam, int(usable.sum()))
        values, tokens = (each.cpu().numpy() for each in log_probabilities.topk(width))
        totals = (scores[:, None] + values).ravel()
        best = np.argsort(-totals, kind="stable")[:beam]
        beams = beams[best // width].copy()
        beams[:, place] = tokens.ravel()[best]
        scores = totals[best]
    ends = np.cumsum(sizes)
    blanks = [places[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [
        Filling(
            tuple(tokenizer.stock.decode(row[blank]).strip() for blank in blanks), float(score), len(places)
        )
        for row, score in zip(beams, scores, strict=True)
    ]


@functools.lru_cache(maxsize=4)
def _usable(tokenizer: Tokenizer, size: int, *, begins: bool) -> NDArray[np.bool_]:
    """(size,) the ids that may fill a blank: no special ones and, where it `begins`, none that goes on with a word."""
    vocabulary = tokenizer.vocabulary
    usable = np.arange(size) < vocabulary.size
    usable[list(vocabulary.special_ids)] = False
    if begins:
        pieces = tokenizer.pieces(range(vocabulary.size))
        usable[: vocabulary.size] &= [not (piece or "").startswith("##") for piece in pieces]
    return usable


def _logits(model: Any, beams: NDArray[np.int64], place: int, max_row_tokens: int) -> torch.Tensor:
    """(beams, vocabulary) at one place of each of (beams, tokens)."""
    length = beams.shape[1]
    at_once = max(1, max_row_tokens // length)
    found = []
    for first in range(0, len(beams), at_once):
        part = beams[first : first + at_once]
        row = AskedRow(part.ravel(), np.full(len(part), length), place + length * np.arange(len(part)))
        found.append(packed_logits(model, row))
    return torch.cat(found)


def _as_decoded(tokenizer: Tokenizer, text: str) -> str:
    """As the tokenizer gives a text back: without capitals where it has none."""
    (ids,) = tokenizer.encode([f" {text}"])
    decoded: str = tokenizer.stock.decode(ids)
    return decoded.strip()


def _probe(row: dict[str, Any], names: Iterable[str], where: str) -> Probe:
    prompt = row["prompt"] or ""
    given = [row[name] for name in names if row[name]]
    blanks = prompt.count(BLANK)
    if not blanks:
        raise InputError(f"{where}: the prompt has no blank; write {BLANK} where the answer belongs")
    if blanks != len(given):
        raise InputError(
            f"{where}: {blanks} blanks and {len(given)} answers; give answer, answer2, ... one for each"
        )
    return Probe(
        prompt, tuple(tuple(part.strip() for part in text.split("|") if part.strip()) for text in given)
    )
