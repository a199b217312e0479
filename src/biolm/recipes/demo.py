"""What `biolm demo` does."""

from biolm.recipes.recipe import EMBEDDED, Recipe, decided

_SHORT = "a run of minutes: it sees a few hundred thousand tokens only"


def demo() -> Recipe:
    """Small steps at a high rate on the embedded MiniLM, for minutes on two cores."""
    return decided(
        name="demo",
        summary="The demo's minutes on two cores: small steps at a high rate, on the embedded MiniLM.",
        base=EMBEDDED,
        settings={
            "max_steps": (
                120,
                "leaves the whole demo within ten minutes on two cores, installation included",
            ),
            "examples_per_step": (16, f"many small steps; {_SHORT}"),
            "lr_peak": (5e-4, f"high; {_SHORT}"),
            "warmup_fraction": (0.1, "a dozen steps of warm-up; 6 % of so few would be seven"),
            "validate_every": (20, "points enough for a curve of 120 steps"),
            "validation_examples": (64, "seconds on two cores"),
            "checkpoint_every": (20, "an interrupted demo loses seconds"),
            "keep_checkpoints": (1, "little disk"),
        },
    )
