"""Synthetic street scenes, for trying things without a download."""
