"""CoNLL files: schemes, layouts, wrong lines, and words and chunks that come back."""

import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import documents

from biolm.annotations.conll import (
    NOT_AT_WORDS,
    OVERLAPPING,
    PANELS,
    WORDLESS,
    read_conll,
    tags_of,
    units_of,
    write_conll,
)
from biolm.annotations.read import read_documents
from biolm.annotations.tagged_words import SCHEMES, SENTENCE, document_of_sentences, scheme_of
from biolm.chunks import chunks_of
from biolm.errors import InputError
from biolm.mentions import Document, Mention

FILE = "A\tO\n-\tO\nT\tB-Disease\ncell\tI-Disease\n.\tO\n\nBRCA1\tB-Gene\n"


def read(text: str, **options) -> list[Document]:
    return list(read_conll(text, "x", where="x.tsv", **options))


def said(document: Document) -> list[tuple[str, str]]:
    return [(document.surface(mention), mention.type) for mention in document.mentions]


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        FILE.replace("\n", "\r\n"),
        FILE.replace("\t", " "),
        FILE.replace("\t", "\tNN\t"),
        f"\n\n{FILE}\n\n",
        FILE.rstrip(),
    ],
)
def test_tabs_spaces_more_columns_and_line_ends_are_read_the_same(text: str):
    first, second = read(text)
    assert (first.id, first.text, first.words) == (
        "x:1",
        "A-T cell.",
        ((0, 1), (1, 2), (2, 3), (4, 8), (8, 9)),
    )
    assert said(first) == [("T cell", "Disease")]
    assert (second.id, said(second)) == ("x:2", [("BRCA1", "Gene")])
    assert read(text, spacing="words")[0].text == "A - T cell ."


def test_documents_comments_and_ids():
    text = f"-DOCSTART-\tO\n\n{FILE}\n-DOCSTART-\tO\n\n# id = PMID 7\n#\tO\nb\tO\n"
    first, second = read(text)
    assert first.text == "A-T cell. BRCA1"
    assert [(part.start, part.end, part.name) for part in first.parts] == [
        (0, 9, "sentence"),
        (10, 15, "sentence"),
    ]
    assert said(first) == [("T cell", "Disease"), ("BRCA1", "Gene")]
    assert (first.id, second.id, second.text) == ("x:1", "PMID 7", "#b")
    assert read("# text of it\na O\n# O\n")[0].text == "a #"


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([["O", "O"]], "IOB2"),
        ([["B-X", "I-X", "O", "B-Y"]], "IOB2"),
        ([["I-X", "I-X", "B-X", "O", "I-Y"]], "IOB1"),
        ([["B-X", "O", "I-X"]], "IOB2"),
        ([["B-X", "E-X", "S-Y"]], "IOBES"),
        ([["B-X", "L-X", "U-Y"]], "IOBES"),
        ([["X", "O", "cell_line"]], "IO"),
        ([["B", "I", "O"]], "IOB2"),
    ],
)
def test_the_scheme_is_found(rows: list[list[str]], scheme: str):
    assert scheme_of(rows) == scheme


def test_plain_tags_are_types_even_where_they_look_prefixed():
    (document,) = read("a\tB-cell\nb\tB-cell\nc\tO\nd\tT-cell\n", scheme="IO")
    assert said(document) == [("a b", "B-cell"), ("d", "T-cell")]
    assert said(read("a\tGene\nb\tGene\nc\tCell\nd\tO\n")[0]) == [("a b", "Gene"), ("c", "Cell")]
    assert said(read("a\tB\nb\tI\nc\tO\n")[0]) == [("a b", "ENTITY")]


def test_chunks_without_b_are_counted_and_left_out_where_strict():
    text = "a\tB-X\nb\tI-Y\nc\tO\nd\tI-X\n"
    counts: Counter[str] = Counter()
    assert said(read(text, counts=counts)[0]) == [("a", "X"), ("b", "Y"), ("d", "X")]
    assert counts == {"chunks that begin with I-": 2}
    assert said(read(text, strict=True)[0]) == [("a", "X")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nb\n", r"x.tsv, line 2: no word with a tag"),
        ("a\tO\n\tO\n", r"x.tsv, line 2: no word"),
        ("a\tO\nb\t\n", r"x.tsv, line 2: no word"),
        ("\n \n", "x.tsv holds no words"),
        ("a\tB-X\nb\tGene\n", "with a prefix .* and without"),
        ("Plain prose of words.", r"plain tags \(words.\), and no O among them"),
        ("\n".join(f"a\tw{i}" for i in range(101)), "101 different plain tags"),
    ],
)
def test_wrong_files_are_refused_with_their_line(text: str, message: str):
    with pytest.raises(InputError, match=message):
        read(text)


