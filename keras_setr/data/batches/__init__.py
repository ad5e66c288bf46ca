"""Pairs as augmented batches, a pure function of seed and number."""
