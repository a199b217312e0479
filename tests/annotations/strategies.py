"""Documents that hypothesis invents: with emoji, right-to-left letters, marks and white space of all kinds."""

from hypothesis import strategies as st

from biolm.mentions import Document, Mention, Part, in_order

PIECES = st.sampled_from(
    [
        "a",
        "B7",
        "é",
        "e\u0301",
        "שלום",
        "مرحبا",
        "👩‍🔬",
        "🧬",
        "β",
        "한",
        "-",
        "(",
        ")",
        ".",
        "'",
        '"',
        "|t|",
        "#",
        "½",
        "x\u200by",
    ]
)
SPACES = st.sampled_from([" ", "  ", "\n", "\t", "\u2028", "\x0b", "\u00a0", "\r\n"])


@st.composite
def texts(draw, spaces=SPACES) -> str:
    return "".join(draw(st.lists(PIECES | spaces, max_size=20)))


@st.composite
def mentions(draw, text: str, types=("Gene", "Disease"), scores=True, attributes=("identifier",)):
    found = []
    for _ in range(draw(st.integers(0, 4)) if text.strip() else 0):
        places = [place for place, letter in enumerate(text) if not letter.isspace()]
        start, end = sorted((draw(st.sampled_from(places)), draw(st.sampled_from(places))))
        known = {
            name: draw(st.sampled_from(["D1", "MESH:2", "β|3"])) for name in attributes if draw(st.booleans())
        }
        score = draw(st.none() | st.floats(0, 1)) if scores else None
        found.append(Mention(start, end + 1, draw(st.sampled_from(types)), score, known))
    return in_order(found)


@st.composite
def documents(draw, spaces=SPACES, parts=False, **chosen) -> Document:
    title = draw(texts(spaces))
    abstract = draw(texts(spaces)) if parts else ""
    text = f"{title} {abstract}" if abstract else title
    known = (Part(0, len(title), "title"), Part(len(title) + 1, len(text), "abstract"))
    found = draw(mentions(text, **chosen))
    named = tuple(part for part in known if part.end > part.start) if parts else ()
    return Document(draw(st.sampled_from(["1", "a:b", "10.1/x y", "ü"])), text, found, named)
