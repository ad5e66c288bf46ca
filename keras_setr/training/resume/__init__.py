"""A training saved whole, and continued to the bit."""
