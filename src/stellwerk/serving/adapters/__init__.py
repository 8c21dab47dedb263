"""Where predictions are logged."""
