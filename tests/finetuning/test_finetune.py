"""Fine-tuning: it learns, resumes to the bit, ends when it should, and scores every mention once."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tagged import documents, tagged

from biolm.batches.packing import IGNORED
from biolm.errors import ArtifactError, ConfigError, InputError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.measure import measure, predicted
from biolm.finetuning.parts import freeze, module_of
from biolm.finetuning.run import TaggerData, finetune
from biolm.finetuning.seeds import finetune_seeds
from biolm.finetuning.windows import LabelledSteps, label_windows, settings_at_use
from biolm.mentions import Document, Mention
from biolm.model.masked_lm import row_tensors
from biolm.model.token_classifier import PackedTokenClassifier, load_token_classifier
from biolm.progress import Silent
from biolm.tagging.labels import LabelSet
from biolm.tagging.settings import TaggerSettings
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import Example, task_of
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training import speed
from biolm.training.metrics import read_metrics
from biolm.training.ranks import Ranks

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from engine import start_ranks

from conftest import folder_bytes

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "examples_per_step": 8,
    "max_row_tokens": 300,
    "lr_peak": 5e-3,
    "hidden_dropout": 0.1,
    "threads": 1,
}
"""30 steps, and 5 more than they need to be right."""


@pytest.fixture(autouse=True)
def no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """No half second for the device's matrix product: nothing here is about speed."""
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)


class Stop(Exception):  # noqa: N818
    pass


