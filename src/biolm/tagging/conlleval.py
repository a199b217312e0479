"""The counts and the table of conlleval (E. F. Tjong Kim Sang, version 2004-01-26), for numbers beside a paper's."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from biolm.chunks import chunks_of, parse_tag
from biolm.errors import InputError
from biolm.tagging.scores import Counts


@dataclass(frozen=True, slots=True)
class ConllCounts:
    """Chunks by type, and words."""

    types: dict[str, Counts]
    """By name."""
    words: int
    words_right: int
    """Whose tag is the same in both, prefix and type."""

    @property
    def overall(self) -> Counts:
        """Chunks of all types."""
        counts = self.types.values()
        return Counts(
            sum(each.gold for each in counts),
            sum(each.predicted for each in counts),
            sum(each.correct for each in counts),
        )


def conlleval_counts(
    gold_tags: Iterable[Sequence[str]], predicted_tags: Iterable[Sequence[str]]
) -> ConllCounts:
    """Chunks and words of sentences' tags, each sentence a sequence of "O", "B-Gene", ...; ill-formed ones as well.

    A chunk is correct where first word, last word and type are the same. Raises InputError where the two do not have
    as many sentences, or a sentence not as many tags.
    """
    gold_rows, predicted_rows = list(gold_tags), list(predicted_tags)
    if len(gold_rows) != len(predicted_rows):
        raise InputError(
            f"gold has {len(gold_rows):,} sentences, the prediction {len(predicted_rows):,}; predict each sentence"
        )
    gold, predicted, correct = Counter[str](), Counter[str](), Counter[str]()
    words = words_right = 0
    for number, (gold_row, predicted_row) in enumerate(zip(gold_rows, predicted_rows, strict=True), start=1):
        if len(gold_row) != len(predicted_row):
            raise InputError(
                f"sentence {number:,} has {len(gold_row):,} gold tags and {len(predicted_row):,} predicted ones; "
                "predict one for each word"
            )
        in_gold, found = set(chunks_of(gold_row)), set(chunks_of(predicted_row))
        gold.update(type_ for *_, type_ in in_gold)
        predicted.update(type_ for *_, type_ in found)
        correct.update(type_ for *_, type_ in in_gold & found)
        words += len(gold_row)
        words_right += sum(
            parse_tag(first) == parse_tag(second)
            for first, second in zip(gold_row, predicted_row, strict=True)
        )
    types = {
        type_: Counts(gold[type_], predicted[type_], correct[type_]) for type_ in sorted(gold | predicted)
    }
    return ConllCounts(types, words, words_right)


def format_conlleval(counts: ConllCounts) -> str:
    """The lines that the script prints, without a newline at the end; 0.00 where there is nothing to divide by."""
    overall = counts.overall
    lines = [
        f"processed {counts.words} tokens with {overall.gold} phrases; "
        f"found: {overall.predicted} phrases; correct: {overall.correct}."
    ]
    if counts.words:
        accuracy = 100 * counts.words_right / counts.words
        lines.append(f"accuracy: {accuracy:6.2f}%; {_percentages(overall)}")
    lines += [f"{type_:>17}: {_percentages(each)}  {each.predicted}" for type_, each in counts.types.items()]
    return "\n".join(lines)


def _percentages(counts: Counts) -> str:
    precision = 100 * counts.correct / counts.predicted if counts.predicted else 0.0
    recall = 100 * counts.correct / counts.gold if counts.gold else 0.0
    # In the script's order of operations, so that both round the same way.
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return f"precision: {precision:6.2f}%; recall: {recall:6.2f}%; FB1: {f1:6.2f}"
