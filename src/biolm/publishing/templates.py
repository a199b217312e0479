"""How cards and reports are made from templates."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import escape


def environment() -> Environment:
    """The templates of this folder; HTML is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=select_autoescape(["html.jinja"]),
    )
    made.filters["number"] = lambda value: f"{value:,}"
    made.filters["estimate"] = estimate
    made.filters["signed"] = _signed
    made.filters["points"] = lambda share: "–" if share is None else f"{100 * share:.2f}"
    made.filters["setting"] = lambda value: "none" if value is None else value
    made.filters["heading"] = lambda text: str(escape(str(text).replace("\n", " ")))
    made.filters["cell"] = lambda text: str(escape(str(text).replace("\n", " "))).replace("|", "\\|")
    return made


def estimate(value: dict[str, float | None] | None) -> str:
    """A value with its interval; a dash where there is none."""
    if not value or value["value"] is None or value["low"] is None or value["high"] is None:
        return "–"
    digits = 3 if value["high"] < 100 else 1
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}–{value['high']:.{digits}f}]"


def _signed(value: dict[str, float | None]) -> str:
    if value["value"] is None or value["low"] is None or value["high"] is None:
        return "–"
    return f"{value['value']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]"
