"""Papers in whatever form they come, as a stream of `Article`."""

from biolm.sources.shards import read_source

__all__ = ["read_source"]
