import pytest
from jats_papers import article, jats

from biolm.licences import spdx_licence
from biolm.records import Figure
from biolm.sources.jats import parse_article
from biolm.sources.xml import Unusable, parse_xml


def main_abstract(xml: str, **parts: str) -> str:
    found = article(xml, **parts).abstracts
    return found[0].text if found and found[0].kind is None else ""


def figures(xml: str) -> tuple[Figure, ...]:
    return article(body=xml).figures


def test_ids_take_one_form():
    found = article(
        '<article-id pub-id-type="pmid">31</article-id><article-id pub-id-type="pmc">42</article-id>'
        '<article-id pub-id-type="pmc-aiid">99</article-id>'
        '<article-id pub-id-type="doi">https://doi.org/10.1/X</article-id>'
        '<article-id pub-id-type="doi">https://doi.org/10.1371/Journal.X</article-id>'
    )
    assert (found.pmid, found.pmcid, found.doi) == ("31", "PMC42", "10.1371/journal.x")
    assert article('<article-id pub-id-type="pmcid">PMC42.1</article-id>').pmcid == "PMC42"
    assert article('<article-id pub-id-type="pmid">none</article-id>').pmid is None
    assert article('<article-id pub-id-type="pmc-aiid">99</article-id>').pmcid is None


def test_title_journal_and_language():
    found = article(
        "<title-group><article-title>Role of <italic>p53</italic>\n in CO<sub>2</sub></article-title>"
        "<subtitle>a trial</subtitle></title-group>",
        journal="<journal-title-group><journal-title>PLoS ONE</journal-title></journal-title-group>",
        attributes='xml:lang="en"',
    )
    assert (found.title, found.journal, found.language) == ("Role of p53 in CO2: a trial", "PLoS ONE", "en")
    assert (
        article(journal='<journal-id journal-id-type="nlm-ta">Ann Oncol</journal-id>').journal == "Ann Oncol"
    )


def test_year_is_the_earliest_of_publication():
    dates = '<pub-date pub-type="{}"><year>{}</year></pub-date>'.format
    assert article(dates("collection", 2019) + dates("epub", 2018) + dates("pmc-release", 2017)).year == 2018
    assert article(dates("ppub", 18) + dates("epub", "n/a")).year is None
    assert (
        article('<pub-date date-type="pub" publication-format="print"><year>1999</year></pub-date>').year
        == 1999
    )


def test_hash_is_of_the_content():
    assert article("<x/>").content_hash == article("<x/>").content_hash != article("<y/>").content_hash
    assert len(article().content_hash) == 64


def test_structured_abstract_keeps_its_headings():
    assert (
        main_abstract(
            "<abstract><title>Abstract</title><sec><title>Background</title><p>One.</p></sec>"
            "<sec><title>Results:</title><p>Two.</p><p>Three.</p></sec><sec><title>Why?</title><p>Four.</p></sec>"
            "<sec><title>Electronic supplementary material</title><p>The online version</p></sec></abstract>"
        )
        == "Background: One. Results: Two. Three. Why? Four."
    )


@pytest.mark.parametrize(
    ("inside", "reads"),
    [
        ("<title>SUMMARY</title><p>One.</p>", "One."),
        ("<title>Main conclusion</title><p>One.</p>", "Main conclusion: One."),
        (
            "<sec><title>Abstract</title><p>One.</p></sec><sec><title>Key message</title><p>T.</p></sec>",
            "One. Key message: T.",
        ),
        ("<p>One.</p><sec><title>Electronic supplementary material</title><p>No</p></sec>", "One."),
        ("<p><bold>IMPORTANCE</bold> Our work</p>", "IMPORTANCE: Our work"),
        ("<p><bold>Background:</bold> One.</p><p><bold>p53</bold> Two.</p>", "Background: One. p53 Two."),
        ("<p>One.</p><fig><label>Fig. 1</label><caption><p>No</p></caption></fig><p>Two.</p>", "One. Two."),
        (
            "<p>One. Bioelectromagnetics. 39:595–603, 2018. © 2018 The Authors. Published by Wiley, Inc.</p>",
            "One.",
        ),
    ],
)
def test_abstract_holds_its_own_words_only(inside: str, reads: str):
    assert main_abstract(f"<abstract>{inside}</abstract>") == reads


