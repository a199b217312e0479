import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jats_papers import formula, text

WORDS = st.text("abcXYZ αé.,;", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        ("2 × 10<sup>6</sup> cells", "2 × 10^6 cells"),
        ("10<sup>−5</sup> M", "10^−5 M"),
        ("10<sup><italic>n</italic></sup>", "10^n"),
        ("2<sup>−ΔΔCt</sup>", "2^−ΔΔCt"),
        ("m<sup>2</sup> and m s<sup>−1</sup>", "m^2 and m s^−1"),
        ("<italic>R</italic><sup>2</sup>", "R^2"),
        ("(x + y)<sup>2</sup>", "(x + y)^2"),
        ("Ca<sup>2+</sup>, Cl<sup>−</sup>, SO<sub>4</sub><sup>2−</sup>", "Ca2+, Cl−, SO42−"),
        (
            "p53<sup>−/−</sup>, CD8<sup>hi</sup>, the 19<sup>th</sup>, 10<sup>th</sup>",
            "p53−/−, CD8hi, the 19th, 10th",
        ),
        ("with <sup>90</sup>Sr and [<sup>3</sup>H], δ<sup>13</sup>C", "with 90Sr and [3H], δ13C"),
        ("CO<sub>2</sub> and IC<sub>50 </sub>values", "CO2 and IC50 values"),
        ("x1<sub>2</sub>", "x1_2"),
    ],
)
def test_superscripts_and_subscripts_keep_their_meaning(xml: str, reads: str):
    assert text(xml) == reads


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        ('protocol<sup><xref ref-type="bibr">8</xref></sup>. The', "protocol. The"),
        (
            'known<sup><xref ref-type="bibr">1</xref>,<xref ref-type="bibr">3</xref>–'
            '<xref ref-type="bibr">5</xref></sup> to',
            "known to",
        ),
        (
            'known<sup><xref ref-type="bibr">1</xref></sup><sup>,</sup><sup><xref ref-type="ref">3</xref></sup>, to',
            "known, to",
        ),
        ('known<xref ref-type="bibr"><sup>12</sup></xref>.', "known."),
        ('cells.<xref ref-type="bibr">12</xref> The', "cells. The"),
        ('O-137<sup><xref ref-type="bibr">15</xref></sup> is', "O-137 is"),
        ('et al.<sup><xref ref-type="bibr">61</xref></sup>. The', "et al. The"),
        (
            'cells [<xref ref-type="bibr">1</xref>, <xref ref-type="bibr">4</xref>–<xref ref-type="bibr">6</xref>].',
            "cells.",
        ),
        ('cells <xref ref-type="bibr">[7]</xref> grow', "cells grow"),
        (
            'found (<xref ref-type="bibr">Wu, 2010</xref>; <xref ref-type="bibr">Li and Wu 2011</xref>).',
            "found.",
        ),
        ('found (see <xref ref-type="bibr">Wu 2010</xref>)', "found"),
        ('Wu et al. (<xref ref-type="bibr">2010</xref>) found', "Wu et al. found"),
        ('grow (Fig. 2; [<xref ref-type="bibr">12</xref>])', "grow (Fig. 2)"),
    ],
)
def test_raised_and_bracketed_citations_leave_nothing_behind(xml: str, reads: str):
    assert text(xml) == reads


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        ('in refs. <sup><xref ref-type="bibr">4</xref>,<xref ref-type="bibr">8</xref></sup>', "in refs. 4,8"),
        ('in ref. <xref ref-type="bibr">14</xref>', "in ref. 14"),
        ('data from [<xref ref-type="bibr">5</xref>].', "data from [5]."),
        ('Nat Methods 12:329, <xref ref-type="bibr">2015</xref>). This', "Nat Methods 12:329, 2015). This"),
        ('as <xref ref-type="bibr">Wu et al. 2010</xref> found', "as Wu et al. 2010 found"),
        ('(PDB 4EXS, <xref ref-type="bibr">King 2012</xref>)', "(PDB 4EXS, King 2012)"),
        ('(<xref ref-type="fig">Fig. 2</xref>, <xref ref-type="table">Table 1</xref>)', "(Fig. 2, Table 1)"),
    ],
)
def test_a_reference_that_is_a_word_of_its_sentence_is_kept(xml: str, reads: str):
    assert text(xml) == reads


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        ("<bold>a l</bold>arge <italic>Hind</italic>III", "a large HindIII"),
        ("two-way <sc>anova</sc>, 500 n<sc>m</sc>, <sc>d</sc>-glucose", "two-way ANOVA, 500 nM, D-glucose"),
        ("<styled-content>sty</styled-content>led <named-content>x</named-content>", "styled x"),
        ('text<named-content content-type="attribution">From Wu</named-content>.', "text."),
        ("a<!-- no -->b<?pi no?>c", "abc"),
        ("a<![CDATA[<b>]]>c", "a<b>c"),
        ("one<break/>two", "one two"),
        ("cells\n      grow", "cells grow"),
        ("Soluble (<inline-graphic/>), bound", "Soluble, bound"),
        ("key (<inline-graphic/>, <inline-graphic/>; see <ext-link>File S1</ext-link>)", "key (see File S1)"),
        ('mean<xref ref-type="fn">*</xref> of', "mean of"),
        ("it<supplementary-material><p>Click here</p></supplementary-material> is", "it is"),
        ("it<p>Click here for additional data file.</p> is", "it is"),
        ("<list><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list>", "one two"),
        (
            '<list list-type="alpha-upper"><list-item><p>Leaf.</p></list-item>'
            "<list-item><p>Root.</p></list-item></list>",
            "A Leaf. B Root.",
        ),
        ("<list><list-item><label>1.</label><p>Voluntary</p></list-item></list>", "1. Voluntary"),
        ("<list list-type='order'><list-item><p>Voluntary</p></list-item></list>", "1. Voluntary"),
    ],
)
def test_inline_tags_and_blocks_read_like_the_page(xml: str, reads: str):
    assert text(xml) == reads


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        ("a\u00a0b\u2009c\u202fd\u3000e", "a b c d e"),
        ("bio\u00adpsy a\ufeffnalysis x\u200by 2\u2062x", "biopsy analysis xy 2x"),
        ("dry\u2010wet 1\u20132 \u22121", "dry-wet 1–2 −1"),
        ("b\u0302 e\u0301", "b̂ é"),
        ("① Ⅲ mm²", "① Ⅲ mm²"),
    ],
)
def test_characters_that_look_alike_become_alike(xml: str, reads: str):
    assert text(xml) == reads


