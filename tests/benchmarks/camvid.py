"""CamVid in SegNet's folders, as the benchmarks on it load it."""


def load(directory, batch_size, crop, steps, every, seed):
    """Batches to train with, and each `every`th image to validate with.

    Args:
        directory: has train/, trainannot/, val/ and valannot/, 11 as void.
        batch_size, steps, every, seed: int.
        crop: `(H, W)`.

    Returns:
        `(batches, images)`; the images with their labels.
    """
    import keras_setr as ks

    folder = ks.data.SegmentationFolder(
        directory, num_classes=11, ignore_values=[11, 255]
    )
    train, val = folder.split()
    batches = train.batches(
        batch_size,
        augment=ks.data.TrainingTransform(crop, scale_range=(0.5, 1.5)),
        seed=seed,
        reader="threads",
        steps_per_epoch=steps,
    )
    return batches, [val[index] for index in range(0, len(val), every)]
