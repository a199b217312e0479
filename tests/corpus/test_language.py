from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from corpus_papers import article
from hypothesis import given
from hypothesis import strategies as st

from biolm.cli.corpus import corpus
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig, ExtractConfig, config_of
from biolm.corpus.extract import extract_key, write_extract
from biolm.corpus.filters import _other_language
from biolm.corpus.language import MIN_CERTAINTY, MIN_CHARACTERS, READ_CHARACTERS, UNKNOWN, detect
from biolm.corpus.split import Shares
from biolm.progress import Silent
from biolm.records import Abstract

ENGLISH = "We measured the activity of the kinase in cells of the liver and found that the inhibitor lowers it twofold."
SENTENCES = {
    "de": "Wir haben die Aktivität der Kinase in Leberzellen gemessen und gefunden, dass der Hemmstoff sie halbiert.",
    "es": "Medimos la actividad de la quinasa en las células del hígado y hallamos que el inhibidor la reduce mucho.",
    "it": "Abbiamo misurato l'attività della chinasi nelle cellule del fegato e l'inibitore la riduce della metà.",
    "pt": "Não houve diferença entre os grupos; a atividade da quinase nas células do fígado não mudou com o inibidor.",
    "fr": "Nous avons mesuré l'activité de la kinase dans les cellules du foie et l'inhibiteur la réduit de moitié.",
    "zh": "目的: 探讨肝细胞癌患者血清中激酶的表达水平及其临床意义。 方法: 收集我院收治的患者共一百例, 检测并分析结果。 "
    "结果: 患者血清中激酶的表达水平明显高于健康人, 差异有统计学意义。 结论: 激酶可作为诊断的指标。",
    "ar": "قمنا بقياس نشاط الإنزيم في خلايا الكبد ووجدنا أن المثبط يخفضه إلى النصف مقارنة بالخلايا غير المعالجة.",
    "hu": "Megmértük a kináz aktivitását a májsejtekben, és azt találtuk, hogy a gátlószer a felére csökkenti.",
}
HARD_ENGLISH = (
    "XPS spectra (a) Survey of the samples, (b) Bi 4f, (c) O 1s, and (d) Br 3d, of BiOBr-C and BiOBr-G.",
    "FTIR spectra of (a) KL; (b) STA modified KL; (c) LC; (d) LC coated with PDMS@STA-KL, 4000 to 400 per cm.",
    "Different Ocimum species. (A) Ocimum basilicum, (B) Ocimum americanum, (C) Ocimum africanum, (D) Ocimum sanctum.",
    "Forest plot of OR (95% CI) for TNF-α −308 G>A, IL-6 −174 G>C and IL-10 −1082 A>G; I² = 43%, p < 0.001, n = 12.",
    "WT, Atg5-/-, Ulk1/2 DKO and Becn1-/- MEFs; IB: p62, LC3B-I, LC3B-II, p-S6K (T389), ACTB; *p < 0.05, **p < 0.01.",
)


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_in_another_language_is_told_with_certainty(code: str):
    (found,), (certainty,) = detect([SENTENCES[code]])
    assert found == code
    assert certainty >= MIN_CERTAINTY


@pytest.mark.parametrize("text", [ENGLISH, ENGLISH.upper(), *HARD_ENGLISH])
def test_english_full_of_names_and_numbers_is_never_plainly_another_language(text: str):
    (found,), (certainty,) = detect([text])
    assert len(text) >= MIN_CHARACTERS
    assert found == "en" or certainty < MIN_CERTAINTY


@given(st.lists(st.text(max_size=300), max_size=5))
def test_every_text_gets_a_code_and_a_certainty_whatever_its_neighbours(texts: list[str]):
    codes, certainties = detect(texts)
    assert len(codes) == len(certainties) == len(texts)
    assert all(0 <= certainty <= 1 for certainty in certainties)
    assert all(2 <= len(code) <= 3 for code in codes)
    assert [detect([text]) for text in texts] == [
        ([code], [certainty]) for code, certainty in zip(codes, certainties, strict=True)
    ]


def test_a_text_without_letters_has_no_language():
    assert detect(["", " \n", "12 ± 3 (95 %)"]) == ([UNKNOWN] * 3, [0.0] * 3)


def test_an_abstract_that_ends_in_its_translation_is_in_the_language_it_begins_in():
    begin = (ENGLISH + " ") * (READ_CHARACTERS // len(ENGLISH) + 1)
    assert detect([begin + "\n" + SENTENCES["es"] * 20])[0] == ["en"]


def _passages(*rows: tuple[str | None, str, float, int]) -> pa.Table:
    stated, detected, certainty, characters = (list(column) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "language": pa.chunked_array([pa.array(stated, pa.string()).dictionary_encode()]),
            "detected": pa.chunked_array([pa.array(detected).dictionary_encode()]),
            "certainty": pa.array(certainty, pa.float32()),
            "characters": pa.array(characters, pa.int32()),
        }
    )


