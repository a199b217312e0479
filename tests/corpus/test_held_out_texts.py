import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.corpus.held_out_texts import RUN, SHORTEST, HeldOutTexts
from biolm.corpus.holdout import read_held_out
from biolm.corpus.minhash import words_of
from biolm.errors import InputError


def words(count: int, name: str = "w") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def held_out(folder: Path, content: str) -> HeldOutTexts:
    path = folder / "held.txt"
    path.write_text(content, encoding="utf-8")
    return HeldOutTexts([path])


def has(passage: list[str], text: list[str]) -> bool:
    length = min(len(text), RUN)
    runs = {tuple(text[i : i + length]) for i in range(len(text) - length + 1)}
    return any(tuple(passage[i : i + length]) in runs for i in range(len(passage) - length + 1))


@given(st.integers(0, 1 << 30), st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_matches_are_those_of_a_search(tmp_path_factory: pytest.TempPathFactory, seed: int, block: int):
    chance = random.Random(seed)
    texts = [chance.choices("xy", k=chance.randint(SHORTEST, 20)) for _ in range(3)]
    passages = [chance.choices("xy", k=chance.randint(0, 40)) for _ in range(12)]
    held = held_out(tmp_path_factory.mktemp("held"), "\n".join(map(" ".join, texts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biolm.corpus.held_out_texts.BLOCK_WORDS", block)
        found = held.matches([" ".join(passage) for passage in passages])
    assert found.tolist() == [any(has(passage, text) for text in texts) for passage in passages]


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not(tmp_path: Path):
    text = words(40)
    held = held_out(tmp_path, " ".join(text))
    for count, expected in ((RUN, True), (RUN - 1, False)):
        passage = words(30, "x") + text[20 : 20 + count] + words(30, "y")
        assert held.matches([" ".join(passage)]).tolist() == [expected]


def test_a_run_does_not_reach_into_the_next_passage(tmp_path: Path):
    text = words(RUN)
    held = held_out(tmp_path, " ".join(text))
    for cut in range(1, RUN):
        assert not held.matches([" ".join(text[:cut]), "", " ".join(text[cut:])]).any()


def test_a_short_text_matches_as_a_whole_only(tmp_path: Path):
    text = words(SHORTEST + 1)
    held = held_out(tmp_path, "\n".join([" ".join(text), "no serious adverse events were observed"]))
    passages = [
        text,
        ["x", *text, "y"],
        text[:-1],
        text[1:],
        "no serious adverse events were observed".split(),
    ]
    assert held.matches(list(map(" ".join, passages))).tolist() == [True, True, False, False, False]


def test_spacing_punctuation_and_case_do_not_matter(tmp_path: Path):
    held = held_out(
        tmp_path, "".join(f"{token}\tO\n" for token in "( IL - 6 ) , a b c d e f g h i j k l".split())
    )
    assert held.matches(["(IL-6), A.B.C.D.E.F g h i j k l"]).tolist() == [True]


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_no_text_of_pubtator_is_lost_to_marks_and_line_separators(tmp_path: Path, mark: str):
    title, abstract = " ".join(words(15, "t")), " ".join(words(10, "a")) + "\u2028" + " ".join(words(10, "b"))
    held = held_out(tmp_path, f"{mark}1|t|{title}\r\n1|a|{abstract}\r\n1\t0\t4\tword\tGene\r\n")
    assert held.matches([title, abstract, " ".join(words(10, "b"))]).tolist() == [True, True, False]


SENTENCE = "the aim was to see what # stood at the head of a line"


@pytest.mark.parametrize(
    "rows",
    [
        [f"{word}\tO" for word in SENTENCE.split()],
        ["-DOCSTART- -X- O", "", *(f"{word} NN B-NP B-Gene" for word in SENTENCE.split())],
        ["# sent_id = 1", *(f"{n}\t{word}\t_\tNOUN" for n, word in enumerate(SENTENCE.split(), 1))],
        ["# newdoc", f"# text = {SENTENCE}", *(f"{n}\t{c}\t_" for n, c in enumerate(SENTENCE))],
        ["pmid\tlabel\ttext", f"1\tyes\t{SENTENCE}", "2\tno\tA word."],
        [f"{SENTENCE}\t1"],
        [f"O\t{n}\t{n + 3}\t{word}" for n, word in enumerate(SENTENCE.split())],
        [f"{n}\t{n + 3}\t{word}\tB-Gene" for n, word in enumerate(SENTENCE.split())],
        [f"S1\t{n}\t{word}\tb" for n, word in enumerate(SENTENCE.split())],
        [f"{word} B_Gene " for word in SENTENCE.split()],
        [f"{word} o" for word in [*SENTENCE.split(), "2,3,7,8-tetrachlorodibenzo-p-dioxin-a-b-c-d"][:-1]],
        [f"O {word}" for word in SENTENCE.split()],
        [
            "# text = Another sentence of some words.",
            "1\tAnother\tDET",
            "",
            *(f"1\t{w}\tX" for w in SENTENCE.split()),
        ],
        [f"PMC17|t|{SENTENCE}"],
        ["# a remark", SENTENCE],
        [f"17|t|{SENTENCE}", "17|a|", "17\t0\t3\tthe\tGene"],
    ],
    ids=[
        *(
            "IOB",
            "CoNLL-2003",
            "CoNLL-U",
            "CoNLL-U written out",
            "TSV",
            "text and label",
            "tag and places first",
        ),
        *(
            "places first",
            "sentence first",
            "odd tags",
            "small tags",
            "tag first",
            "some written out",
            "PubTator of PMC",
        ),
        *("plain", "PubTator"),
    ],
)
def test_a_text_is_found_in_each_layout(tmp_path: Path, rows: list[str]):
    held = held_out(tmp_path, "\n".join(rows))
    assert held.matches([SENTENCE, " ".join(SENTENCE.split()[1:])]).tolist() == [True, False]


def test_cells_of_commas_are_texts(tmp_path: Path):
    (tmp_path / "a.csv").write_text(f'id,text,label\n1,"{SENTENCE}",yes\n2,"A, word",no\n')
    assert HeldOutTexts([tmp_path / "a.csv"]).matches([SENTENCE, "x " + SENTENCE[4:]]).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.xml", "a.txt.gz"])
def test_files_of_other_layouts_are_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_text(f'{{"text": "{SENTENCE}"}}\n')
    with pytest.raises(InputError, match="is not read; give texts one a line, a table, PubTator or CoNLL"):
        HeldOutTexts([tmp_path / name])


def test_it_is_pickled_for_workers(tmp_path: Path):
    held = held_out(tmp_path, " ".join(words(20)))
    again = pickle.loads(pickle.dumps(held))  # noqa: S301
    passages = [" ".join(words(20)), " ".join(words(20, "x"))]
    assert np.array_equal(again.matches(passages), held.matches(passages))
    assert again.matches([]).shape == (0,)


@pytest.mark.parametrize("content", ["", "\n\n", "Case report\n", "A\tO\nB\tO\n"])
def test_a_file_without_texts_is_refused(tmp_path: Path, content: str):
    with pytest.raises(InputError, match=rf"held\.txt has no text of {SHORTEST} words"):
        held_out(tmp_path, content)


def test_real_test_sentences_are_found_in_their_own_abstracts(tmp_path: Path, shared: Path):
    """NCBI-disease twice: as tokens, and as the abstracts that the tokens were cut from."""
    held = HeldOutTexts([shared / "ner" / "NCBI-disease-IOB" / "test.tsv"])
    original = (shared / "ner" / "NCBI-disease-original" / "NCBItestset_corpus.txt").read_text("utf-8")
    abstracts = [line.split("|", 2)[2] for line in original.split("\n") if "|a|" in line]
    assert len(abstracts) == 100
    assert held.matches(abstracts).all()
    assert not held.matches([" ".join(reversed(words_of(text))) for text in abstracts]).any()


@pytest.mark.parametrize(
    "line",
    [
        "PMC6336313 10.1371/x",
        "10.1371/x PMC6336313",
        "10.1371/x;10.1371/y",
        "10.1371/x, doi:10.1371/y",
        "PMC1 x",
        "x",
    ],
)
def test_a_line_of_more_than_an_id_is_refused(tmp_path: Path, line: str):
    (tmp_path / "ids.txt").write_text(f"17\n{line}\n")
    with pytest.raises(
        InputError, match=r"ids\.txt, line 2: .* is no PMID, PMCID or DOI; give one id a line"
    ):
        read_held_out(tmp_path / "ids.txt")


def test_a_list_of_ids_may_begin_with_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "ids.txt"
    path.write_text("\ufeff23402\nPMC12\n10.1000/ABC, # a DOI\n10.1000/x#1\n", encoding="utf-8")
    assert read_held_out(path) == ("doi:10.1000/abc", "doi:10.1000/x#1", "pmcid:PMC12", "pmid:23402")
