"""What is compiled of blending on a device: functions of fixed shapes.

Each takes the `Device` and what is on it; numbers that change from call to
call come as one small array.
"""

import numpy as np
from keras import ops

_TINY = np.finfo(np.float32).tiny


def cut_window(device, pixels, where, size, flip):
    window = ops.cast(device.cut(pixels, where[0], where[1], size), "float32")
    return ops.flip(window, axis=1) if flip else window


def stack_windows(device, *windows):
    return ops.stack(windows)


def add_window(device, sums, logits, where, flip):
    _, height, width, classes = logits.shape
    # TensorFlow would compile `logits[index]` for each index.
    block = device.cut(
        ops.reshape(logits, (-1, classes)),
        where[0] * (height * width),
        width,
        (height, width),
    )
    if flip:
        block = ops.flip(block, axis=1)
    return device.add(sums, block, where[1], where[2])


def fold_in(device, mean, sums, chunks, geometry, share, count, resized):
    def fold(chunk, mean):
        first = chunk * count
        logits = _mean_logits(device, sums, first, geometry, count, resized)
        block = ops.softmax(logits)[None] * share
        return device.add(mean, block, first, count)

    return ops.fori_loop(0, chunks, fold, mean)


def reduce_one(device, sums, first, geometry, count, resized, wanted):
    logits = _mean_logits(device, sums, first, geometry, count, resized)
    return _reduced(logits, lambda: ops.softmax(logits), lambda: logits, wanted)


def reduce_mean(device, mean, first, count, wanted):
    probabilities = device.cut(mean, first, count, (1, count))[0]
    return _reduced(
        probabilities,
        lambda: probabilities,
        lambda: _log(probabilities),
        wanted,
    )


def _log(probabilities):
    return ops.log(ops.maximum(probabilities, float(_TINY)))


def _reduced(scores, probabilities, logits, wanted):
    """The maps of these pixels, `(n,)` or `(n, K)`, in the order asked for."""
    maps = []
    for name in wanted:
        if name == "labels":
            # No more bytes than they need travel back.
            dtype = "uint8" if scores.shape[-1] <= 2**8 else "uint16"
            maps.append(ops.cast(ops.argmax(scores, axis=-1), dtype))
        elif name == "logits":
            maps.append(logits())
        elif name == "probabilities":
            maps.append(probabilities())
        elif name == "confidence":
            maps.append(ops.max(probabilities(), axis=-1))
        else:
            p = probabilities()
            maps.append(-ops.sum(p * _log(p), axis=-1))
    return tuple(maps)


def count_labels(device, counts, labels, truth, first, pixels, count):
    """`(K, K)` int32 with the n pixels of a chunk added."""
    classes = counts.shape[0]
    truth = ops.cast(device.cut(truth, first, count, (1, count)), "int32")
    inside = first + ops.arange(count, dtype="int32") < pixels
    # A row of zeros, which counts nowhere, for what is no class.
    truth = ops.where(inside, ops.reshape(truth, (-1,)), classes)
    rows, columns = (
        ops.cast(values[:, None] == ops.arange(classes), "float32")
        for values in (truth, ops.cast(labels, "int32"))
    )
    # Accelerators multiply matrices faster than they scatter. The product is
    # exact, as a chunk has less than 2^24 pixels.
    return counts + ops.cast(ops.matmul(ops.transpose(rows), columns), "int32")


def _mean_logits(device, sums, first, geometry, count, resized):
    """`(n, K)` of n pixels of the image: averaged windows, resized.

    Args:
        sums: `(P, K)` of a view.
        first: the first of the pixels.
        geometry: height and width of the image, of the view, of its windows
            and of its stride; whether it is mirrored.
        count: int. n.
        resized: bool. Whether the view has another size than the image.
    """
    size, view_size, window, stride = (
        (geometry[i], geometry[i + 1]) for i in (0, 2, 4, 6)
    )
    place = first + ops.arange(count, dtype="int32")
    row = place // size[1]
    column = place - row * size[1]

    def share(rows, columns):
        covers = _covers(rows, window[0], stride[0], view_size[0])
        # A mirrored view has its first column at the right.
        columns = ops.where(geometry[8], view_size[1] - 1 - columns, columns)
        covers *= _covers(columns, window[1], stride[1], view_size[1])
        # Beyond the last pixel there is none.
        return (1 / ops.maximum(ops.cast(covers, "float32"), 1))[:, None]

    if not resized:
        block = device.cut(sums, first, count, (1, count))[0]
        return block * share(row, column)
    total = 0
    for rows, row_weight in _taps(view_size[0], size[0], row):
        for columns, column_weight in _taps(view_size[1], size[1], column):
            values = ops.take(sums, rows * view_size[1] + columns, axis=0)
            weight = (row_weight * column_weight)[:, None]
            total += values * (share(rows, columns) * weight)
    return total


def _covers(position, window, stride, length):
    """How many windows of a row or column cover each position."""
    regular = (length - window + stride - 1) // stride  # all but the last
    last = ops.minimum(position // stride, regular - 1)
    first = ops.maximum((position - window) // stride + 1, 0)
    covered = ops.cast(position >= length - window, "int32")
    return ops.maximum(last - first + 1, 0) + covered


def _taps(source, target, position):
    """`(index, weight)` of both neighbours; see `blending`."""
    scale = ops.cast(source, "float32") / ops.cast(target, "float32")
    position = scale * (ops.cast(position, "float32") + 0.5) - 0.5
    position = ops.maximum(position, 0.0)
    before = ops.minimum(ops.cast(position, "int32"), source - 1)
    after = ops.minimum(before + 1, source - 1)
    weight = position - ops.cast(before, "float32")
    return (before, 1 - weight), (after, weight)
