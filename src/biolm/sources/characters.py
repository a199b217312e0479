"""The last step of every text: characters that look alike become alike, spaces become one space."""

import re
import unicodedata
from html import unescape

REMOVED = (
    "\u00ad\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u2063\u2064"
    "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Soft hyphen, zero-width characters, invisible operators of MathML, direction marks."""
REPLACED = {
    "\u2010": "-",  # hyphen: Wiley writes every hyphen so
    "\u2011": "-",  # non-breaking hyphen
    "\u00b5": "\u03bc",  # micro sign → mu
    "\u2206": "\u0394",  # increment → Delta
    "\u2126": "\u03a9",  # ohm → Omega
    "\u2217": "*",  # asterisk operator: what publishers write for the marks of significance
    "\ufb00": "ff",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\ufb03": "ffi",
    "\ufb04": "ffl",
}
"""One character for each meaning. En dash, em dash and minus stay: they mean different things. Not NFKC, which would
also turn ① into 1 and mm² into mm2."""
_TABLE = {**dict.fromkeys(REMOVED, ""), **REPLACED}
_LISTED = re.compile(f"[{''.join(_TABLE)}]")  # ten times faster than str.translate
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_ESCAPED_TWICE = re.compile(
    r"&(?:(?:amp|#38|#x26);)*((?:#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"
)


def clean(text: str, *, normalize: bool = True) -> str:
    """NFC, the table above, no control characters, every run of white space one space, none at the ends.

    References that the publisher escaped twice ("&amp;lt;" in the file) become their characters.
    Without `normalize` only control characters and white space.
    """
    if normalize and "&" in text and ";" in text:
        text = _ESCAPED_TWICE.sub(lambda match: unescape(f"&{match[1]}"), text)
    if normalize and not text.isascii():
        text = unicodedata.normalize("NFC", _LISTED.sub(lambda match: _TABLE[match[0]], text))
    if text.isprintable() and "  " not in text:  # then no other white space is in it, and nothing to be done
        return text.strip(" ")
    text = " ".join(text.split())
    return text if text.isprintable() else " ".join(_CONTROL.sub(" ", text).split())
