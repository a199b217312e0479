import pytest
from jats_papers import record

from biolm.records import Abstract


def abstract(*sections: str) -> str:
    (found,) = record(
        f"<Abstract>{''.join(sections)}<CopyrightInformation>© Wu</CopyrightInformation></Abstract>"
    ).abstracts
    assert (found.kind, found.language) == (None, "en")
    return found.text


def test_labels_and_markup_are_text():
    assert (
        abstract(
            '<AbstractText Label="BACKGROUND" NlmCategory="BACKGROUND">'
            "PGD<sub>2</sub> of <i>E. coli</i>, 10<sup>6</sup>.</AbstractText>",
            '<AbstractText Label="Results:">Two.</AbstractText>',
            '<AbstractText Label="UNLABELLED">Three.</AbstractText>',
            '<AbstractText Label="LEVEL OF EVIDENCE: 4"/><AbstractText/>',
        )
        == "BACKGROUND: PGD2 of E. coli, 10^6. Results: Two. Three. LEVEL OF EVIDENCE: 4"
    )


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("The phenomena observed.(ABSTRACT TRUNCATED AT 250 WORDS)", "The phenomena observed."),
        ("10(8) cells +/- 2", "10(8) cells +/- 2"),
        ("Seen. © 2020 The Pathological Society.", "Seen."),
    ],
)
def test_what_is_no_part_of_the_abstract_is_stripped(text: str, reads: str):
    assert abstract(f"<AbstractText>{text}</AbstractText>") == reads


def test_other_abstracts_stay_behind_with_type_and_language():
    other = '<OtherAbstract Type="{}" Language="{}"><AbstractText>{}</AbstractText></OtherAbstract>'.format
    found = record(
        "<Language>ger</Language><Abstract><AbstractText>One.</AbstractText></Abstract>",
        citation=other("Publisher", "ger", "Eins.") + other("plain-language-summary", "eng", "Plain."),
    )
    assert found.language == "de"
    assert found.abstracts == (
        Abstract(text="One.", language="en"),
        Abstract(text="Eins.", kind="publisher", language="de"),
        Abstract(text="Plain.", kind="plain-language-summary", language="en"),
    )


@pytest.mark.parametrize(
    ("title", "reads"),
    [
        ("[The pineal body].", "The pineal body."),
        ("[On bodies (author's transl)].", "On bodies."),
        ("[3H]thymidine and [14C].", "[3H]thymidine and [14C]."),
        ("A <i>p53</i> story.", "A p53 story."),
    ],
)
def test_translated_titles_lose_their_brackets(title: str, reads: str):
    assert record(f"<ArticleTitle>{title}</ArticleTitle>").title == reads


def test_an_empty_title_gives_way_to_the_original_one():
    assert record("<ArticleTitle/><VernacularTitle>Briefe.</VernacularTitle>").title == "Briefe."


def test_ids_journal_and_year():
    found = record(
        "<Journal><JournalIssue><PubDate><Year>2021</Year></PubDate></JournalIssue><Title>Gut</Title></Journal>"
        "<ArticleDate><Year>2020</Year></ArticleDate>",
        data='<ArticleIdList><ArticleId IdType="doi">10.1136/GUT</ArticleId><ArticleId IdType="pmc">PMC5</ArticleId>'
        "</ArticleIdList><ReferenceList><Reference><ArticleIdList>"
        '<ArticleId IdType="pmc">PMC6</ArticleId></ArticleIdList></Reference></ReferenceList>',
    )
    assert (found.pmid, found.pmcid, found.doi) == ("7", "PMC5", "10.1136/gut")
    assert (found.journal, found.year, found.licence) == ("Gut", 2020, "unknown")
    assert record('<ELocationID EIdType="doi" ValidYN="Y">10.1136/X</ELocationID>').doi == "10.1136/x"
    issue = "<JournalIssue><PubDate><MedlineDate>1977 Nov-Dec</MedlineDate></PubDate></JournalIssue>"
    assert record(f"<Journal>{issue}</Journal>").year == 1977
