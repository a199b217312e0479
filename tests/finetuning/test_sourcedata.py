"""EMBO SourceData: every tag of the shared article comes in, and all four tasks can be learnt from it."""

from pathlib import Path

import pytest

from biolm.annotations.read import read_documents
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.measure import measure
from biolm.finetuning.run import TaggerData, finetune
from biolm.progress import Silent
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import PANEL, task_of
from biolm.training import speed

MENTIONS = {"NER": 175, "PANELIZATION": 18, "GENEPROD_ROLES": 60, "SMALL_MOL_ROLES": 17}
"""Of the article's 187 tags 175 are of the nine types (others: 5 cells, 2 undefined, 5 that say nothing). Of 91 gene
products 23 are changed and 37 measured; of 18 small molecules 17 are changed."""


@pytest.mark.parametrize("task", MENTIONS)
def test_a_task_is_learnt_from_the_shared_article(
    task: str, shared: Path, tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
    found = read_documents(shared / "sourcedata/soda-data_test.xml").documents
    data = TaggerData.of(found, [], task_of(task))
    assert len(data.train) == (
        len(found)
        if task == "PANELIZATION"
        else sum(mention.type == PANEL for each in found for mention in each.mentions)
    )
    config = FinetuneConfig(epochs=80, examples_per_step=6, lr_peak=5e-3, hidden_dropout=0.0, threads=1)
    model = finetune(data, str(tiny_roberta), tmp_path / "run", config, Silent(), resume=False)
    report = measure(Tagger.load(str(model)), data.train)
    assert report.strict.micro.gold == MENTIONS[task]
    assert report.strict.micro.f1 >= 0.95