def test_what_such_a_file_cannot_say_is_counted():
    text = "BRCA1-mutated cells"
    mentions = [Mention(0, 5, "G"), Mention(0, 13, "M"), Mention(2, 5, "G"), Mention(14, 19, "C")]
    out = io.StringIO()
    counts = write_conll([Document("1", text, tuple(mentions))], out)
    assert counts == {OVERLAPPING: 1, NOT_AT_WORDS: 1}
    assert out.getvalue() == "BRCA1\tB-M\n-\tI-M\nmutated\tI-M\ncells\tB-C\n\n"


def test_panels_leave_the_mentions_in_them_their_place():
    document = Document("1", "BRCA1 binds", (Mention(0, 5, "G"), Mention(0, 11, "PANEL")))
    out = io.StringIO()
    assert write_conll([document, Document("2", " ")], out) == {PANELS: 1, WORDLESS: 1}
    assert out.getvalue() == "BRCA1\tB-G\nbinds\tO\n\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# text = a\tb\na\tO\n", ["a"]),
        ("# sent_id = 5\n# O\na O\n", ["#", "a"]),
        ("# O\n#\tO\na\tO\n", ["#", "a"]),
        ("# a\tb\na\tN\tO\n", ["a"]),
        ("# Gene\na Gene\nb O\n", ["#", "a", "b"]),
        ("# Comment\na B-Gene\n", ["a"]),
        ("# text of O\na O\n", ["a"]),
        ("# O\n# B-X\n", ["#", "#"]),
    ],
)
def test_comments_are_told_from_the_word_that_is_a_hash(text: str, words: list[str]):
    (document,) = read(text)
    assert [document.text[start:end] for start, end in document.words] == words


@pytest.mark.parametrize(
    ("comment", "id_"),
    [
        ("# ideal case", "x:1"),
        ("# id card 5", "x:1"),
        ("# id = A 1", "A 1"),
        ("# sent_id: 7", "7"),
        ("# newdoc id = d", "d"),
        ("# newdoc id d", "d"),
    ],
)
def test_only_a_comment_that_says_an_id_gives_one(comment: str, id_: str):
    assert read(f"{comment}\na\tO\n")[0].id == id_


_ROWS = st.lists(st.sampled_from(["a", "B7", "#", "β", "-"]), min_size=1, max_size=4)


@given(st.lists(st.lists(_ROWS, min_size=1, max_size=3), min_size=1, max_size=5), st.booleans())
def test_documents_of_one_and_of_several_sentences_come_back(found: list[list[list[str]]], with_ids: bool):
    documents = [
        document_of_sentences(f"x:{number}", [(row, ["B-X"] * len(row)) for row in rows], scheme="IOB2")
        for number, rows in enumerate(found, 1)
    ]
    out = io.StringIO()
    write_conll(documents, out, with_ids=with_ids)
    assert read(out.getvalue()) == documents
    assert all(part.name == SENTENCE for document in documents for part in document.parts)


def test_sentences_and_ids_come_back():
    documents = read(f"-DOCSTART-\tO\n\n# id = one\n{FILE}\n-DOCSTART-\tO\n\n# id = two\nb\tO\n")
    out = io.StringIO()
    write_conll(documents, out, with_ids=True)
    assert read(out.getvalue()) == documents


@given(st.data(), st.sampled_from(SCHEMES))
def test_words_and_chunks_come_back_in_every_scheme(data: st.DataObject, scheme: str):
    document = data.draw(documents(scores=False, attributes=()))
    words = units_of(document.text)
    if not words:
        return
    out = io.StringIO()
    counts = write_conll([document], out, scheme=scheme)
    (back,) = read(out.getvalue(), scheme=scheme)
    assert [back.text[a:b] for a, b in back.words] == [document.text[a:b] for a, b in words]
    tags = tags_of(document, words)
    assert len(chunks_of(tags)) + sum(counts.values()) == len(document.mentions)
    if scheme != "IO":
        assert tags_of(back, list(back.words)) == tags


@given(
    st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1, max_size=6), min_size=1)
)
def test_tags_come_back_as_the_chunks_that_they_are(rows: list[list[str]]):
    text = "\n".join("".join(f"w\t{tag}\n" for tag in row) for row in rows)
    back = read(text, scheme="IOB2")
    assert [chunks_of(tags_of(document, list(document.words))) for document in back] == [
        chunks_of(row) for row in rows
    ]


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("NCBI-disease-IOB", {"train": (5424, 5134), "devel": (923, 787), "test": (940, 960)}),
        ("BC5CDR-chem-IOB", {"train": (4560, 5203), "devel": (4581, 5347), "test": (4797, 5385)}),
    ],
)
def test_the_shared_corpora_have_the_counts_that_are_published(shared: Path, folder: str, counts: dict):
    for split, expected in counts.items():
        data = read_documents(shared / "ner" / folder, split=split)
        assert (len(data.documents), data.mentions) == expected
        assert (data.form, data.counts) == ("conll", {})
        assert data.documents[0].id == f"{split}:1"
