"""From texts to mentions: words and symbols, windows, labels, the best path, scores of mentions."""
