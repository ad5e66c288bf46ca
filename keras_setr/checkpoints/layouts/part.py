"""What a checkpoint holds under one naming."""

import re
from collections.abc import Sequence
from typing import Any


class Part:
    """An encoder, or what stands in front of one, in a checkpoint.

    Args:
        checkpoint: `Checkpoint`.
        names: one of `namings`, under which it is there.
        prefix: str. What the file has before every name.

    Attributes:
        namings: sequence of records with `prefixes` and `ignored`.
    """

    namings: Sequence[Any] = ()

    def __init__(self, checkpoint, names, prefix):
        self.checkpoint = checkpoint
        self.names = names
        self.prefix = prefix

    @classmethod
    def find(cls, checkpoint):
        """What the checkpoint holds of it, or `None`."""
        for names in cls.namings:
            for prefix in names.prefixes:
                part = cls(checkpoint, names, prefix)
                if part.is_there:
                    return part
        return None

    @property
    def is_there(self):
        """Whether the checkpoint has what the naming is known by."""
        raise NotImplementedError

    @property
    def ignored(self):
        """`(pattern, reason)` of each tensor that is left out."""
        prefix = re.escape(self.prefix)
        patterns = [(prefix + p, reason) for p, reason in self.names.ignored]
        # Some files keep the classifier beside the prefixed encoder.
        return (*patterns, *self.names.ignored)
