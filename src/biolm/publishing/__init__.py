"""What goes out with a model: its card."""
