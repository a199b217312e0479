"""Articles to passages in Parquet: built, split, described, read back."""
