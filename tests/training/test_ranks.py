"""Two ranks train as one does: the same steps, losses, gradients and weights, by DDP and by FSDP2."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from engine import CPU, FAMILIES, TOLERANCE, assert_alike, own_store, rotate_in_full_precision, start_ranks
from rank_cases import CASES, RUN, WAYS, do, validated, whole_run
from safetensors.torch import load_file
from transformers.models.modernbert import modeling_modernbert

from biolm.training.ranks import Ranks

pytestmark = pytest.mark.slow  # one launch of two processes for all


@pytest.fixture(scope="module")
def folders(request: pytest.FixtureRequest) -> dict[str, Path]:
    return {family: request.getfixturevalue(f"tiny_{family}") for family in FAMILIES}


@pytest.fixture(scope="module")
def two(folders: dict[str, Path], roberta_tokens, tmp_path_factory: pytest.TempPathFactory):
    """The folder with what two ranks have done, and what each of them has said."""
    out = tmp_path_factory.mktemp("ranks")
    # More groups to join and to leave by an exception: once, some of such exits never ended.
    stores = [own_store() for _ in range(20)]
    given = {
        **{name: str(folder) for name, folder in folders.items()},
        "tokens": str(roberta_tokens.folder),
        "ports": [store.port for store in stores],
    }
    (out / "where.json").write_text(json.dumps(given))
    script = str(Path(__file__).with_name("rank_cases.py"))
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    command = ["env", f"PYTHONPATH={path}", sys.executable, "-W", "error", script, str(out / "where.json")]
    start_ranks(command, 2, out)
    return out, [json.loads((out / f"said {rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(autouse=True)
def _rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate_in_full_precision)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_gradients_and_weights_of_one(name: str, way: str, two, folders):
    out, said = two
    case = CASES[name]
    alone, wanted = do(case, way, Ranks(CPU), folders[case.family])
    tensors = [load_file(out / f"{way} {name} {rank}.safetensors") for rank in (0, 1)]
    assert all(torch.equal(tensor, tensors[1][key]) for key, tensor in tensors[0].items())
    facts = [said[rank][f"{way}: {name}"] for rank in (0, 1)]
    assert facts[0] == facts[1]  # the number of rows too
    tolerance = 3e-2 if "precision" in case.settings else TOLERANCE[case.dtype]
    for found, expected in zip(facts[0], alone, strict=True):
        for fact in ("tokens", "masked_tokens", "windows", "skipped"):
            assert found[fact] == expected[fact]
        for fact in ("loss", "gradient_norm", "recall"):
            assert found[fact] == pytest.approx(expected[fact], rel=tolerance, abs=1e-12)
        assert found["stop"]  # the last rank was asked, or the only one
    if not alone[0]["masked_tokens"]:
        assert tensors[0].keys() == wanted.keys()
        assert not any(tensor.any() for tensor in tensors[0].values())
    else:
        assert_alike(tensors[0], wanted, tolerance if case.steps == 1 else 1e-7)


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_validate_as_one_and_the_average_where_there_is_one(way: str, two, folders, roberta_tokens):
    _, said = two
    expected = validated(folders["roberta"], roberta_tokens.folder, way, Ranks(CPU))
    assert expected["validation/loss"] != expected["averaged validation/loss"]
    for rank in (0, 1):
        assert said[rank][f"validation {way}"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_the_first_rank_alone_writes_and_all_take_the_same_number_of_steps(
    way: str, two, folders, roberta_tokens, tmp_path: Path
):
    _, said = two
    alone = whole_run(folders["roberta"], roberta_tokens.folder, tmp_path / "run", way, Ranks(CPU))
    first, second = (said[rank][f"run {way}"] for rank in (0, 1))
    assert second["wrote"] == []
    assert {name for name in first["wrote"] if not name.startswith("events")} == {
        name for name in alone["wrote"] if not name.startswith("events")
    }
    assert "metrics.jsonl" in first["wrote"]
    for fact in ("steps", "done", "tokens"):
        assert first[fact] == second[fact] == alone[fact]
    assert alone["steps"] == -(-126 // RUN["examples_per_step"])
    assert first["mean_loss"] == pytest.approx(alone["mean_loss"], rel=1e-4)
    assert second["mean_loss"] is None


@pytest.mark.parametrize("way", WAYS)
def test_gradients_go_between_the_ranks_once_a_step_however_many_rows_it_has(way: str, two):
    _, said = two
    found = said[0][f"exchanges {way}"]
    assert found["rows"] == found["one row"]
    assert found["rows"]["c10d::_reduce_scatter_base_" if way == "fsdp" else "c10d::allreduce_"] > 0


def test_the_second_rank_waits_for_its_turn(two):
    _, said = two
    (_, first_ended), (second_began, _) = (said[rank]["turn"] for rank in (0, 1))
    assert second_began >= first_ended


def test_on_several_machines_the_first_rank_goes_first_and_then_the_first_of_each(tmp_path: Path):
    """Four ranks on two machines, in threads of this process."""
    import threading

    from torch.distributed import HashStore

    store, order, lock = HashStore(), [], threading.Lock()

    def work(rank: int) -> None:
        ranks = Ranks(CPU, rank, 4, local=rank % 2, on_machine=2, store=store)
        with ranks.in_turn("work"):
            with lock:
                order.append(("in", rank))
            time.sleep(0.1)
            with lock:
                order.append(("out", rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (3, 1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    at = {what: order.index(what) for what in order}
    assert len(at) == 8
    assert order[:2] == [("in", 0), ("out", 0)]
    assert at["in", 3] > at["out", 2]  # its machine's first
    assert at["in", 1] > at["out", 0]
