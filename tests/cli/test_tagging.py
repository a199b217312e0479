"""`biolm finetune`, `biolm tag` and `biolm score-mentions` as a user calls them, on what a tiny model can learn."""

import gzip
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from biolm.annotations.read import read_documents
from biolm.annotations.write import write_documents
from biolm.cli import app
from biolm.errors import BiolmError
from biolm.mentions import Document, Mention
from biolm.training import speed
from biolm.training.metrics import read_metrics
from conftest import write_papers

sys.path.insert(0, str(Path(__file__).parents[1] / "finetuning"))
from tagged import documents, tagged

TEXT = "p53 and STAT3 in neurons."


def run(*arguments: str, code: int = 0, given: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(arguments), input=given, obj=tuple(arguments))
    if code == 2 and isinstance(result.exception, BiolmError):
        return result
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.conll, dev.jsonl and test.bioc.json."""
    folder = tmp_path_factory.mktemp("annotated")
    for name, form, own in (
        ("train.conll", "conll", documents(80)),
        ("dev.jsonl", "jsonl", documents(20, seed=1)),
        ("test.json", "bioc", documents(20, seed=2)),
    ):
        write_documents(own, folder / name, form)
    return folder


@pytest.fixture(scope="module")
def out(files: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that `biolm finetune` made."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
        result = run(
            *("finetune", str(files / "train.conll"), "--dev", str(files / "dev.jsonl")),
            *("--test", str(files / "test.json"), "--base", str(tiny_bert), "--out", str(out), "--quiet"),
            *("--epochs", "8", "--examples-per-step", "8", "--lr-peak", "5e-3", "--hidden-dropout", "0"),
        )
    assert re.search(r"test F1 +9\d\.\d\d|test F1 +100", result.output), result.output
    return out


def test_a_tagger_comes_with_its_card_and_scores(out: Path):
    card = (out / "model/README.md").read_text()
    scores = json.loads((out / "scores.json").read_text())
    f1 = scores["test"]["f1"]["values"][0]
    assert f1 > 0.9
    assert f"{100 * f1:.2f}" in card
    assert "| GENE |" in card
    assert "pipeline_tag: token-classification" in card
    from huggingface_hub import ModelCard

    assert ModelCard(card).data.eval_results


def test_types_can_be_called_one(
    files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    run(
        *("finetune", str(files / "train.conll"), "--as-type", "ENTITY", "--base", str(tiny_bert), "--quiet"),
        *("--out", str(tmp_path / "out"), "--epochs", "1", "--dev-share", "0.2"),
    )
    labels = json.loads((tmp_path / "out/model/config.json").read_text())["id2label"]
    assert list(labels.values()) == ["O", "B-ENTITY", "I-ENTITY"]
    card = (tmp_path / "out/model/README.md").read_text()
    assert "to find ENTITY on " in card
    assert "windows (1.0 passes)" in card


def test_words_are_joined_at_use_as_in_training(
    files: Path, out: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    run(
        *("finetune", str(files / "train.conll"), "--spacing", "words", "--base", str(tiny_bert), "--quiet"),
        *("--out", str(tmp_path / "run"), "--max-steps", "1"),
    )
    (tmp_path / "words.conll").write_text("p53\tO\n-\tO\ndeficient\tO\n")
    for model, text in ((tmp_path / "run/model", "p53 - deficient"), (out / "model", "p53-deficient")):
        result = run("tag", str(model), str(tmp_path / "words.conll"), "--quiet")
        assert json.loads(result.stdout)["text"] == text


def test_seeds_are_summed_up(files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    command = (
        *("finetune", str(files / "train.conll"), "--dev", str(files / "dev.jsonl"), "--seeds", "2"),
        *(
            "--test",
            str(files / "test.json"),
            "--base",
            str(tiny_bert),
            "--out",
            str(tmp_path / "out"),
            "--quiet",
        ),
        *("--epochs", "3", "--examples-per-step", "8", "--lr-peak", "5e-3"),
    )
    result = run(*command)
    assert re.search(r"test F1 +\d+\.\d\d ± \d", result.output), result.output
    assert (tmp_path / "out/model/README.md").is_file()
    assert "--resume" in str(run(*command, code=2).exception)
    assert run(*command, "--resume").output == result.output


def mentions_in(output: str) -> list[list[str]]:
    return [[each["text"] for each in json.loads(line)["mentions"]] for line in output.split("\n") if line]


def test_texts_of_the_command_line_become_json_lines(out: Path):
    result = run("tag", str(out / "model"), TEXT, "protein", "--quiet")
    assert mentions_in(result.stdout) == [["p53", "STAT3", "neurons"], []]
    first = json.loads(result.stdout.splitlines()[0])
    assert first["mentions"][0] == {
        "start": 0,
        "end": 3,
        "type": "GENE",
        "text": "p53",
        "score": pytest.approx(1, abs=0.2),
    }


def test_standard_input_is_a_text_or_one_a_line(out: Path):
    assert len(mentions_in(run("tag", str(out / "model"), given=f"{TEXT}\n{TEXT}\n").stdout)) == 1
    assert (
        len(mentions_in(run("tag", str(out / "model"), "--lines", given=f"{TEXT}\n\n{TEXT}\n").stdout)) == 2
    )


def test_standard_input_may_be_annotated(out: Path):
    result = run("tag", str(out / "model"), "-", "--from", "conll", given="p53\tO\n.\tO\n")
    assert json.loads(result.stdout)["text"] == "p53."


@pytest.mark.parametrize("form", ["jsonl", "pubtator", "bioc", "brat", "conll"])
def test_every_layout_can_be_read_again(form: str, out: Path, tmp_path: Path):
    target = tmp_path / ("brat" if form == "brat" else f"found.{'json' if form == 'bioc' else form}")
    run("tag", str(out / "model"), TEXT, "--to", form, "--out", str(target), "--quiet")
    (document,) = read_documents(target).documents
    assert [document.surface(each) for each in document.mentions] == ["p53", "STAT3", "neurons"]


def test_papers_corpora_and_annotated_files_are_read(
    out: Path, tiny_corpus: Path, tmp_path: Path, files: Path
):
    papers = write_papers(tmp_path / "papers", 3)
    found = [
        json.loads(line)
        for line in run("tag", str(out / "model"), str(papers), "--quiet").stdout.splitlines()
    ]
    assert [each["id"] for each in found] == ["PMC1", "PMC2", "PMC3"]
    assert [part["name"] for part in found[0]["parts"]] == [
        "title",
        "abstract",
        "figure_legend",
        "figure_legend",
    ]
    for each in found:
        for mention in each["mentions"]:
            assert each["text"][mention["start"] : mention["end"]] == mention["text"]
    zipped = tmp_path / "one.xml.gz"
    zipped.write_bytes(gzip.compress((papers / "PMC00001.xml").read_bytes()))
    assert len(run("tag", str(out / "model"), str(zipped), "--quiet").stdout.splitlines()) == 1
    passages = run("tag", str(out / "model"), str(tiny_corpus), "--split", "validation", "--quiet").stdout
    assert len(passages.splitlines()) > 3
    annotated = run("tag", str(out / "model"), str(files / "test.json"), "--quiet").stdout
    assert len(annotated.splitlines()) == 20
    text = tmp_path / "notes.txt"
    text.write_text(TEXT)
    assert mentions_in(run("tag", str(out / "model"), str(text), "--quiet").stdout) == [
        ["p53", "STAT3", "neurons"]
    ]


def test_a_stopped_tagging_goes_on_to_the_same_bytes(
    out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    lines, model = tmp_path / "lines.jsonl", str(out / "model")
    texts = [json.dumps({"id": str(number), "text": f"{number} {TEXT}"}) for number in range(300)]
    lines.write_text("\n".join(texts))
    run("tag", model, str(lines), "--out", str(tmp_path / "whole.pubtator"), "--quiet")
    lines.write_text("\n".join([*texts[:200], "{", *texts[200:]]))
    command = ("tag", model, str(lines), "--out", str(tmp_path / "found.pubtator"), "--quiet")
    result = run(*command, code=2)
    assert "line 201 is no JSON" in str(result.exception)
    assert (
        "stopped after 128 documents; the same command with --resume goes on behind them" in caplog.messages
    )
    lines.write_text("\n".join(texts))
    journal = tmp_path / ".found.pubtator.unfinished"
    assert journal.is_file()
    assert not (tmp_path / "found.pubtator").exists()
    assert "give --resume to go on" in str(run(*command, code=2).exception)
    other = run(*command, "--resume", "--precision", "fp16", code=2)
    assert "other models or in another precision" in str(other.exception)
    lines.write_text("\n".join([*texts[:100], texts[100].replace("p53", "p54"), *texts[101:]]))
    assert "document 101 of the input, 100 when it was tagged, has changed" in str(
        run(*command, "--resume", code=2).exception
    )
    lines.write_text("\n".join(texts))
    with journal.open("ab") as file:
        file.write(b'{"given": "')  # a process was killed as it wrote this
    run(*command[:-1], "--resume")
    assert "going on behind 128 documents that are tagged" in caplog.messages
    assert (tmp_path / "found.pubtator").read_bytes() == (tmp_path / "whole.pubtator").read_bytes()
    assert not journal.exists()


def test_a_killed_tagging_goes_on_to_the_same_bytes(out: Path, tmp_path: Path):
    lines, found, whole = tmp_path / "lines.txt", tmp_path / "found.jsonl", tmp_path / "whole.jsonl"
    lines.write_text("\n".join(f"{number} {TEXT}" for number in range(3000)))
    command = ("tag", str(out / "model"), str(lines), "--lines", "--quiet", "--resume", "--out")
    journal = tmp_path / ".found.jsonl.unfinished"
    process = subprocess.Popen([sys.executable, "-m", "biolm", *command, str(found)])
    while process.poll() is None and (not journal.is_file() or journal.stat().st_size < 100_000):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert journal.is_file()
    run(*command, str(found))
    run(*command, str(whole))
    assert found.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.jsonl", "lines.txt", "whole.jsonl"]


def test_a_terminal_shows_types_behind_mentions(out: Path):
    shown = run("tag", str(out / "model"), TEXT, "--to", "text").stdout
    assert "p53[GENE] and STAT3[GENE] in neurons[TISSUE]." in shown


def test_tagged_and_gold_files_can_be_scored(out: Path, files: Path, tmp_path: Path):
    target = tmp_path / "found.jsonl"
    run("tag", str(out / "model"), str(files / "test.json"), "--out", str(target), "--quiet")
    scores = json.loads(run("score-mentions", str(files / "test.json"), str(target), "--json").stdout)
    assert (
        scores["strict"]["micro"]["f1"]
        == json.loads((out / "scores.json").read_text())["test"]["f1"]["values"][0]
    )


def test_a_text_file_may_look_like_something_else(out: Path, tmp_path: Path):
    for name, text in (
        ("title.txt", "[p53 in neurons]."),
        ("brace.txt", "{p53} in neurons."),
        ("page.txt", "p53\u2028in neurons.\n\fneurons\n"),
    ):
        (tmp_path / name).write_text(text)
        found = run("tag", str(out / "model"), str(tmp_path / name), "--quiet").stdout
        assert mentions_in(found)[0][:2] == ["p53", "neurons"], name
    lines = run("tag", str(out / "model"), str(tmp_path / "page.txt"), "--lines", "--quiet").stdout
    assert [json.loads(line)["id"] for line in lines.split("\n") if line] == ["page.txt:1", "page.txt:2"]


def test_ids_are_unlike_and_splits_are_chosen(out: Path, tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(TEXT)
    both = run(
        "tag", str(out / "model"), str(tmp_path / "a/x.txt"), str(tmp_path / "b/x.txt"), "--quiet"
    ).stdout
    assert [json.loads(line)["id"] for line in both.splitlines()] == ["x.txt", "x.txt#2"]
    (tmp_path / "splits").mkdir()
    write_documents(documents(4), tmp_path / "splits/train.tsv", "conll")
    write_documents(documents(3, seed=1), tmp_path / "splits/test.tsv", "conll")
    found = run("tag", str(out / "model"), str(tmp_path / "splits"), "--split", "test", "--quiet").stdout
    assert len(found.splitlines()) == 3


def test_a_terminal_is_told_no_commands(out: Path):
    shown = run("tag", str(out / "model"), "\x1b]0;title\x07 p53 👩\u200d🔬", "--to", "text").stdout
    assert "\x1b]0;" not in shown
    assert "👩\u200d🔬" in shown


def test_the_ending_of_out_names_the_layout(out: Path, tmp_path: Path):
    run("tag", str(out / "model"), TEXT, "--out", str(tmp_path / "found.pubtator"), "--quiet")
    assert "|t|" in (tmp_path / "found.pubtator").read_text()


def test_least_scores_leave_out_what_is_less_sure(out: Path):
    assert mentions_in(run("tag", str(out / "model"), TEXT, "--min-score", "1", "--quiet").stdout) == [[]]


def test_a_model_of_roles_wants_entities(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    own = [
        Document(f"r{n}", "p53 was increased", (Mention(0, 3, "GENEPROD", attributes={"role": "assayed"}),))
        for n in range(8)
    ]
    write_documents(own, tmp_path / "roles.jsonl", "jsonl")
    run(
        *("finetune", str(tmp_path / "roles.jsonl"), "--task", "GENEPROD_ROLES", "--base", str(tiny_bert)),
        *(
            "--out",
            str(tmp_path / "run"),
            "--epochs",
            "20",
            "--lr-peak",
            "5e-3",
            "--quiet",
            "--dev-share",
            "0.3",
        ),
    )
    model = str(tmp_path / "run/model")
    refused = run("tag", model, TEXT, code=2)
    assert "comes without mentions" in str(refused.exception)
    found = json.loads(run("tag", model, str(tmp_path / "roles.jsonl"), "--quiet").stdout.splitlines()[0])
    assert found["mentions"][0]["attributes"]["role"] == "MEASURED_VAR"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["finetune", "absent.tsv", "--out", "X"], "absent.tsv does not exist"),
        (
            ["finetune", "{train}", "--out", "X", "--dev", "{train}", "--dev-share", "0.1"],
            "give one of the two",
        ),
        (["finetune", "{train}", "--out", "X", "--task", "PANELS"], "there is no task 'PANELS'"),
        (["finetune", "{train}", "--out", "X", "--types", "CELL"], "no mentions of the type CELL"),
        (["finetune", "{train}", "--out", "X", "--task", "NER", "--types", "GENE"], "leave --types out"),
        (
            ["finetune", "{train}", "--out", "X", "--base", "{base}", "--search", "2"],
            "--search needs dev documents",
        ),
        (["tag", "{base}", "a text"], "is no token classifier"),
        (["tag", "{model}", "absent.xml"], "absent.xml does not exist"),
        (["tag", "{model}", "absent.jsonl.gz"], "absent.jsonl.gz does not exist"),
        (["tag", "{model}", ""], "is empty"),
        (["tag", "{model}", "a text", "--split", "test"], "--split has no meaning"),
        (["tag", "{model}", "a text", "--lines"], "--lines has no meaning"),
        (["tag", "{model}", "a text", "--out", "."], "is a folder"),
        (["tag", "{model}", "a text", "--roles", "{model}"], "tells no roles"),
        (["tag", "{model}", "a text", "--panels", "{model}"], "finds no panels"),
        (["tag", "{model}", "a text", "--to", "text", "--out", "X"], "--to text is for the terminal"),
        (["tag", "{model}", "a text", "--to", "brat"], "brat is a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: list[str],
    says: str,
    out: Path,
    files: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    names = {"train": files / "train.conll", "model": out / "model", "base": tiny_bert}
    result = run(*(word.format(**names) for word in arguments), code=2)
    assert isinstance(result.exception, BiolmError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_text_is_one_whatever_words_it_has(out: Path):
    text = tagged("treatment of p53 and/of cells.", "x").text
    assert mentions_in(run("tag", str(out / "model"), text, "--quiet").stdout) == [["p53"]]


def search_command(files: Path, base: Path, epochs: int, trials: int, out: Path) -> tuple[str, ...]:
    return (
        *("finetune", str(files / "train.conll"), "--dev", str(files / "dev.jsonl"), "--base", str(base)),
        *("--epochs", str(epochs), "--quiet", "--search", str(trials), "--out", str(out)),
    )


def test_search_finds_settings_and_goes_on_where_it_stopped(
    files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("optuna")
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(*search_command(files, tiny_bert, 3, 3, whole))
    run(*search_command(files, tiny_bert, 3, 2, parts))

    def found(folder: Path) -> dict[str, list[dict[str, object]]]:
        return json.loads((folder.with_name(f"{folder.name}-search") / "search.json").read_text())

    first, whole_found = found(parts), found(whole)
    assert len(first["trials"]) == 2
    assert first["trials"] == whole_found["trials"][:2]
    config = json.loads((whole / "config.json").read_text())["config"]
    best = whole_found["best"]["params"]
    assert {name: config[name] for name in best} == best
    assert max(each["dev_f1"] for each in whole_found["trials"]) == whole_found["best"]["dev_f1"]


def test_search_compares_the_weights_that_would_be_kept(
    files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("optuna")
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    run(*search_command(files, tiny_bert, 2, 1, tmp_path / "run"), "--final-weights", "last")
    (trial,) = (tmp_path / "run-search").glob("trial-*")
    looks = [line["validation/f1"] for line in read_metrics(trial) if "validation/f1" in line]
    found = json.loads((tmp_path / "run-search/search.json").read_text())["trials"]
    assert [each["dev_f1"] for each in found] == looks[-1:]
