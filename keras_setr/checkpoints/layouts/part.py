"""What a checkpoint holds under one naming."""

import re


def find(checkpoint, namings):
    """Which of some namings a checkpoint has.

    Args:
        checkpoint: `Checkpoint`.
        namings: records with `prefixes`, what files may have before every
            name, and `signature`, the names that all have to be there. The
            first that fits is taken.

    Returns:
        `(checkpoint, naming, prefix)`, or `None`.
    """
    for names in namings:
        for prefix in names.prefixes:
            if all(prefix + name in checkpoint for name in names.signature):
                return checkpoint, names, prefix
    return None


class Part:
    """An encoder, or what stands in front of one, in a checkpoint.

    Args:
        checkpoint: `Checkpoint`.
        names: one of `namings`, under which it is there.
        prefix: str. What the file has before every name.
    """

    def __init__(self, checkpoint, names, prefix):
        self.checkpoint = checkpoint
        self.names = names
        self.prefix = prefix

    @property
    def ignored(self):
        """`(pattern, reason)` of each tensor that is left out."""
        prefix = re.escape(self.prefix)
        patterns = [(prefix + p, reason) for p, reason in self.names.ignored]
        # Some files keep the classifier beside the prefixed encoder.
        return (*patterns, *self.names.ignored)