def test_one_form_of_a_formula_is_read():
    tex = r"\documentclass[12pt]{minimal} \begin{document} $$x^2$$ \end{document}"
    math = "<mml:math><mml:mi>x</mml:mi></mml:math>"
    assert text(f"a <alternatives><tex-math>{tex}</tex-math>{math}<graphic/></alternatives> b") == "a x b"
    assert text(f"a <inline-formula>{math}<tex-math>{tex}</tex-math></inline-formula> b") == "a x b"
    assert text(f"a <inline-formula><tex-math>{tex}</tex-math></inline-formula> b") == "a x^2 b"
    assert text(r"a <tex-math>\documentclass{broken</tex-math> b") == "a b"
    assert (
        text("a (<inline-formula><alternatives><inline-graphic/></alternatives></inline-formula>) b") == "a b"
    )


@pytest.mark.parametrize(
    ("xml", "reads"),
    [
        (
            "<mo>(</mo>\n <msub><mi>β</mi><mrow><mi>a</mi><mi>i</mi></mrow></msub>\n<mo>,</mo> <mi>λ</mi><mo>)</mo>"
            "<mo>=</mo><mo>(</mo><mn>5</mn><mo>,</mo><mn>0.1</mn><mo>)</mo>",
            "(β_ai, λ) = (5, 0.1)",
        ),
        ("<mn>0</mn><mo>.</mo><mn>1</mn>", "0.1"),
        ("<msup><mn>10</mn><mrow><mo>−</mo><mn>5</mn></mrow></msup>", "10^−5"),
        ("<msup><mi>x</mi><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></msup>", "x^(n + 1)"),
        ("<msubsup><mi>NH</mi><mn>4</mn><mo>+</mo></msubsup>", "NH4+"),
        ("<msup><mi>Ca</mi><mrow><mn>2</mn><mo>+</mo></mrow></msup>", "Ca2+"),
        (
            "<msub><mover><mi>V</mi><mo>˙</mo></mover><mrow><msub><mi>O</mi><mn>2</mn></msub></mrow></msub>",
            "V̇_O2",
        ),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x̄"),
        ("<mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mi>c</mi></mrow></mfrac>", "a/(b + c)"),
        ("<msqrt><mn>2</mn></msqrt><mo>&#x2062;</mo><mi>x</mi>", "√2x"),
        ("<mo>−</mo><mn>1</mn><mo>±</mo><mn>2</mn>", "−1 ± 2"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a, b)"),
        ("<semantics><mi>x</mi><annotation>no</annotation></semantics>", "x"),
        ("<mi>p</mi><mtext> for all </mtext><mi>q</mi>", "p for all q"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>",
            "∑_(i = 1)^n",
        ),
        ("<mmultiscripts><mi>Sr</mi><mprescripts/><none/><mn>90</mn></mmultiscripts>", "90Sr"),
        ("<mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr></mtable>", "a, b"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot><mphantom><mi>z</mi></mphantom>", "3√x"),
    ],
)
def test_mathml_reads_without_the_white_space_of_its_layout(xml: str, reads: str):
    assert formula(xml) == reads


@given(
    st.lists(st.tuples(st.sampled_from(["bold", "italic", "styled-content", "made-up"]), WORDS), max_size=6)
)
def test_inline_tags_add_nothing_and_lose_nothing(pieces: list[tuple[str, str]]):
    tagged = "".join(f"<{tag}>{words}</{tag}>" for tag, words in pieces)
    assert text(tagged) == text("".join(words for _, words in pieces))


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="<&\ufffe\uffff")
    )
)
def test_text_is_clean_and_cleaning_it_again_changes_nothing(raw: str):
    once = text(raw)
    assert once == once.strip()
    assert "  " not in once
    assert unicodedata.is_normalized("NFC", once)
    assert text(once.replace("&", "&amp;")) == once
