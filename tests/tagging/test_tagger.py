"""Tagging: the stock model's scores, whatever the packing and the windows; offsets in the text; roles without gold."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.errors import ConfigError, ModelError
from biolm.finetuning.parts import save_tagger
from biolm.finetuning.windows import label_windows
from biolm.mentions import Document, Mention, Part
from biolm.model.device import resolve_inference_precision
from biolm.model.masked_lm import AskedRow
from biolm.model.token_classifier import load_token_classifier, row_scores
from biolm.tagging.chain import Chain
from biolm.tagging.labels import LabelSet
from biolm.tagging.settings import TaggerSettings
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import PANEL, TASKS, examples
from biolm.tokens.tokenizer import load_tokenizer
from conftest import sentences

LABELS = ("O", "B-GENEPROD", "I-GENEPROD", "B-TISSUE", "I-TISSUE")
FAMILIES = ("roberta", "bert", "modernbert")


def tagger_of(folder: Path, labels=LABELS, *, row_tokens: int = 512, seed: int = 3, **given) -> Tagger:
    """A tagger with a new head on a tiny random base."""
    model = load_token_classifier(folder, labels=labels, seed=seed)
    return Tagger(model, load_tokenizer(str(folder)), TaggerSettings(**given), max_row_tokens=row_tokens)


@pytest.fixture
def tagger(tiny_bert: Path) -> Tagger:
    return tagger_of(tiny_bert)


def stock_scores(folder: Path, tagger: Tagger, text: str) -> np.ndarray:
    """(tokens, labels) of a text by the stock forward pass."""
    from transformers import AutoModelForTokenClassification

    stock = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=len(LABELS), attn_implementation="eager"
    ).eval()
    stock.load_state_dict(tagger.model.state_dict())
    vocabulary = tagger.tokenizer.vocabulary
    ids = [*vocabulary.prefix, *tagger.tokenizer.encode([text])[0], *vocabulary.suffix]
    with torch.inference_mode():
        return stock(torch.tensor([ids])).logits[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_stock_models(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    tagger = tagger_of(folder)
    texts = sentences(7, seed=4, longest=40)
    cuts = list(tagger.cut(texts))
    for text, cut, scores in zip(texts, cuts, tagger.scores(cuts), strict=True):
        stock = stock_scores(folder, tagger, text)[len(tagger.tokenizer.vocabulary.prefix) :]
        np.testing.assert_allclose(scores, stock[cut.units.first], atol=2e-5)


@pytest.mark.parametrize("row_tokens", [1, 60, 5000])
def test_rows_change_no_mention(row_tokens: int, tiny_roberta: Path):
    texts = sentences(20, seed=1)
    few, many = tagger_of(tiny_roberta, row_tokens=200), tagger_of(tiny_roberta, row_tokens=row_tokens)
    for ours, theirs in zip(few.tag(texts), many.tag(texts), strict=True):
        assert [dataclasses.replace(each, score=None) for each in ours] == [
            dataclasses.replace(each, score=None) for each in theirs
        ]
        assert [each.score for each in ours] == pytest.approx([each.score for each in theirs], abs=1e-5)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[AskedRow]:
    """The rows that taggers compute from here on."""
    seen: list[AskedRow] = []

    def scores(model, row):
        seen.append(row)
        return row_scores(model, row)

    monkeypatch.setattr("biolm.tagging.tagger.row_scores", scores)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_changes_scores_little(
    family: str, request: pytest.FixtureRequest, rows: list[AskedRow]
):
    full = tagger_of(request.getfixturevalue(f"tiny_{family}"))
    half = Tagger(full.model, full.tokenizer, precision="bf16", max_row_tokens=300)
    cuts = list(full.cut(sentences(30, seed=5)))
    ours = half.scores(cuts)
    assert len(rows) > 1
    assert {len(row.input_ids) % 128 for row in rows} == {0}  # few shapes, few kernels to compile
    theirs = full.scores(cuts)
    for each, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(each, other, atol=0.1)
    assert any((each != other).any() for each, other in zip(ours, theirs, strict=True))


def test_what_fills_a_row_is_no_longer_than_a_model_allows(tiny_bert: Path, rows: list[AskedRow]):
    full = tagger_of(tiny_bert)
    full.model.config.max_position_embeddings = 40
    half = Tagger(full.model, full.tokenizer, precision="bf16")
    half.scores(list(half.cut(["BRCA1 binds BARD1."])))
    assert rows[0].segments.tolist()[1:] == [40]


def test_auto_is_half_precision_where_a_cpu_has_matrix_units(tagger: Tagger):
    units = torch.cpu.get_capabilities().get("amx_bf16", False)
    own = Tagger(tagger.model, tagger.tokenizer, precision="auto")
    assert own.precision == ("bf16" if units else "fp32")
    assert resolve_inference_precision("fp32", torch.device("cpu")) == "fp32"


def test_a_long_text_is_tagged_like_its_windows(tiny_bert: Path):
    tagger = tagger_of(tiny_bert, max_tokens=32, overlap=10)
    text = " ".join(sentences(30, seed=2))
    (cut,) = tagger.cut([text])
    assert len(cut.windows) > 10
    (scores,) = tagger.scores([cut])
    vocabulary = tagger.tokenizer.vocabulary
    for window in cut.windows:
        alone = tagger_of(tiny_bert)
        ids = cut.window_ids(window, vocabulary)
        model = alone.model
        from biolm.model.masked_lm import AskedRow
        from biolm.model.token_classifier import row_scores

        own = row_scores(model, AskedRow(ids, np.array([len(ids)]), cut.asked(window, vocabulary)))
        np.testing.assert_allclose(scores[window.first_unit : window.end_unit], own.numpy(), atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=80),
        st.sampled_from(
            [
                "a",
                " ",
                "  \n ",
                "😀" * 30,
                "שלום עולם",
                "x" * 400,
                "\ufffd",
            ]
        ),
    )
)
def test_offsets_are_of_the_text_and_never_inside_a_word(text: str, tiny_bert: Path):
    tagger = _cached(tiny_bert)
    (mentions,) = tagger.tag([text])
    before = 0
    for mention in mentions:
        assert before <= mention.start < mention.end <= len(text)
        before = mention.end
        assert mention.type in ("GENEPROD", "TISSUE")
        assert mention.score is not None
        assert 0 < mention.score <= 1
        for place in (mention.start, mention.end):
            if 0 < place < len(text):
                assert not (text[place - 1 : place + 1].isalnum() and text[place - 1 : place + 1].isascii())


_kept: dict[Path, Tagger] = {}


def _cached(folder: Path) -> Tagger:
    """So that hypothesis loads one model."""
    if folder not in _kept:
        _kept[folder] = tagger_of(folder, max_tokens=24, overlap=6)
    return _kept[folder]


def test_il6_and_stat3_can_be_two_mentions(tagger: Tagger):
    (cut,) = tagger.cut(["IL-6/STAT3"])
    scores = np.full((len(cut.units), len(LABELS)), -5.0)
    for unit, label in enumerate(["B-GENEPROD", "I-GENEPROD", "I-GENEPROD", "O", "B-GENEPROD"]):
        scores[unit, LABELS.index(label)] = 5.0
    assert [(each.start, each.end) for each in tagger.mentions(cut, scores)] == [(0, 4), (5, 10)]


def test_no_texts_no_mentions(tagger: Tagger):
    assert list(tagger.tag([])) == []
    assert list(tagger.tag(["", " "])) == [[], []]


def legend() -> Document:
    text = "(A) STAT3 binds p53 in the liver. (B) IL-6 was added."
    return Document(
        "fig1",
        text,
        (
            Mention(0, 33, PANEL, attributes={"panel_id": "a"}),
            Mention(4, 9, "GENEPROD", attributes={"role": "intervention"}),
            Mention(16, 19, "GENEPROD", attributes={"role": "assayed"}),
            Mention(27, 32, "TISSUE", attributes={"role": "assayed"}),
            Mention(34, 53, PANEL, attributes={"panel_id": "b"}),
            Mention(38, 42, "GENEPROD", attributes={"role": "component"}),
        ),
    )


def test_the_four_tasks_see_what_is_theirs():
    ner = list(examples([legend()], TASKS["NER"]))
    assert [each.document.id for each in ner] == ["fig1#a", "fig1#b"]
    surfaces = [[each.document.surface(m) for m in each.document.mentions] for each in ner]
    assert surfaces == [["STAT3", "p53", "liver"], ["IL-6"]]
    (panels,) = examples([legend()], TASKS["PANELIZATION"])
    assert [(m.start, m.end, m.type) for m in panels.document.mentions] == [
        (0, 1, "PANEL_START"),
        (34, 35, "PANEL_START"),
    ]
    roles = list(examples([legend()], TASKS["GENEPROD_ROLES"]))
    assert [[(m.start, m.type) for m in each.document.mentions] for each in roles] == [
        [(4, "CONTROLLED_VAR"), (16, "MEASURED_VAR")],
        [],
    ]
    assert [len(each.entities) for each in roles] == [2, 1]


def test_gold_roles_never_reach_the_input(tiny_bert: Path):
    tagger = tagger_of(
        tiny_bert,
        ("O", "B-CONTROLLED_VAR", "I-CONTROLLED_VAR", "B-MEASURED_VAR", "I-MEASURED_VAR"),
        task="GENEPROD_ROLES",
    )
    changed = []
    for role in ("intervention", "assayed", "component", ""):
        document = dataclasses.replace(
            legend(),
            mentions=tuple(
                dataclasses.replace(each, attributes={**each.attributes, "role": role})
                for each in legend().mentions
            ),
        )
        given_ = list(examples([document], TASKS["GENEPROD_ROLES"]))
        assert all(not entity.attributes for each in given_ for entity in each.entities)
        cuts = list(tagger.cut([each.document.text for each in given_], [each.entities for each in given_]))
        changed.append([cut.shown.tolist() for cut in cuts])
    assert all(each == changed[0] for each in changed)
    mask = tagger.tokenizer.vocabulary.mask_id
    (first, second) = cuts
    assert (first.shown == mask).sum() >= 2  # component or not: every gene product is hidden
    assert (second.shown == mask).sum() >= 1


def test_entities_are_hidden_at_use_as_at_training(tiny_bert: Path):
    labels = ("O", "B-CONTROLLED_VAR", "I-CONTROLLED_VAR", "B-MEASURED_VAR", "I-MEASURED_VAR")
    tagger = tagger_of(tiny_bert, labels, task="GENEPROD_ROLES")
    text = "STAT3 binds p53 in neurons"
    entities = [Mention(0, 5, "GENEPROD"), Mention(12, 15, "GENEPROD"), Mention(19, 26, "TISSUE")]
    (told,) = tagger.tag([text], [entities])
    assert all(each.type in ("CONTROLLED_VAR", "MEASURED_VAR") for each in told)
    assert {(each.start, each.end) for each in told} <= {(0, 5), (12, 15)}
    trained = []
    for role in ("intervention", "assayed", "component"):
        gold = [dataclasses.replace(each, attributes={"role": role}) for each in entities]
        (example,) = examples([Document("d", text, tuple(gold))], TASKS["GENEPROD_ROLES"])
        windows = label_windows([example], LabelSet(labels), tagger.tokenizer, content_tokens=100, overlap=10)
        trained.append(windows.ids.tolist())
    (cut,) = tagger.cut([text], [entities[:2]])  # as `tag` does: of the task's types
    used = cut.window_ids(cut.windows[0], tagger.tokenizer.vocabulary).tolist()
    assert trained == [used] * 3
    assert used.count(tagger.tokenizer.vocabulary.mask_id) >= 2


class Fixed:
    """A tagger that finds what it is told, by text; its task as given."""

    def __init__(self, task: str, found: dict[str, list[Mention]]) -> None:
        self.task, self.found = TASKS[task], found
        self.saw: list[tuple[str, list[Mention]]] = []

    def tag(self, texts, entities=None):
        texts = list(texts)
        for number, text in enumerate(texts):
            own = list(entities[number]) if entities is not None else []
            self.saw.append((text, own))
            yield list(self.found.get(text, []))


def test_the_chain_goes_from_panels_to_entities_to_roles():
    text = "Title of it\n(A) STAT3 binds p53. (B) IL-6 was added."
    document = Document("d", text, parts=(Part(0, 11, "title"), Part(12, len(text), "figure_legend")))
    panels = Fixed(
        "PANELIZATION", {text[12:]: [Mention(0, 1, "PANEL_START", 0.9), Mention(21, 22, "PANEL_START", 0.8)]}
    )
    entities = Fixed(
        "NER",
        {
            "(A) STAT3 binds p53.": [Mention(4, 9, "GENEPROD", 0.7), Mention(16, 19, "GENEPROD", 0.6)],
            "(B) IL-6 was added.": [Mention(4, 8, "SMALL_MOLECULE", 0.5)],
        },
    )
    roles = Fixed("GENEPROD_ROLES", {"(A) STAT3 binds p53.": [Mention(4, 9, "CONTROLLED_VAR", 0.4)]})
    (found,) = Chain([entities, panels, roles]).tag([document])  # type: ignore[list-item]
    assert [(each.type, found.surface(each)) for each in found.mentions] == [
        ("PANEL", "(A) STAT3 binds p53."),
        ("GENEPROD", "STAT3"),
        ("GENEPROD", "p53"),
        ("PANEL", "(B) IL-6 was added."),
        ("SMALL_MOLECULE", "IL-6"),
    ]
    assert found.mentions[1].attributes == {"role": "CONTROLLED_VAR", "role_score": "0.4000"}
    assert found.mentions[2].attributes == {}
    assert "Title of it\n" in [text for text, _ in entities.saw]
    assert panels.saw == [(text[12:], [])]


def test_a_chain_of_two_models_of_entities_is_refused():
    with pytest.raises(ConfigError, match="2 of the models find entities"):
        Chain([Fixed("NER", {}), Fixed("any", {})])  # type: ignore[list-item]


def test_panels_and_entities_that_a_document_has_are_kept_once():
    first, second = "(A) STAT3 binds p53.", "(A) IL-6 was added."
    text = f"{first}\n{second}"
    own = (
        Mention(0, 20, PANEL),
        Mention(4, 9, "GENEPROD"),
        Mention(16, 25, "GENEPROD"),  # across two parts
        Mention(21, 40, PANEL),
    )
    parts = (Part(0, 20, "figure_legend"), Part(21, 40, "figure_legend"))
    roles = Fixed("GENEPROD_ROLES", {first: [Mention(4, 9, "MEASURED_VAR", 0.9)]})
    (found,) = Chain([roles]).tag([Document("d", text, own, parts)])  # type: ignore[list-item]
    assert [(each.start, each.end, each.type) for each in found.mentions] == [
        (each.start, each.end, each.type) for each in own
    ]
    assert [each.attributes.get("role") for each in found.mentions] == [None, "MEASURED_VAR", None, None]
    entities = Fixed("NER", {})
    (again,) = Chain([entities]).tag([Document("d", text, own, parts)])  # type: ignore[list-item]
    assert [each.type for each in again.mentions] == [PANEL, PANEL]


def test_examples_have_ids_of_their_own_and_mentions_across_panels_are_counted():
    text = "(A) STAT3 binds p53. (B) IL-6."
    own = (
        Mention(0, 20, PANEL, attributes={"panel_id": "2"}),
        Mention(4, 9, "GENEPROD"),
        Mention(16, 24, "GENEPROD"),
        Mention(21, 30, PANEL),
        Mention(25, 29, "OTHER"),
    )
    lost: Counter[str] = Counter()
    found = list(examples([Document("d", text, own), Document("d#2", text, own)], TASKS["NER"], lost))
    assert len({each.document.id for each in found}) == len(found) == 4
    assert lost == {"across panels": 2}
    (plain,) = examples([Document("d", text, own)], TASKS["any"])
    assert [each.type for each in plain.document.mentions] == ["GENEPROD", "GENEPROD", "OTHER"]


def test_a_panel_that_begins_with_a_space_begins_with_its_first_word():
    document = Document("d", "x  (A) y", (Mention(1, 8, PANEL),))
    (example,) = examples([document], TASKS["PANELIZATION"])
    assert [(each.start, each.end) for each in example.document.mentions] == [(3, 4)]


@pytest.mark.parametrize(
    "said",
    [
        '{"version": 1, "max_tokens": 1}',
        '{"version": 1, "max_tokens": true}',
        '{"version": 1, "overlap": -1}',
        '{"version": 1, "task": 5}',
        '{"version": 1, "task": "POS"}',
        '{"version": 1, "scheme": "BIO"}',
        '{"version": 1, "labels": []}',
        '{"version": 2}',
        "[]",
        "no JSON",
    ],
)
def test_settings_that_cannot_be_are_one_line(said: str, tiny_bert: Path, tmp_path: Path):
    model = load_token_classifier(tiny_bert, labels=LABELS)
    save_tagger(model, load_tokenizer(str(tiny_bert)), tmp_path / "model", TaggerSettings())
    (tmp_path / "model/tagger.json").write_text(said)
    with pytest.raises(ModelError, match=r"tagger\.json") as caught:
        Tagger.load(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)


def test_roles_of_nothing_are_none(tiny_bert: Path):
    model = load_token_classifier(tiny_bert, labels=("O", "B-CONTROLLED_VAR", "I-CONTROLLED_VAR"), crf=True)
    tagger = Tagger(model, load_tokenizer(str(tiny_bert)), TaggerSettings(task="GENEPROD_ROLES"))
    assert list(tagger.tag(["", " "], [[], [Mention(0, 1, "GENEPROD")]])) == [[], []]


def test_a_masked_language_model_is_no_tagger(tiny_bert: Path):
    with pytest.raises(ModelError, match="no token classifier"):
        Tagger.load(str(tiny_bert))


def test_a_saved_tagger_is_the_same_and_stock_reads_it(tiny_roberta: Path, tmp_path: Path):
    tagger = tagger_of(tiny_roberta, max_tokens=64, overlap=16)
    texts = sentences(5, seed=9)
    before = list(tagger.tag(texts))
    save_tagger(tagger.model, tagger.tokenizer, tmp_path / "model", tagger.settings)
    again = Tagger.load(str(tmp_path / "model"))
    assert again.settings == tagger.settings
    assert list(again.tag(texts)) == before
    from transformers import pipeline

    stock = pipeline("token-classification", model=str(tmp_path / "model"))
    assert stock.model.config.id2label == dict(enumerate(LABELS))
    assert isinstance(stock(texts[0]), list)


def test_a_crf_is_kept_beside_the_stock_weights(tiny_bert: Path, tmp_path: Path):
    model = load_token_classifier(tiny_bert, labels=LABELS, crf=True)
    torch.nn.init.normal_(model.crf.transitions)
    learnt = model.crf.transitions.detach().clone()
    save_tagger(model, load_tokenizer(str(tiny_bert)), tmp_path / "model", TaggerSettings())
    again = load_token_classifier(tmp_path / "model")
    assert torch.equal(again.crf.transitions, learnt)
    assert Tagger.load(str(tmp_path / "model")).paths.learnt
