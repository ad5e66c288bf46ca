"""The published trainings as records, and a small form of each."""