def test_main_abstract_is_chosen_by_type_not_by_order():
    found = article(
        '<abstract abstract-type="precis"><p>A precis that is longer than all.</p></abstract>'
        '<abstract><p>Main.</p></abstract><abstract abstract-type="summary"><p>Sum.</p></abstract>'
        '<trans-abstract xml:lang="de"><p>Übersetzt.</p></trans-abstract>'
    ).abstracts
    assert [(one.kind, one.text) for one in found] == [
        (None, "Main."),
        ("precis", "A precis that is longer than all."),
        ("summary", "Sum."),
        ("translation", "Übersetzt."),
    ]
    assert found[3].language == "de"


def test_main_abstract_is_in_the_language_of_the_article():
    found = article(
        '<abstract xml:lang="es"><p>Un resumen más largo.</p></abstract><abstract xml:lang="en"><p>One.</p></abstract>',
        attributes='xml:lang="en"',
    ).abstracts
    assert [(one.kind, one.language) for one in found] == [(None, "en"), ("other", "es")]


@pytest.mark.parametrize("kind", ["normal", "executive-summary"])
def test_only_abstract_is_the_main_one_where_its_type_allows(kind: str):
    assert main_abstract(f'<abstract abstract-type="{kind}"><p>One.</p></abstract>') == "One."


@pytest.mark.parametrize(
    "xml",
    [
        '<abstract abstract-type="graphical"><p>One.</p></abstract>',
        "<abstract><title>Highlights</title><p>One.</p></abstract>",
        '<trans-abstract xml:lang="de"><p>Eins.</p></trans-abstract>',
        "<abstract><title>Abstract</title><fig><graphic/></fig></abstract>",
    ],
)
def test_what_cannot_stand_for_the_main_abstract_does_not(xml: str):
    assert main_abstract(xml) == ""


def test_title_does_not_glue_to_paragraph():
    (figure,) = figures(
        "<fig><object-id>10.1/g1</object-id><label>FIG 1\u00a0</label><caption><title>Populations.</title>"
        "<p>(A) One.</p><p>(B) Two.</p></caption><alt-text>Fig. 1</alt-text><graphic/>"
        "<permissions><copyright-statement>© Wu</copyright-statement></permissions><attrib>FAO</attrib></fig>"
    )
    assert figure == Figure(
        label="FIG 1", title="Populations.", caption="(A) One. (B) Two.", rights="© Wu FAO"
    )


def test_every_figure_is_found_once_in_document_order():
    found = article(
        body="<p>Text <fig><label>1</label><caption><p>One.</p></caption></fig></p>"
        "<fig-group><caption><p>Both.</p></caption><fig><label>2a</label><caption><p>Two.</p></caption></fig>"
        "<fig><label>2b</label><caption><title>Three</title></caption></fig></fig-group>"
        "<fig><label>3</label><graphic/></fig><boxed-text><fig><caption><p>Four.</p></caption></fig></boxed-text>",
        after="<back><app-group><app><fig><label>A1</label><caption><p>Five.</p></caption></fig></app></app-group>"
        "</back><floats-group><fig><label>5</label><caption><p>Six.</p></caption></fig></floats-group>"
        "<sub-article><front-stub/><body><fig><caption><p>Not this.</p></caption></fig></body></sub-article>"
        "<response><body><fig><caption><p>Nor this.</p></caption></fig></body></response>",
    ).figures
    assert [(figure.label, figure.title + figure.caption) for figure in found] == [
        ("1", "One."),
        ("", "Both."),
        ("2a", "Two."),
        ("2b", "Three"),
        ("", "Four."),
        ("A1", "Five."),
        ("5", "Six."),
    ]


def test_legend_leaves_out_downloads_and_inner_figures():
    (figure,) = figures(
        "<fig><caption><p>Leaf.</p><p>Click here for additional data file.</p></caption>"
        "<media><caption><p>Supplement</p></caption></media></fig>"
    )
    assert figure.caption == "Leaf."


def test_a_default_namespace_is_tolerated():
    xml = jats(
        "<abstract><p>One.</p></abstract>", "<fig><label>1</label><caption><p>Leaf</p></caption></fig>"
    )
    named = xml.replace(b"<article ", b'<article xmlns="http://jats.nlm.nih.gov" ')
    found, plain = (parse_article(parse_xml(data), "x") for data in (named, xml))
    assert (found.abstracts, found.figures) == (plain.abstracts, plain.figures) != ((), ())


