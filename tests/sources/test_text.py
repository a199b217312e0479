"""How elements become text: one case a rule."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.sources.characters import REMOVED, clean
from biolm.sources.text import text_of
from biolm.sources.xml import NotXml, numeric_references, parse_xml

MATH = 'xmlns:mml="http://www.w3.org/1998/Math/MathML"'

CASES = {
    "blocks are separated": ("<title>Growth</title><p>Cells grew.</p>", "Growth Cells grew."),
    "inline elements add no space": ("<bold>a l</bold>arge <italic>Hind</italic>III", "a large HindIII"),
    "spaces inside inline elements stay": ("<italic>Ocimum </italic>and", "Ocimum and"),
    "line wraps are spaces": ("one\n   two", "one two"),
    "powers of ten": ("2 × 10<sup>6</sup> cells", "2 × 10^6 cells"),
    "negative powers": ("10<sup>−5</sup> M", "10^−5 M"),
    "units": ("5 m<sup>2</sup> and m<sup>−1</sup>", "5 m^2 and m^−1"),
    "ions": ("Ca<sup>2+</sup>, Cl<sup>−</sup>", "Ca2+, Cl−"),
    "isotopes": ("36 Bq <sup>90</sup>Sr", "36 Bq 90Sr"),
    "ordinals": ("the 19<sup>th</sup> day", "the 19th day"),
    "symbolic powers": ("10<sup>n</sup>", "10^n"),
    "marks above digits": ("CD8<sup>hi</sup> cells", "CD8hi cells"),
    "indices of digits": ("x1<sub>2</sub>", "x1_2"),
    "genotypes": ("Stat3<sup>−/−</sup> mice", "Stat3−/− mice"),
    "indices": ("CO<sub>2</sub>, IC<sub>50 </sub>values", "CO2, IC50 values"),
    "small capitals": ("two-way <sc>anova</sc>, 500 n<sc>m</sc>", "two-way ANOVA, 500 nM"),
    "superscript citations go": (
        'protocol<sup><xref ref-type="bibr">8</xref></sup>. The',
        "protocol. The",
    ),
    "several superscript citations go": (
        'shown<sup><xref ref-type="bibr">8</xref>,<xref ref-type="bibr">9</xref></sup> here',
        "shown here",
    ),
    "bracketed citations go with their bracket": (
        'is 110 dB [<xref ref-type="bibr">2</xref>, <xref ref-type="bibr">5</xref>–<xref ref-type="ref">7</xref>] and',
        "is 110 dB and",
    ),
    "citations in round brackets go": ('known (<xref ref-type="bibr">12</xref>).', "known."),
    "citations that the sentence names stay": (
        'in refs. <sup><xref ref-type="bibr">4</xref>,<xref ref-type="bibr">5</xref></sup>',
        "in refs. 4,5",
    ),
    "author and year stay": (
        'as in (Smith et al., <xref ref-type="bibr">2015</xref>).',
        "as in (Smith et al., 2015).",
    ),
    "figure references stay": ('WRKY TFs (<xref ref-type="fig">Fig. 2</xref>)', "WRKY TFs (Fig. 2)"),
    "brackets of the text stay": ("medium (pH 7) [sic]", "medium (pH 7) [sic]"),
    "alternatives give one": (
        f"<inline-formula><alternatives><tex-math>\\documentclass{{x}}\\begin{{document}}$$a$$\\end{{document}}"
        f"</tex-math><mml:math {MATH}><mml:mi>a</mml:mi></mml:math></alternatives></inline-formula>",
        "a",
    ),
    "TeX without its preamble": (
        r"x <tex-math>\documentclass[12pt]{minimal}\usepackage{amsmath}\begin{document}$$k_{1}$$\end{document}</tex-math>",
        "x k_{1}",
    ),
    "MathML without the layout's spaces": (
        f"<mml:math {MATH}><mml:mrow><mml:mo>(</mml:mo> <mml:msub><mml:mi>β</mml:mi> <mml:mrow><mml:mi>a</mml:mi>"
        "<mml:mi>i</mml:mi></mml:mrow></mml:msub> <mml:mo>,</mml:mo> <mml:mi>λ</mml:mi><mml:mo>)</mml:mo>"
        "<mml:mo>=</mml:mo><mml:mo>(</mml:mo><mml:mn>5</mml:mn><mml:mo>,</mml:mo><mml:mn>0.1</mml:mn><mml:mo>)</mml:mo>"
        "</mml:mrow></mml:math>",
        "(β_ai, λ) = (5, 0.1)",
    ),
    "MathML powers, fractions and accents": (
        f"<mml:math {MATH}><mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup><mml:mo>/</mml:mo>"
        "<mml:mfrac><mml:mn>1</mml:mn><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mi>b</mml:mi></mml:mrow>"
        "</mml:mfrac><mml:mover><mml:mi>V</mml:mi><mml:mo>˙</mml:mo></mml:mover></mml:math>",
        "x^2/1/(a+b)V̇",
    ),
    "pictures and permissions are no text": (
        "before<inline-graphic/> <permissions>Copyright 2017</permissions><alt-text>Fig. 1</alt-text>after",
        "before after",
    ),
    "comments and instructions go, their tails stay": ("a<!-- b -->c<?pi d?>e", "ace"),
    "CDATA is text": ("<![CDATA[p < 0.05 & more]]>", "p < 0.05 & more"),
    "labels of a list that are written": (
        "<list><list-item><label>1.</label><p>Voluntary agreement</p></list-item></list>",
        "1. Voluntary agreement",
    ),
    "labels of a list that are implied": (
        '<list list-type="alpha-upper"><list-item><p>Crystal</p></list-item><list-item><p>Surface</p></list-item></list>',
        "A Crystal B Surface",
    ),
    "ruby keeps its base": ("<ruby><rb>漢字</rb><rp>(</rp><rt>kanji</rt><rp>)</rp></ruby>", "漢字"),
    "links keep their words": ('<ext-link href="http://x.org">File S1</ext-link>', "File S1"),
    "named entities without a DTD": ("5&nbsp;&micro;m &alpha; &lt; 3 &amp; 4", "5 μm α < 3 & 4"),
    "invisible and look-alike characters": (
        "a\ufeffnalysis bio\u00adpsy two\u2010way 5\u202f\u00b5m",
        "analysis biopsy two-way 5 μm",
    ),
    "dashes that mean something stay": ("1–2 — −3", "1–2 — −3"),
}


@pytest.mark.parametrize(("markup", "expected"), CASES.values(), ids=CASES.keys())
def test_text_reads_like_the_page(markup: str, expected: str):
    assert text_of(parse_xml(f"<p>{markup}</p>".encode())) == expected


@given(st.text(max_size=200))
def test_cleaning_is_idempotent_and_leaves_no_odd_space(text: str):
    once = clean(text)
    assert clean(once) == once
    assert once == " ".join(once.split())
    assert not set(once) & set(REMOVED)


@given(
    st.lists(
        st.sampled_from(["bold", "italic", "sub", "styled-content", "named-content", "underline"]), max_size=6
    )
)
def test_transparent_elements_lose_no_letter(names: list[str]):
    markup = "alpha" + "".join(f"<{name}>beta </{name}>gamma" for name in names)
    plain = "alpha" + "beta gamma" * len(names)
    assert text_of(parse_xml(f"<p>{markup}</p>".encode())) == plain


def test_external_entities_are_not_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden treasure")
    data = f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{secret}">]><p>before &x; after</p>'
    assert text_of(parse_xml(data.encode())) == "before after"


def test_entities_do_not_expand_without_bound():
    lines = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    data = f'<!DOCTYPE p [<!ENTITY e0 "lol">{lines}]><p>a &e9; b</p>'
    with contextlib.suppress(NotXml):
        assert len(text_of(parse_xml(data.encode()))) < 100


@given(st.binary(max_size=300))
def test_replacing_references_never_fails_and_keeps_xmls_own(data: bytes):
    numeric_references(data)
    assert (
        numeric_references(b"&lt;&amp;&gt;&quot;&apos;&nosuchname;")
        == b"&lt;&amp;&gt;&quot;&apos;&nosuchname;"
    )
