"""What a segmenter does: `compile`, `fit`, `evaluate`, `predict`, `segment`."""