def test_an_article_of_another_format_is_none():
    with pytest.raises(Unusable, match="without <front>"):
        parse_article(parse_xml(b"<article><title>DocBook</title></article>"), "x")


@pytest.mark.parametrize(
    ("permissions", "licence"),
    [
        ('<license xlink:href="https://creativecommons.org/licenses/by/4.0/"/>', "CC-BY-4.0"),
        (
            "<license><ali:license_ref>http://creativecommons.org/licenses/by-nc-nd/3.0/igo/</ali:license_ref>"
            "</license>",
            "CC-BY-NC-ND-3.0-IGO",
        ),
        (
            '<license><license-p><ext-link xlink:href="creativecommons.org/license/by/4.0">x</ext-link></license-p>'
            "</license>",
            "CC-BY-4.0",
        ),
        (
            '<license><license-p>(<ext-link xlink:href="http://creativecommons.org/publicdomain/zero/1.0/">x</ext-link>)'
            'applies to the data; <ext-link xlink:href="http://creativecommons.org/licenses/by/4.0/">x</ext-link>'
            "</license-p></license>",
            "CC-BY-4.0",
        ),
        ('<license xlink:href="http://creativecommons.org/publicdomain/zero/1.0/"/>', "CC0-1.0"),
        ('<license license-type="CC BY"/>', "CC-BY"),
        ('<license license-type="creativeCommonsBy"/>', "CC-BY"),
        ('<license license-type="open-access"><license-p>Free to read.</license-p></license>', "unknown"),
        ("<license><license-p><!--CREATIVE COMMONS-->Ask us.</license-p></license>", "unknown"),
        (
            "<copyright-statement>Under the Creative Commons Attribution License.</copyright-statement>",
            "CC-BY",
        ),
        ("", "unknown"),
    ],
)
def test_licence_is_an_spdx_id(permissions: str, licence: str):
    assert article(f"<permissions>{permissions}</permissions>").licence == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (
            "the Creative Commons Attribution-NonCommercial-NoDerivs License, 4.0 International",
            "CC-BY-NC-ND-4.0",
        ),
        ("Creative Commons Attribution Non-Commercial License", "CC-BY-NC"),
        ("licensed under CC BY-SA 3.0.", "CC-BY-SA-3.0"),
        ("(http://creativecommons.org/licenses/by/4.0/)", "CC-BY-4.0"),
        ("dedicated under CC0", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("All rights reserved.", "unknown"),
        ("Distributed under CC BY 4.0 by NCBI", "CC-BY-4.0"),
        ("CC BYNC", "unknown"),
        # What allows less is never read as what allows more.
        ("CC BY NC ND", "CC-BY-NC-ND"),
        ("CC BY–NC 4.0", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution License (CC BY-NC 4.0)", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution 3.0 Non-Commercial", "CC-BY-NC-3.0"),
        ("Creative Commons Attribution (Non-Commercial)", "CC-BY-NC"),
        ("Creative Commons Attribution—NonCommercial", "CC-BY-NC"),
        ("Creative Commons Attribution-Non Derivatives 4.0", "CC-BY-ND-4.0"),
        ("creativecommons.org/licenses/by-ncnd/4.0/", "CC-BY-NC-ND-4.0"),
        ("creativecommons.org/licenses/by/nc/4.0/", "CC-BY-NC-4.0"),
        ("creativecommons.org/licenses/by–nc/4.0/", "CC-BY-NC-4.0"),
        ("creativecommons.org/licenses/by/4.0/legalcode", "CC-BY-4.0"),
    ],
)
def test_licence_is_read_from_words(text: str, licence: str):
    assert spdx_licence([], "", text) == licence


@pytest.mark.parametrize(
    ("stated", "version"), [("1.2", 2), ("2", 2), ("v3", 3), ("VoR", 0), ("", 0), ("1.2.3", 0)]
)
def test_a_preprint_states_its_version(stated: str, version: int):
    assert article(f"<article-version>{stated}</article-version>").version == version


def test_the_type_of_an_abstract_is_the_same_in_capitals():
    found = article(
        "<abstract abstract-type='Graphical'><p>Picture.</p></abstract><abstract><p>We.</p></abstract>"
    )
    assert [(one.text, one.kind) for one in found.abstracts] == [("We.", None), ("Picture.", "graphical")]
