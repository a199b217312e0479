"""What `biolm tag` shows on a terminal: texts with their mentions coloured."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from biolm.mentions import Document

COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
)


def print_documents(documents: Iterable["Document"]) -> None:
    """Each document with its mentions marked, and behind all of them which colour is which type."""
    from biolm.cli.tables import wide_console

    console = wide_console()
    colours: dict[str, str] = {}
    for document in documents:
        console.print(coloured(document, colours))
    if colours:
        from rich.text import Text

        legend = Text()
        for kind, colour in colours.items():
            legend.append(f" {kind} ", style=f"reverse {colour}").append(" ")
        console.print(legend)


def coloured(document: "Document", colours: dict[str, str]) -> "Text":
    """A text with its mentions marked, and role or type behind each; `colours` of types go on from call to call."""
    from rich.text import Text

    from biolm.tagging.chain import ROLE
    from biolm.tagging.tasks import PANEL

    text, at = Text(), 0
    panels = {each.start for each in document.mentions if each.type == PANEL}
    for mention in document.mentions:
        if mention.type == PANEL or mention.start < at:
            continue
        _plain(text, document.text, at, mention.start, panels)
        if mention.start in panels:
            text.append("▌", style="bold")
        colour = colours.setdefault(mention.type, COLOURS[len(colours) % len(COLOURS)])
        text.append(_printable(document.surface(mention)), style=f"bold {colour}")
        role = mention.attributes.get(ROLE)
        text.append(f"[{mention.type}{':' + role if role else ''}]", style=f"dim {colour}")
        at = mention.end
    _plain(text, document.text, at, len(document.text), panels)
    return text


def _plain(text: "Text", whole: str, start: int, end: int, panels: set[int]) -> None:
    """Words outside mentions, with a bar where a panel begins."""
    for panel in sorted(place for place in panels if start <= place < end):
        text.append(_printable(whole[start:panel])).append("▌", style="bold")
        start = panel
    text.append(_printable(whole[start:end]))


def _printable(text: str) -> str:
    """A text without what could move a terminal's cursor or change its title."""
    import unicodedata

    return "".join(
        "�" if unicodedata.category(letter) == "Cc" and letter not in "\n\t" else letter for letter in text
    )
