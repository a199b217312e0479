"""Masked-token loss and recall, with intervals over documents."""
