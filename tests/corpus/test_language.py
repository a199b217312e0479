from dataclasses import replace
from pathlib import Path

import pytest
from corpus_papers import article, corpus_of, dropped, rows_of

from biolm.corpus.language import MIN_CERTAINTY, READ_CHARACTERS, detect
from biolm.records import Abstract, Article

TEXTS = {
    "en": "Phosphorylation of the receptor by protein kinase A was measured in neurons of wild-type and mutant mice.",
    "es": "Introducción: el sobrepeso y la obesidad en la infancia y la adolescencia se han incrementado en el país.",
    "de": "Die Harninkontinenz ist in Deutschland weit verbreitet und betrifft Millionen von Frauen und Männern.",
    "hu": "Összefoglaló. A veseátültetés a legnagyobb reményt nyújtja a végstádiumú vesebetegségben szenvedőknek.",
    "zh": "目的 探讨小鼠模型中该基因的表达水平及其与肿瘤发生发展的关系，为临床治疗提供新的思路和理论依据。",
}
LATIN = "Comparison of MIR7972 in Lamiids: Ocimum basilicum, Mentha spicata, Brassica napus (P < 0.05, n = 12, IL-6)."


def test_languages_are_told_apart():
    codes, certainties = detect(list(TEXTS.values()))
    assert codes == list(TEXTS)
    assert min(certainties) >= MIN_CERTAINTY


@pytest.mark.parametrize("text", ["", " ", "\n", "1.0 2.0", "\x00", "a" * 100_000])
def test_any_text_is_taken(text: str):
    (code,), (certainty,) = detect([text])
    assert code is None or isinstance(code, str)
    assert 0 <= certainty <= 1


def test_only_the_beginning_counts():
    text = TEXTS["en"] * 4
    assert detect([text]) == detect([text[:READ_CHARACTERS] + TEXTS["es"] * 10])


def papers() -> list[Article]:
    found = [
        article(number, abstracts=(Abstract(text=text, language="en"),))
        for number, text in enumerate([*TEXTS.values(), LATIN], 1)
    ]
    return [*found[:-1], replace(found[-1], abstracts=(Abstract(text=LATIN),))]


def test_what_is_misstated_is_dropped(tmp_path: Path):
    corpus = corpus_of(tmp_path / "a", papers(), min_chars=40)
    assert [row["pmid"] for row in rows_of(corpus)] == [
        "1",
        "5",
        "6",
    ]  # the Chinese one is too short to judge
    assert dropped(corpus) == {"language": 3}
    assert [row["language"] for row in rows_of(corpus)] == ["en", "en", None]
    assert len(rows_of(corpus_of(tmp_path / "b", papers(), min_chars=40, detect_language=False))) == 6
    assert len(rows_of(corpus_of(tmp_path / "c", papers(), min_chars=40, languages=None))) == 6
    kept = corpus_of(tmp_path / "d", papers(), min_chars=40, languages=("en", "es"))
    assert [row["pmid"] for row in rows_of(kept)] == ["1", "2", "5", "6"]
