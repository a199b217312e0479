"""What a fetch could not bring: counted by kind, and named in the store's report."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from biolm.artifacts import write_json
from biolm.papers.store import REPORT

MEANING = {
    "unknown": "asked for by id, and not listed",
    "gone": "listed, but not there any more",
    "damaged": "its bytes are not what the service says they are",
    "refused": "the service answers and will not give it",
    "bad metadata": "what the service says of it cannot be used",
    "unanswered": "no answer after all tries; the next run asks again",
}
NAMED = 5
"""How many are named in the summary."""


def in_words(counts: Counter[str]) -> str:
    """Counts on one line, for people."""
    return (
        ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count) or "nothing to do"
    )


@dataclass(slots=True)
class Report:
    """Problems of one run."""

    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, kind, and what happened."""
    marks: list[tuple[str, str]] = field(default_factory=list)
    """Papers that were held and are marked now: id, and "retracted" or "withdrawn: why"."""

    def add(self, name: str, kind: str, detail: str) -> None:
        """One more problem."""
        self.problems.append((name, kind, detail))

    @property
    def counts(self) -> Counter[str]:
        """By kind."""
        return Counter(kind for _, kind, _ in self.problems)

    def failed(self, name: str, error: Exception) -> None:
        """One more problem, of what a client raised: Gone, Refused, Damaged or Unanswered."""
        kind = type(error).__name__.lower()
        self.add(name, kind, MEANING["gone"] if kind == "gone" else str(error))

    def lines(self) -> list[str]:
        """A line for each kind, naming the first few."""
        found = []
        for kind, count in self.counts.most_common():
            names = [name for name, what, _ in self.problems if what == kind]
            more = f" and {count - NAMED:,} more" if count > NAMED else ""
            found.append(f"{count:,} {kind} ({MEANING[kind]}): {', '.join(names[:NAMED])}{more}")
        return found

    def write(self, folder: Path, again: Counter[str]) -> None:
        """Keep the report in a store; `again`: tries that had to be repeated, by reason."""
        rows = [
            {"id": name, "problem": kind, "detail": detail} for name, kind, detail in sorted(self.problems)
        ]
        marks = [{"id": name, "mark": mark} for name, mark in sorted(self.marks)]
        said = {"counts": dict(self.counts), "repeated": dict(again), "problems": rows, "marks": marks}
        write_json(folder / REPORT, said)
