"""biolm: papers → corpus → tokens → pretraining → evaluation → a model that life scientists can use."""

__version__ = "0.1.0"
