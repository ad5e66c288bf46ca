"""What becomes of finished logits: labels, probabilities or logits.

An output takes blocks at the original size in any order; `put` gets logits
`(m, n, K)` and `put_probabilities` the same of probabilities, both with the
`(top, left)` of the block. Labels keep nothing else of them.
"""

import numpy as np

OUTPUTS = ("labels", "probabilities", "logits")


def softmax(logits):
    """Over the last axis, in a new array."""
    exponentials = logits - logits.max(axis=-1, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def entropy_of(probabilities):
    """Of the last axis, in nats."""
    least = np.finfo(np.float32).tiny
    terms = np.log(np.maximum(probabilities, least))
    terms *= probabilities
    return -terms.sum(axis=-1)


class Labels:
    """`(H, W)` int32 labels, and `(H, W)` float32 maps on request.

    The confidence is the probability of the label, the entropy that of all
    probabilities, in nats: 0 where one class is certain, log K where all are
    as likely.
    """

    def __init__(self, size, extras):
        self.size = size
        self.num_classes = None
        self.labels = None
        self.extras = {name: np.empty(size, np.float32) for name in extras}

    def put(self, top, left, logits):
        part = self._label(top, left, logits)
        if self.extras:
            for row, line in enumerate(logits, start=top):
                self._extras((row, part[1]), softmax(line))

    def put_probabilities(self, top, left, probabilities):
        part = self._label(top, left, probabilities)
        self._extras(part, probabilities)

    def _extras(self, part, probabilities):
        for name, values in self.extras.items():
            if name == "confidence":
                values[part] = probabilities.max(axis=-1)
            else:
                values[part] = entropy_of(probabilities)

    def _label(self, top, left, scores):
        if self.labels is None:
            # While logits still take memory, labels take as little as they
            # can.
            self.num_classes = scores.shape[-1]
            smallest = np.min_scalar_type(self.num_classes - 1)
            self.labels = np.empty(self.size, smallest)
        part = _part(top, left, scores)
        self.labels[part] = scores.argmax(axis=-1)
        return part

    def result(self):
        labels = self.labels.astype(np.int32)
        return (labels, *self.extras.values()) if self.extras else labels


class Scores:
    """`(H, W, K)` float32 probabilities or logits.

    The logits of several views are the logarithm of their mean probability,
    whose softmax that is.
    """

    def __init__(self, size, output):
        self.size = size
        self.wants_logits = output == "logits"
        self.values = None

    def _place(self, block):
        if self.values is None:
            self.values = np.empty((*self.size, block.shape[-1]), np.float32)
        return self.values

    def put(self, top, left, logits):
        values = self._place(logits)
        if self.wants_logits:
            values[_part(top, left, logits)] = logits
            return
        columns = slice(left, left + logits.shape[1])
        for row, line in enumerate(logits, start=top):
            values[row, columns] = softmax(line)

    def put_probabilities(self, top, left, probabilities):
        values = self._place(probabilities)
        if self.wants_logits:
            least = np.finfo(np.float32).tiny
            probabilities = np.log(np.maximum(probabilities, least))
        values[_part(top, left, probabilities)] = probabilities

    def result(self):
        return self.values


def _part(top, left, block):
    return (
        slice(top, top + block.shape[0]),
        slice(left, left + block.shape[1]),
    )


def build_output(wanted, size):
    """The output of an image `(H, W)`.

    Args:
        wanted: tuple of str, one of `OUTPUTS`, and after `"labels"` what else
            of `"confidence"` and `"entropy"`.
        size: `(H, W)`.
    """
    output, *extras = wanted
    if output == "labels":
        return Labels(size, extras)
    return Scores(size, output)
