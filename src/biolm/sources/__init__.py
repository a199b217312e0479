"""Papers in whatever form they come, as a stream of `Article`."""
