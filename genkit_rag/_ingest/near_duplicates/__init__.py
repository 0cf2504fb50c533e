"""Detection of near-duplicate chunks."""
