"""A stock Hugging Face masked language model, run on packed rows and at masked positions only."""