def test_a_passage_is_dropped_if_stated_or_plainly_in_another_language():
    least = MIN_CHARACTERS
    passages = _passages(
        ("en", "en", 0.99, least),
        (None, "en", 0.99, least),
        ("de", "en", 0.99, least),
        ("en", "de", 0.99, least),
        (None, "de", MIN_CERTAINTY + 0.01, least),
        (None, "de", MIN_CERTAINTY - 0.01, least),
        ("en", "de", 0.99, least - 1),
        ("de", "de", 0.1, 10),
        ("en-GB", "en", 0.99, least),
    )
    assert _other_language(passages, ("en",)).tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 0]
    assert _other_language(passages, ("en", "de")).tolist() == [0] * 9
    stated_only = passages.drop_columns(["detected", "certainty"])
    assert _other_language(stated_only, ("en",)).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_an_extract_says_what_was_detected_beside_what_was_stated(tmp_path: Path):
    abstracts = (Abstract(text=ENGLISH), Abstract(text=SENTENCES["de"], language="en"), Abstract(text=""))
    paths = tmp_path / "articles.parquet", tmp_path / "passages.parquet"
    write_extract([article(abstracts=abstracts)], *paths, ExtractConfig())
    found = pq.read_table(paths[1])
    assert found["detected"].to_pylist() == ["en", "de", UNKNOWN]
    assert found["language"].to_pylist() == [None, "en", None]
    assert found.schema.field("certainty").type == pa.float32()
    assert found.schema.field("detected").type == pa.string()
    write_extract([article(abstracts=abstracts)], *paths, ExtractConfig(detect_language=False))
    assert {"detected", "certainty"}.isdisjoint(pq.read_schema(paths[1]).names)


def test_an_extract_with_detection_is_another_than_one_without():
    assert extract_key("x", ExtractConfig()) != extract_key("x", ExtractConfig(detect_language=False))


def test_a_manifest_brings_back_whether_the_language_is_detected():
    config = CorpusConfig(detect_language=False)
    assert config_of(config.settings()) == config
    assert not config.extraction().detect_language


def _pubmed(folder: Path) -> Path:
    records = "".join(
        f"""<PubmedArticle><MedlineCitation><PMID Version="1">{number}</PMID><Article>
<Journal><Title>J</Title></Journal><ArticleTitle>T</ArticleTitle>
<Abstract><AbstractText>{text}</AbstractText></Abstract><Language>eng</Language></Article>
</MedlineCitation></PubmedArticle>"""
        for number, text in enumerate([ENGLISH, SENTENCES["de"], SENTENCES["hu"]], 1)
    )
    folder.mkdir()
    (folder / "papers.xml").write_text(f"<PubmedArticleSet>{records}</PubmedArticleSet>", encoding="utf-8")
    return folder


@pytest.mark.parametrize(("detect_language", "dropped"), [(True, 2), (False, 0)])
def test_a_corpus_drops_what_is_plainly_in_another_language_and_says_how(
    tmp_path: Path, detect_language: bool, dropped: int
):
    config = CorpusConfig(detect_language=detect_language, shares=Shares(train=1, validation=0, test=0))
    running = Running(workers=1, work=str(tmp_path / "work"))
    manifest = build_corpus([_pubmed(tmp_path / "papers")], tmp_path / "out", config, Silent(), running)
    assert manifest["counts"]["dropped"]["language"] == dropped
    assert manifest["counts"]["passages_kept"] == 3 - dropped
    assert ("--no-detect-language" in manifest["command"]) == (not detect_language)


def test_the_command_line_takes_a_truth_that_is_the_default_as_a_pair_of_flags(tmp_path: Path):
    papers = str(_pubmed(tmp_path / "papers"))
    kept = {}
    for flag in ("--detect-language", "--no-detect-language"):
        arguments = ["build", papers, "--out", str(tmp_path / flag), flag, "--split", "100/0/0"]
        arguments += ["--work", str(tmp_path / "work"), "--workers", "1"]
        result = CliRunner().invoke(corpus, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        kept[flag] = "2 language" in result.output
    assert kept == {"--detect-language": True, "--no-detect-language": False}
    assert (
        "--detect-language / --no-detect-language" in CliRunner().invoke(corpus, ["build", "--help"]).output
    )
