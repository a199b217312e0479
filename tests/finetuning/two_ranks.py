"""One of two ranks that fine-tune together: python two_ranks.py BASE OUT [SETTINGS as JSON]; torchrun's environment."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from tagged import documents

from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.run import TaggerData, finetune
from biolm.progress import Silent
from biolm.tagging.tasks import task_of
from biolm.training import speed
from biolm.training.ranks import join_ranks

if __name__ == "__main__":
    speed.matmul_peak = lambda *_, seconds: 1e11
    base, out, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    data = TaggerData.of(documents(40), documents(15, seed=1), task_of("any"))
    config = FinetuneConfig(**settings)
    with join_ranks(config.device) as ranks:
        finetune(data, base, out, config, Silent(), resume=True, ranks=ranks)
