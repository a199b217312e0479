"""The training of EMBO/bio-lm, value by value."""

from biolm.recipes.recipe import Recipe, decided

_CARD = "model card"
_TRAINER = "Hugging Face Trainer's default, not overridden in smtag/train/train_lm.py"
_COLLATOR = "DataCollatorForLanguageModeling's default, as train_lm.py calls it"
_BASE = "roberta-base's config.json, which the original left as it is"
_NONE = "the original had no such thing"


def bio_lm() -> Recipe:
    """The model card's run (huggingface.co/EMBO/bio-lm), and for what the card does not say, the code that made it:
    github.com/source-data/soda-roberta, `smtag/train/train_lm.py` and `lm/dataprep.py` (read 2026-11-26), on
    the defaults of the transformers of January 2021.

    What differs for reasons of biolm's own: which tokens are masked and in which order passages come (other random
    numbers), no padding, and a loss that weighs each masked token alike, where the original averaged the four
    GPUs' averages.
    """
    return decided(
        name="bio-lm",
        summary="EMBO/bio-lm's own training: 3 epochs of 64 passages a step at 5e-5, on 4 V100 in the original.",
        base="roberta-base",
        settings={
            "seed": (42, _TRAINER),
            "epochs": (3, _CARD),
            "max_steps": (None, _TRAINER),
            "examples_per_step": (64, f"{_CARD}: 16 per device on 4 V100, no accumulation"),
            "tokens_per_step": (None, f"{_CARD}: steps of passages"),
            "max_tokens": (512, f"{_CARD} (max_len=512)"),
            "long_passages": (
                "truncate",
                "lm/dataprep.py, later smtag/dataprep.py: truncation=True at 512 tokens",
            ),
            "mask_rate": (0.15, _COLLATOR),
            "mask_rate_end": (None, _NONE),
            "mask_unit": ("token", _COLLATOR),
            "mask_token_share": (0.8, _COLLATOR),
            "random_token_share": (0.1, _COLLATOR),
            "optimizer": ("adamw", _TRAINER),
            "lr_peak": (5e-5, _CARD),
            "schedule": ("linear", _TRAINER),
            "warmup_fraction": (0.0, f"{_TRAINER} (warmup_steps 0)"),
            "layer_lr_decay": (None, _NONE),
            "weight_decay": (0.0, _CARD),
            "adam_beta1": (0.9, _CARD),
            "adam_beta2": (0.999, _CARD),
            "adam_epsilon": (1e-8, _CARD),
            "clip_norm": (1.0, _CARD),
            "ema_decay": (None, _NONE),
            "spike_factor": (None, _NONE),
            "hidden_dropout": (0.1, _BASE),
            "attention_dropout": (0.1, _BASE),
            "final_weights": ("last", f"{_TRAINER} (load_best_model_at_end is false)"),
            "precision": ("fp32", f"{_TRAINER} (fp16 is false; the card names none); auto is faster on GPUs"),
        },
    )
