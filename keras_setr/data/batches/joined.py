"""Several sources of pairs, one behind the other."""

import bisect
import itertools

from keras_setr.data.batches.source import SegmentationSource


class JoinedSources(SegmentationSource):
    """The pairs of several sources with the same classes, to train on.

    `load_dataset("ade20k", "train+validation")` joins splits of one dataset;
    this joins what comes from different ones.

    Args:
        sources: sequence of `SegmentationSource`.

    Raises:
        ValueError: the classes differ.
    """

    training = True

    def __init__(self, sources):
        self.sources = tuple(sources)
        self.classes = self.sources[0].classes
        for source in self.sources:
            if source.classes.names != self.classes.names:
                raise ValueError(
                    "sources must have the same classes in the same order. "
                    f"Received: {self.sources[0]!r} and {source!r}."
                )
        # Where each source ends.
        self._ends = list(itertools.accumulate(map(len, self.sources)))

    def __repr__(self):
        return f"JoinedSources({', '.join(map(repr, self.sources))})"

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, index):
        source, index = self._locate(index)
        return source[index]

    def file_name(self, index):
        source, index = self._locate(index)
        return source.file_name(index)

    def check(self):
        for source in self.sources:
            source.check()

    def _locate(self, index):
        """The source that holds pair `index`, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(
                f"pair {index} of {len(self)}: the index must lie in "
                f"0..{len(self) - 1}."
            )
        number = bisect.bisect_right(self._ends, index)
        return self.sources[number], index - ([0] + self._ends)[number]

    def _default_crop_size(self):
        return self.sources[0]._default_crop_size()