class StopAt(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        if done == self._step:
            raise Stop


def data(task: str = "any", train: int = 80) -> TaggerData:
    return TaggerData.of(documents(train), documents(20, seed=1), task_of(task))


def start(
    base: Path, out: Path, *, stop: int | None = None, given: TaggerData | None = None, **changes: Any
) -> Path:
    config = FinetuneConfig(**{**SETTINGS, **changes})
    if stop is None:
        return finetune(given or data(), str(base), out, config, Silent(), resume=True)
    with pytest.raises(Stop):
        finetune(given or data(), str(base), out, config, StopAt(stop), resume=True)
    return out


def without_speed(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in read_metrics(run)]


@pytest.mark.parametrize("family", ["roberta", "bert", "modernbert"])
def test_it_learns_what_the_documents_say(family: str, tmp_path: Path, request: pytest.FixtureRequest):
    base = request.getfixturevalue(f"tiny_{family}")
    model = start(base, tmp_path / "run", epochs=8, hidden_dropout=0.0)
    report = measure(Tagger.load(str(model)), [Example(each) for each in documents(30, seed=2)])
    assert report.strict.micro.f1 > 0.95
    assert [line["validation/f1"] for line in read_metrics(tmp_path / "run") if "validation/f1" in line][
        -1
    ] > 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crf": True},
        {"ema_decay": 0.9},
        {"patience": 2, "epochs": 4},
        {"class_weights": "sqrt", "label_smoothing": 0.1},
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_interrupted_and_resumed_is_uninterrupted(changes: dict[str, Any], tiny_bert: Path, tmp_path: Path):
    whole = start(tiny_bert, tmp_path / "whole", checkpoint_every=4, validate_every=5, **changes)
    for step in (6, 13):
        start(tiny_bert, tmp_path / "run", stop=step, checkpoint_every=4, validate_every=5, **changes)
    model = start(tiny_bert, tmp_path / "run", checkpoint_every=4, validate_every=5, **changes)
    files = [path.name for path in whole.iterdir() if path.suffix == ".safetensors"]
    assert len(files) == (2 if "crf" in changes else 1)
    for name in files:
        ours, theirs = load_file(model / name), load_file(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert without_speed(tmp_path / "run") == without_speed(tmp_path / "whole")


def test_a_run_that_was_stopped_after_its_last_step_only_writes_its_model(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from biolm.finetuning import run as module

    monkeypatch.setattr(module, "save_tagger", lambda *_a, **_k: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        start(tiny_bert, tmp_path / "run", patience=1)
    steps = len(without_speed(tmp_path / "run"))
    monkeypatch.undo()
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    assert start(tiny_bert, tmp_path / "run", patience=1).is_dir()
    assert len(without_speed(tmp_path / "run")) == steps


def test_it_ends_when_dev_f1_has_not_risen_for_so_long(tiny_bert: Path, tmp_path: Path):
    start(tiny_bert, tmp_path / "run", patience=2, epochs=50, validate_every=2, lr_peak=1e-9)
    looks = [line["validation/f1"] for line in read_metrics(tmp_path / "run") if "validation/f1" in line]
    assert len(looks) == 3


@pytest.mark.parametrize(
    "changes",
    [{}, {"crf": True}, {"ema_decay": 0.8, "epochs": 5}, {"checkpoint_every": 1000}],
    ids=lambda given: ", ".join(given),
)
def test_the_best_weights_are_those_of_the_highest_dev_f1(
    changes: dict[str, Any], tiny_bert: Path, tmp_path: Path
):
    model = start(tiny_bert, tmp_path / "run", **{"validate_every": 3, "checkpoint_every": 4, **changes})
    looks = {
        line["step"]: line["validation/f1"]
        for line in read_metrics(tmp_path / "run")
        if "validation/f1" in line
    }
    step = json.loads((model / "manifest.json").read_text())["trained"]["weights_of_step"]
    assert looks[step] == max(looks.values()) > 0.5
    tagger = Tagger.load(str(model))
    report = measure(tagger, [Example(each) for each in documents(20, seed=1)])
    assert report.strict.micro.f1 == pytest.approx(looks[step])


def long_document(words: int) -> Document:
    """Mentions everywhere, in one text of so many words."""
    return tagged(" ".join(each.text for each in documents(words // 12, seed=5, longest=25)), "long")


def test_entities_in_are_entities_scored_in_documents_of_5000_tokens(tiny_bert: Path):
    document = long_document(5000)
    tokenizer = load_tokenizer(str(tiny_bert))
    labels = LabelSet.iob2(["GENE", "TISSUE"])
    windows = label_windows([Example(document)], labels, tokenizer, content_tokens=62, overlap=20)
    assert len(tokenizer.encode([document.text])[0]) > 5000
    assert len(windows) > 100
    begins = [labels.names.index(name) for name in ("B-GENE", "B-TISSUE")]
    assert int(np.isin(windows.labels, begins).sum()) == len(document.mentions) == windows.mentions
    assert not windows.lost
    model = load_token_classifier(tiny_bert, labels=labels.names)
    report = measure(Tagger(model, tokenizer), [Example(document)])
    assert report.strict.micro.gold == len(document.mentions)


def test_every_window_is_seen_once_an_epoch_with_its_own_labels(tiny_bert: Path):
    tokenizer = load_tokenizer(str(tiny_bert))
    labels = LabelSet.iob2(["GENE", "TISSUE"])
    windows = label_windows(
        [Example(each) for each in [*documents(20), long_document(400)]],
        labels,
        tokenizer,
        content_tokens=40,
        overlap=10,
    )
    steps = LabelledSteps(windows, seed=1, examples_per_step=8, max_row_tokens=100, epochs=2)
    for epoch in range(2):
        seen = []
        for step in range(epoch * steps.per_epoch, (epoch + 1) * steps.per_epoch):
            for row in steps(step):
                seen += row.examples.tolist()
                assert len(row.masked_positions) == row.masked == len(row.labels)
                assert (row.labels != IGNORED).all()
                starts = np.cumsum(row.lengths) - row.lengths
                for window, start_ in zip(row.examples, starts, strict=True):
                    own = slice(windows.bounds[window], windows.bounds[window + 1])
                    at = row.masked_positions[
                        (row.masked_positions >= start_)
                        & (row.masked_positions < start_ + windows.lengths(np.array([window]))[0])
                    ]
                    np.testing.assert_array_equal(at - start_, windows.places[own])
        assert sorted(seen) == list(range(len(windows)))


def test_ranks_divide_a_step_and_change_nothing_else(tiny_bert: Path):
    tokenizer, labels = load_tokenizer(str(tiny_bert)), LabelSet.iob2(["GENE", "TISSUE"])
    windows = label_windows(
        [Example(each) for each in documents(30)], labels, tokenizer, content_tokens=40, overlap=10
    )
    settings: dict[str, Any] = {"seed": 1, "examples_per_step": 7, "max_row_tokens": 64}
    one = LabelledSteps(windows, **settings)
    two = [LabelledSteps(windows, **settings, rank=rank, ranks=2) for rank in range(2)]
    for step in range(one.total):
        rows = [each(step) for each in two]
        assert len(rows[0]) == len(rows[1])
        together = sorted(window for part in rows for row in part for window in row.examples.tolist())
        assert together == sorted(one.examples_of(step).tolist())


@pytest.mark.parametrize(
    ("texts", "window", "overlap"),
    [
        ([*documents(400, longest=60), long_document(150)], None, None),
        ([documents(1)[0]], 32, 8),
        ([long_document(300)], 128, 32),
    ],
)
def test_windows_at_use_are_as_long_as_nearly_all_of_training(
    texts: list[Document], window: int | None, overlap: int | None, tiny_bert: Path
):
    tokenizer, labels = load_tokenizer(str(tiny_bert)), LabelSet.iob2(["GENE", "TISSUE"])
    windows = label_windows(
        [Example(each) for each in texts], labels, tokenizer, content_tokens=126, overlap=32
    )
    lengths = windows.lengths(np.arange(len(windows)))
    at_use = settings_at_use(TaggerSettings(max_tokens=128, overlap=32), windows)
    if window is None:
        window = at_use.max_tokens
        assert window is not None
        assert 0.99 <= (lengths <= window).mean() < 1
        assert window < 128
        overlap = 32 * window // 128
    assert (at_use.max_tokens, at_use.overlap) == (window, overlap)


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("family", ["roberta", "bert", "modernbert"])
def test_loss_and_gradients_are_those_of_one_document_at_a_time(
    family: str, crf: bool, request: pytest.FixtureRequest
):
    base = request.getfixturevalue(f"tiny_{family}")
    tokenizer, labels = load_tokenizer(str(base)), LabelSet.iob2(["GENE", "TISSUE"])
    windows = label_windows(
        [Example(each) for each in documents(6)], labels, tokenizer, content_tokens=60, overlap=10
    )

    def gradients(row_tokens: int) -> tuple[float, dict[str, torch.Tensor]]:
        model = load_token_classifier(base, labels=labels.names, crf=crf).double()
        module = PackedTokenClassifier(model)
        total = 0.0
        for row in LabelledSteps(windows, seed=1, examples_per_step=99, max_row_tokens=row_tokens)(0):
            loss, _ = module(row_tensors(model, row), torch.from_numpy(row.labels))
            loss.backward()
            total += float(loss.detach())
        return total, {
            name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
        }

    loss, packed = gradients(5000)
    alone_loss, alone = gradients(1)
    assert loss == pytest.approx(alone_loss, rel=1e-6)
    for name, gradient in packed.items():
        torch.testing.assert_close(gradient, alone[name], rtol=1e-4, atol=1e-6)


def test_class_weights_have_a_mean_of_one_over_the_labels(tiny_bert: Path):
    counts = np.array([900, 60, 40, 0])
    for name in ("inverse", "sqrt"):
        module = module_of(FinetuneConfig(class_weights=name), counts)
        weights = module.keywords["class_weights"].double().numpy()
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
        assert (np.diff(weights[:3]) > 0).all()
        assert weights[3] == 0


def test_frozen_layers_stay_as_they_are(tiny_bert: Path, tmp_path: Path):
    model = start(tiny_bert, tmp_path / "run", freeze_layers=1)
    before, after = load_file(tiny_bert / "model.safetensors"), load_file(model / "model.safetensors")
    for name, weight in after.items():
        if "embeddings" in name or ".layer.0." in name:
            assert torch.equal(weight, before[name]), name
    assert not torch.equal(
        after["bert.encoder.layer.1.output.dense.weight"], before["bert.encoder.layer.1.output.dense.weight"]
    )
    with pytest.raises(ConfigError, match="the base has 2"):
        freeze(load_token_classifier(tiny_bert, labels=("O", "B-X")), 3)


def test_roles_are_learnt_from_the_text_around_hidden_entities(tiny_bert: Path, tmp_path: Path):
    def document(number: int) -> Document:
        gene = ("p53", "STAT3", "IL-6", "kinase")[number % 4]
        text = f"{gene} was increased" if number % 2 else f"inhibitor of {gene}"
        at = text.index(gene)
        role = "assayed" if number % 2 else "intervention"
        return Document(
            f"r{number}", text, (Mention(at, at + len(gene), "GENEPROD", attributes={"role": role}),)
        )

    given = TaggerData.of(
        [document(n) for n in range(40)], [document(n) for n in range(8)], task_of("GENEPROD_ROLES")
    )
    model = start(tiny_bert, tmp_path / "run", given=given, epochs=6, hidden_dropout=0.0)
    tagger = Tagger.load(str(model))
    assert measure(tagger, given.dev).strict.micro.f1 == 1
    # A gene that was always measured, in the place of one that is changed: the text decides.
    (said,) = tagger.tag(["inhibitor of STAT3"], [[Mention(13, 18, "GENEPROD")]])
    assert [each.type for each in said] == ["CONTROLLED_VAR"]


def test_several_seeds_are_several_runs_and_one_summary(tiny_bert: Path, tmp_path: Path):
    test = [Example(each) for each in documents(10, seed=3)]

    def run(*, resume: bool = False) -> list[Any]:
        return finetune_seeds(
            data(),
            test,
            str(tiny_bert),
            tmp_path / "out",
            FinetuneConfig(**SETTINGS),
            (1, 2, 3),
            Silent(),
            resume=resume,
            ranks=Ranks(torch.device("cpu")),
        )

    results = run()
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    values = [each.scores["strict"]["micro"]["f1"] or 0.0 for each in results]
    assert scores["test"]["f1"]["values"] == values
    assert scores["test"]["f1"]["mean"] == pytest.approx(np.mean(values))
    assert scores["test"]["f1"]["sd"] == pytest.approx(np.std(values, ddof=1))
    best = max(results, key=lambda each: each.dev_f1)
    assert (tmp_path / "out/model/model.safetensors").read_bytes() == (
        best.model / "model.safetensors"
    ).read_bytes()
    with pytest.raises(ArtifactError, match="--resume"):
        run()
    assert [each.scores for each in run(resume=True)] == [each.scores for each in results]


def test_a_mention_of_a_type_that_training_lacks_is_missed_not_forgotten(tiny_bert: Path):
    model = load_token_classifier(tiny_bert, labels=("O", "B-GENE", "I-GENE"))
    gold = documents(10, seed=4)
    report = measure(Tagger(model, load_tokenizer(str(tiny_bert))), [Example(each) for each in gold])
    assert report.strict.micro.gold == sum(len(each.mentions) for each in gold)
    assert report.strict.types["TISSUE"].correct == 0


def test_what_is_refused_leaves_the_run_as_it_was(tiny_bert: Path, tmp_path: Path):
    for changes, given in (
        ({"freeze_layers": 3}, data()),
        ({"patience": 2}, TaggerData.of(documents(20), [], task_of("any"))),
    ):
        with pytest.raises(ConfigError):
            start(tiny_bert, tmp_path / "run", given=given, **changes)
        assert not (tmp_path / "run").exists()


def test_several_seeds_take_no_folder_that_holds_something_else(tiny_bert: Path, tmp_path: Path):
    start(tiny_bert, tmp_path / "run", epochs=1)
    kept = folder_bytes(tmp_path / "run/model")
    for resume in (False, True):
        with pytest.raises(ArtifactError):
            finetune_seeds(
                data(),
                [],
                str(tiny_bert),
                tmp_path / "run",
                FinetuneConfig(**SETTINGS),
                (1, 2),
                Silent(),
                resume=resume,
                ranks=Ranks(torch.device("cpu")),
            )
    assert folder_bytes(tmp_path / "run/model") == kept


def test_nothing_to_learn_is_said_at_once():
    plain = [dataclasses.replace(each, mentions=()) for each in documents(3)]
    with pytest.raises(InputError, match="no mentions at all"):
        TaggerData.of(plain, [], task_of("any"))
    with pytest.raises(InputError, match="no mentions of the types CONTROLLED_VAR"):
        TaggerData.of(documents(3), [], task_of("SMALL_MOL_ROLES"))


def test_a_run_with_other_documents_or_settings_is_refused(tiny_bert: Path, tmp_path: Path):
    start(tiny_bert, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="another data"):
        start(tiny_bert, tmp_path / "run", epochs=1, given=data(train=81))
    with pytest.raises(ConfigError, match=r"lr_peak 0\.01 \(was 0\.005\)"):
        start(tiny_bert, tmp_path / "run", epochs=1, lr_peak=0.01)
    with pytest.raises(ArtifactError, match="--resume"):
        finetune(data(), str(tiny_bert), tmp_path / "run", FinetuneConfig(**SETTINGS), Silent(), resume=False)


def test_predictions_have_the_documents_texts_and_no_gold(tiny_bert: Path):
    model = load_token_classifier(tiny_bert, labels=("O", "B-GENE", "I-GENE"))
    given = [Example(each) for each in documents(5)]
    found = predicted(Tagger(model, load_tokenizer(str(tiny_bert))), given)
    assert [each.id for each in found] == [each.document.id for each in given]
    assert any(each.mentions for each in found)
    assert all(mention.score is not None for each in found for mention in each.mentions)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"crf": True, "label_smoothing": 0.1}, "crf goes together with neither"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"patience": 0}, "patience is 0"),
        ({"class_weights": "log"}, "class_weights is 'log'"),
        ({"parallel": "fsdp"}, "a whole model on each rank"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        FinetuneConfig(**settings)


@pytest.mark.parametrize("changes", [{}, {"crf": True}, {"freeze_layers": 0}], ids=["plain", "crf", "freeze"])
def test_two_ranks_give_the_weights_and_dev_scores_of_one(
    changes: dict[str, Any], tiny_bert: Path, tmp_path: Path
):
    """But for rounding; without dropout, whose draws are each rank's own."""
    settings = {
        **SETTINGS,
        "epochs": 3,
        "hidden_dropout": 0.0,
        "max_row_tokens": 120,
        "validate_every": 5,
        **changes,
    }
    given = TaggerData.of(documents(40), documents(15, seed=1), task_of("any"))
    one = finetune(
        given, str(tiny_bert), tmp_path / "one", FinetuneConfig(**settings), Silent(), resume=False
    )
    script = str(Path(__file__).with_name("two_ranks.py"))
    start_ranks(
        [sys.executable, script, str(tiny_bert), str(tmp_path / "two"), json.dumps(settings)], 2, tmp_path
    )
    ours, theirs = load_file(one / "model.safetensors"), load_file(tmp_path / "two/model/model.safetensors")
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-4)
    looks = [
        [line["validation/f1"] for line in read_metrics(tmp_path / run) if "validation/f1" in line]
        for run in ("one", "two")
    ]
    assert looks[0] == pytest.approx(looks[1], abs=0.02)
    assert max(looks[0]) > 0
