"""PubTator, BioC, brat, SourceData and JSON lines: what they say, what comes back, what is refused."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import documents

from biolm.annotations.bioc_files import read_bioc_json, read_bioc_xml_file, write_bioc
from biolm.annotations.brat import read_brat, write_brat
from biolm.annotations.json_lines import read_json_lines, write_json_lines
from biolm.annotations.pubtator import read_pubtator, write_pubtator
from biolm.annotations.read import read_documents
from biolm.annotations.sourcedata import PANEL, read_sourcedata, type_of
from biolm.annotations.write import write_documents
from biolm.errors import InputError
from biolm.mentions import Document, Mention
from biolm.sources.xml import parse_xml, words_of

PUBTATOR = (
    "12|t|IL-2 🧬 and AIDS\n12|a|A|t|B gene.\n12\t0\t4\tIL-2\tGene\t3558\n12\t11\t15\tAIDS\tDisease\n"
    "12\tCID\tD1\tD2\n\n13|t|\n13|a|Cells\n13\t1\t6\tCells\tCell\tCL:1\tx\ty\n\n14|t|Alone\n14|a|\n"
)


def bare(document: Document) -> list[tuple]:
    return [(m.start, m.end, m.type, dict(m.attributes)) for m in document.mentions]


@pytest.mark.parametrize("text", [PUBTATOR, PUBTATOR.replace("\n", "\r\n"), f"\n{PUBTATOR}\n\n"])
def test_pubtator_keeps_offsets_parts_and_identifiers(text: str):
    counts: Counter[str] = Counter()
    first, second, third = read_pubtator(text, where="x", counts=counts)
    assert first.text == "IL-2 🧬 and AIDS A|t|B gene."
    assert [(part.name, first.text[part.start : part.end]) for part in first.parts] == [
        ("title", "IL-2 🧬 and AIDS"),
        ("abstract", "A|t|B gene."),
    ]
    assert bare(first) == [(0, 4, "Gene", {"identifier": "3558"}), (11, 15, "Disease", {})]
    assert (second.text, bare(second)) == (" Cells", [(1, 6, "Cell", {"identifier": "CL:1", "more": "x\ty"})])
    assert (third.text, len(third.parts)) == ("Alone", 1)
    assert counts == {"relations ignored": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "12\t0\t4\tIL2\tGene",
            "line 3: characters 0 to 4 of the document are 'IL-2', but the mention says 'IL2'",
        ),
        ("13\t0\t4\tIL-2\tGene", "line 3: no line of the document above"),
        ("12\t0\tx\tIL-2\tGene", "line 3: no mention with start"),
        (f"12\t0\t{'5' * 5000}\tIL-2\tGene", "line 3: no mention with start"),
        (f"12\t{'5' * 5000}\t4\tIL-2\tGene", "line 3: no mention with start"),
        ("12\t0\t4\tIL-2\t ", "line 3: no mention with start"),
        ("12\t0", "line 3: no line of the document"),
        ("12|a|again", "line 3: a second abstract"),
        ("12\t90\t94\tIL-2\tGene", "line 3: characters 90 to 94"),
    ],
)
def test_wrong_lines_of_pubtator_are_refused(line: str, message: str):
    with pytest.raises(InputError, match=message):
        list(read_pubtator(f"12|t|IL-2\n12|a|gene\n{line}\n", where="x"))


def test_white_space_at_a_mentions_end_is_left_out_and_counted():
    counts: Counter[str] = Counter()
    (document,) = read_pubtator(
        "1|t|a plus \n1|a|\n1\t2\t9\tplus  \tX\n1\t1\t6\tplus\tX\n", where="x", counts=counts
    )
    assert bare(document) == [(2, 6, "X", {}), (2, 6, "X", {})]
    assert counts == {"white space at a mention's end left out": 2}


@given(documents(parts=True, scores=False, attributes=("identifier", "more")))
def test_pubtator_comes_back_with_spaces_for_breaks(document: Document):
    out = io.StringIO()
    counts = write_pubtator([document], out)
    (back,) = read_pubtator(out.getvalue(), where="x")
    flat = document.text.translate(str.maketrans("\n\r\t", "   "))
    assert back.text == flat
    assert bare(back) == bare(document)
    assert bool(counts) == (flat != document.text)


def test_ncbi_disease_has_the_counts_that_are_published(shared: Path):
    for part, documents_, mentions in (("train", 593, 5145), ("develop", 100, 787), ("test", 100, 960)):
        data = read_documents(shared / "ner" / "NCBI-disease-original" / f"NCBI{part}set_corpus.txt")
        assert (data.form, len(data.documents), data.mentions) == ("pubtator", documents_, mentions)
        known = {"document ids met again, now with #2, #3, ...": 1}
        assert data.counts == (known if part == "train" else {})
        ids = [document.id for document in data.documents]
        assert len(set(ids)) == len(ids)
        out = io.StringIO()
        write_documents(data.documents, out, "pubtator")
        assert list(read_pubtator(out.getvalue(), where="x")) == data.documents


BIOC_XML = """<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>PubMed</source><date/><key/><document><id>12</id>
<passage><infon key="type">title</infon><offset>0</offset><text>IL-2 &amp; 🧬</text>
<annotation id="1"><infon key="type">Gene</infon><infon key="identifier">3558</infon><infon key="score">0.5</infon>
<location offset="0" length="4"/><text>IL-2</text></annotation></passage>
<passage><infon key="section_type">ABSTRACT</infon><offset>10</offset>
<sentence><offset>10</offset><text>Breast and</text></sentence>
<sentence><offset>21</offset><text>colon cancer</text>
<annotation id="2"><infon key="type">Disease</infon><location offset="27" length="6"/><location offset="10" length="6"/>
<text>Breast cancer</text></annotation><annotation id="3"><text>nowhere</text></annotation></sentence>
<relation id="R1"/></passage></document></collection>"""


def test_bioc_xml_keeps_offsets_over_gaps():
    counts: Counter[str] = Counter()
    (document,) = read_bioc_xml_file(BIOC_XML.encode(), where="x", counts=counts)
    assert document.text == "IL-2 & 🧬  Breast and colon cancer"
    assert [(part.name, part.start, part.end) for part in document.parts] == [
        ("title", 0, 8),
        ("ABSTRACT", 10, 33),
    ]
    assert document.mentions[0] == Mention(0, 4, "Gene", 0.5, {"identifier": "3558"})
    assert bare(document)[1] == (10, 33, "Disease", {"discontinuous": "10-16,27-33"})
    assert counts == {
        "mentions in several pieces, read as one from first to last": 1,
        "annotations without a place ignored": 1,
        "relations ignored": 1,
    }
    out = io.StringIO()
    write_bioc([document], out)
    assert list(read_bioc_json(out.getvalue(), where="x")) == [document]


@given(documents(parts=True))
def test_bioc_comes_back_whole(document: Document):
    out = io.StringIO()
    write_bioc([document, document], out)
    assert list(read_bioc_json(out.getvalue(), where="x")) == [document, document]
    assert list(read_bioc_json(f"[{out.getvalue()}]", where="x")) == [document, document]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('offset="0"', 'offset="1"'),
            "document 12, annotation 1: characters 1 to 5 of the document are 'L-2 '",
        ),
        (
            ("<offset>10</offset><text>", "<offset>3</offset><text>"),
            "begins at character 3, but the text before it ends at 8",
        ),
        (("<offset>21</offset>", "<offset>x</offset>"), "document 12 is not laid out as BioC"),
        (("<offset>21</offset>", "<offset>99999999</offset>"), "begins at character 99999999"),
        (("</collection>", ""), "x: broken XML"),
        (
            ('<infon key="type">Disease</infon><location offset="27"', '<location offset="70"'),
            "is not in document 12",
        ),
    ],
)
def test_wrong_bioc_is_refused(change: tuple[str, str], message: str):
    assert change[0] in BIOC_XML
    with pytest.raises(InputError, match=message):
        list(read_bioc_xml_file(BIOC_XML.replace(*change).encode(), where="x"))


def test_hostile_xml_expands_nothing(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for declared in (f'<!ENTITY e SYSTEM "{secret.as_uri()}">', '<!ENTITY e "laughs">'):
        text = BIOC_XML.replace(
            '<!DOCTYPE collection SYSTEM "BioC.dtd">', f"<!DOCTYPE collection [{declared}]>"
        )
        with pytest.raises(InputError, match="entity"):
            list(read_bioc_xml_file(text.replace("nowhere", "&e;").encode(), where="x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]x", "no JSON"),
        ("[" * 200_000, "no JSON"),
        ('{"a": 1}', "no list of documents"),
    ],
)
def test_wrong_bioc_json_is_refused(text: str, message: str):
    with pytest.raises(InputError, match=message):
        list(read_bioc_json(text, where="x"))


def test_gaps_of_bioc_are_limited_together():
    passages = [{"offset": number * 600_000, "text": "a"} for number in range(3)]

    def read(count: int) -> list[Document]:
        document = {"id": "1", "passages": passages[:count]}
        return list(read_bioc_json(json.dumps({"documents": [document]}), where="x"))

    assert len(read(2)[0].text) == 600_001
    with pytest.raises(InputError, match=r"begins at character 1200000.*gaps may be 1,048,576 together"):
        read(3)


def test_brat_folder(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.txt").write_bytes("Breast and\ncolon cancer in 🧬 cells\r\n".encode())
    (tmp_path / "sub" / "1.ann").write_text(
        "T1\tDisease 0 6;17 23\tBreast cancer\nT2\tDisease 11 23\tcolon cancer\nT3\tX 7 10;11 16\tand colon\n"
        "N1\tReference T2 MESH:D1\tcolon cancer\nN2\tReference T2 OMIM:2\nR1\tpart Arg1:T1 Arg2:T2\n#1\tNote T1\tx\n"
    )
    (tmp_path / "0.txt").write_text("Nothing")
    counts: Counter[str] = Counter()
    empty, document = read_brat(tmp_path, counts=counts)
    assert (empty.id, empty.text, empty.mentions, document.id) == ("0", "Nothing", (), "sub/1")
    assert bare(document) == [
        (0, 23, "Disease", {"discontinuous": "0-6,17-23"}),
        (7, 16, "X", {}),
        (11, 23, "Disease", {"identifier": "MESH:D1|OMIM:2"}),
    ]
    assert counts["relations ignored"] == counts["notes ignored"] == 1
    write_documents([empty, document], out := tmp_path / "out", "brat")
    assert {path.name for path in out.iterdir()} == {"0.txt", "0.ann", "sub%2F1.txt", "sub%2F1.ann"}
    assert read_documents(out).documents == [empty, document]


@pytest.mark.parametrize(
    ("ann", "message"),
    [
        ("T1\tX 0 4\tb", "1.ann, line 1: characters 0 to 4"),
        ("\nT1 X 0 4 BRCA", "line 2 is no line of brat's"),
        ("N1\tReference T9 x\t", "N line names T9"),
        ("T1\tX 0 2;9 11\tBR x", "line 1: characters"),
        ("T1\tX 0 5\tBRCA1\nT1\tX 0 4\tBRCA", "1.ann, line 2: a second T1"),
        (f"T1\tX 0 {'5' * 5000}\tBRCA1", "1.ann, line 1 is no line of brat's"),
    ],
)
def test_wrong_brat_is_refused(tmp_path: Path, ann: str, message: str):
    (tmp_path / "1.txt").write_text("BRCA1")
    (tmp_path / "1.ann").write_text(ann)
    with pytest.raises(InputError, match=message):
        list(read_brat(tmp_path))
    (tmp_path / "1.txt").unlink()
    with pytest.raises(InputError, match=r"has no 1.txt beside it"):
        list(read_brat(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents(scores=False))
def test_brat_comes_back(document: Document, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("brat")
    write_brat([document], folder)
    (back,) = read_brat(folder)
    assert (back.id, back.text) == (document.id, document.text)
    assert bare(back) == bare(document)


@given(documents(parts=True))
def test_json_lines_come_back_whole(document: Document):
    out = io.StringIO()
    write_json_lines([document, document], out)
    assert list(read_json_lines(out.getvalue(), "x", where="x")) == [document, document]


def test_json_lines_from_elsewhere():
    row = {
        "text": "BRCA1",
        "source": 1,
        "mentions": [{"start": 0, "end": 5, "type": "G", "role": "assayed", "n": 2}],
    }
    counts: Counter[str] = Counter()
    (document,) = read_json_lines(f"\n{json.dumps(row)}\n", "x", where="x", counts=counts)
    assert document == Document("x:2", "BRCA1", (Mention(0, 5, "G", attributes={"role": "assayed"}),))
    assert counts == {"keys 'source' ignored": 1, "keys 'n' of mentions ignored": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 1 is no JSON"),
        ("[]", "line 1: no object with a text"),
        ("[" * 200_000, "line 1 is no JSON"),
        ('{"text": "a", "mentions": [], "entities": [[0, 1, "G"]]}', "line 1: mentions in 'entities'"),
        (
            '{"text": "a", "mentions": [{"start": 0, "end": 2, "type": "G"}]}',
            "line 1: a mention from 0 to 2 is not in",
        ),
        ('{"text": "a", "mentions": [{"start": 0, "end": 1, "type": ""}]}', "no type"),
        ('{"text": "a", "mentions": [{"start": 0, "end": true, "type": "G"}]}', "True is no whole number"),
        ('{"text": "a", "mentions": [{"start": 0, "end": 1}]}', "KeyError: 'type'"),
        ('{"text": "a", "mentions": [{"start": 0, "end": 1, "type": "G", "score": NaN}]}', "score nan"),
        (
            '{"text": "a", "mentions": [{"start": 0, "end": 1, "type": "G", "text": "b"}]}',
            "are 'a', but the mention says 'b'",
        ),
        ('{"text": "\\ud800"}', "half a character"),
        ('{"text": "a", "words": [[0, 2]]}', "check its parts and words"),
    ],
)
def test_wrong_json_lines_are_refused(row: str, message: str):
    with pytest.raises(InputError, match=message):
        list(read_json_lines(row, "x", where="x"))


def test_the_shared_sourcedata_article(shared: Path, tmp_path: Path):
    path = shared / "sourcedata" / "soda-data_test.xml"
    data = read_documents(path)
    assert (data.form, data.counts, len(data.documents)) == ("sourcedata", {}, 6)
    assert data.documents[0].id == "10.1002/eji.200323730/Figure 1"
    root = parse_xml(path.read_bytes())
    elements = list(root.iter("sd-tag"))
    found = [(document, mention) for document in data.documents for mention in document.mentions]
    tags = [(document, mention) for document, mention in found if mention.type != PANEL]
    assert Counter(d.surface(m) for d, m in tags) == Counter(words_of(element) for element in elements)
    assert len(tags) == 187
    assert len(found) - len(tags) == 18
    roles = Counter(mention.attributes.get("role", "") for _, mention in tags)
    assert roles == Counter(element.get("role", "") for element in elements)
    assert (roles["component"], roles["assayed"], roles["intervention"]) == (70, 49, 40)
    assert Counter(mention.type for _, mention in tags) == {
        "GENEPROD": 91, "SUBCELLULAR": 26, "CELL_TYPE": 25, "SMALL_MOLECULE": 18, "EXP_ASSAY": 12, "CELL": 5,
        "UNTYPED": 5, "CELL_LINE": 3, "UNDEFINED": 2,
    }  # fmt: skip
    for document in data.documents:
        assert not re.search(r"\s\s|^\s|\s$", document.text)
    panels = [document.surface(mention) for document, mention in found if mention.type == PANEL]
    assert panels == [words_of(element) for element in root.iter("sd-panel")]
    write_documents(data.documents, tmp_path / "x.jsonl.gz", "jsonl")
    assert read_documents(tmp_path / "x.jsonl.gz").documents == data.documents


def test_nested_tags_and_blocks_of_sourcedata():
    tag = '<sd-tag entity_type="gene" role="assayed" id="t">'
    xml = (
        f'<articles><article doi="10.1/x"><fig id="9"><sd-panel panel_id="1"><p>A {tag} <i>Il</i>-2<!-- c -->R '
        f"<sd-tag>alpha</sd-tag> </sd-tag></p><p>next{tag}</sd-tag></p></sd-panel><sd-panel>B</sd-panel></fig>"
        "<fig><label>Fig 2</label></fig></article></articles>"
    )
    counts: Counter[str] = Counter()
    (document,) = read_sourcedata(xml.encode(), where="x", counts=counts)
    assert (document.id, document.text) == ("10.1/x/9", "A Il-2R alpha next B")
    assert [(document.surface(mention), mention.type) for mention in document.mentions] == [
        ("A Il-2R alpha next", "PANEL"),
        ("Il-2R alpha", "GENEPROD"),
        ("alpha", "UNTYPED"),
        ("B", "PANEL"),
    ]
    assert counts["tags without text left out"] == 1
    with pytest.raises(InputError, match="no <sd-panel> in it"):
        list(read_sourcedata(b"<article/>", where="x"))


@pytest.mark.parametrize(
    ("category", "entity_type", "expected"),
    [
        ("assay", "", "EXP_ASSAY"), ("disease", "", "DISEASE"), ("entity", "disease", "DISEASE"),
        ("entity", "organism", "ORGANISM"), ("entity", "tissue", "TISSUE"), ("entity", "geneprod", "GENEPROD"),
        ("time", "", "TIME"), ("entity", "", "UNTYPED"), ("entity", "cell", "CELL"),
    ],
)  # fmt: skip
def test_types_of_sourcedata(category: str, entity_type: str, expected: str):
    assert type_of({"category": category, "entity_type": entity_type}) == expected
