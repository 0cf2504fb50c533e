"""Running an evaluation: targets, progress and results."""
