"""From annotated documents to a tagger: a base with a new head, trained by the pretraining's engine."""
