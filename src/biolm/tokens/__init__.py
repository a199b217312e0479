"""Corpus text to memory-mapped token ids."""
