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


class Labels:
    """`(H, W)` int32 labels, with `(H, W)` float32 confidence on request.

    The confidence is the probability of the label.
    """

    def __init__(self, size, confidence):
        self.size = size
        self.labels = None
        self.confidence = np.empty(size, np.float32) if confidence else None

    def put(self, top, left, logits):
        part = self._label(top, left, logits)
        if self.confidence is not None:
            for row, line in enumerate(logits, start=top):
                # exp(l_k - l_k) / sum_j exp(l_j - l_k) for the largest, l_k.
                line = line - line.max(axis=-1, keepdims=True)
                np.exp(line, out=line)
                self.confidence[row, part[1]] = 1 / line.sum(axis=-1)

    def put_probabilities(self, top, left, probabilities):
        part = self._label(top, left, probabilities)
        if self.confidence is not None:
            self.confidence[part] = probabilities.max(axis=-1)

    def _label(self, top, left, scores):
        if self.labels is None:
            # While logits still take memory, labels take as little as they
            # can.
            smallest = np.min_scalar_type(scores.shape[-1] - 1)
            self.labels = np.empty(self.size, smallest)
        part = _part(top, left, scores)
        self.labels[part] = scores.argmax(axis=-1)
        return part

    def result(self):
        labels = self.labels.astype(np.int32)
        return labels if self.confidence is None else (labels, self.confidence)


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


def build_output(output, size, confidence):
    if output == "labels":
        return Labels(size, confidence)
    return Scores(size, output)
