"""Which weights become the model."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from biolm.errors import ArtifactError
from biolm.training.checkpoint import best_checkpoint, find_checkpoint, load_weights
from biolm.training.engine_config import EngineConfig

logger = logging.getLogger(__name__)


def final_weights(
    run: Path, config: EngineConfig, parameters: Mapping[str, torch.nn.Parameter], *, last_step: int
) -> int:
    """Put the weights that become the model into `parameters`: of the last step or of the best checkpoint, averaged
    where that is set. Returns their step. Raises ArtifactError where that checkpoint is not whole."""
    checkpoints = run / "checkpoints"
    chosen = None
    if config.final_weights == "best":
        chosen = best_checkpoint(checkpoints)
        if chosen is None:
            logger.warning("nothing was validated, so the model is that of the last step")
        else:
            logger.info("the model is that of step %s, the best that was measured", chosen.counters.step)
    if chosen is None:
        chosen = find_checkpoint(checkpoints)
        if chosen is None or chosen.counters.step != last_step:
            raise ArtifactError(
                f"{checkpoints} holds no whole checkpoint of step {last_step:,}, the last one; "
                "the same command with --resume goes on"
            )
    load_weights(chosen, parameters, averaged=config.ema_decay is not None)
    return chosen.counters.step
