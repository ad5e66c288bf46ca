"""The published data sets, from their official archives."""
