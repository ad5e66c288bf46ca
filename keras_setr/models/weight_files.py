"""Files that Keras writes and reads: whole, and looked at before."""

import os
import warnings

import h5py
import keras

from keras_setr.checkpoints.transfer import not_finite
from keras_setr.files.decoding import check_regular
from keras_setr.files.whole import RaisingFile
from keras_setr.files.whole import written_whole
from keras_setr.tables import counted


def save_weights(model, path, skipped=()):
    """`keras.saving.save_weights`, whole or not at all.

    Args:
        model: `keras.Model`.
        path: path that ends in `.weights.h5`.
        skipped: sequence of layers and optimizers that are left out.

    Raises:
        OSError: names the path; an older file stays.
    """
    with written_whole(path) as partial, RaisingFile(partial) as file:
        keras.saving.save_weights(model, file, objects_to_skip=skipped)


def save_weights_of(model, otherwise, path, overwrite, max_shard_size):
    """What `save_weights` of our models does; the file is whole or not there.

    Args:
        model: `keras.Model`.
        otherwise: callable, Keras' own, for what is not written here.
        path, overwrite, max_shard_size: as in Keras.
    """
    if is_written_here(path, ".weights.h5", overwrite, shards=max_shard_size):
        save_weights(model, path)
    else:
        otherwise(path, overwrite, max_shard_size)


def is_written_here(path, end, overwrite, **options):
    """Whether `save` or `save_weights` are asked for just a file of ours.

    Keras itself writes to other machines, writes parts and folders, asks
    before it overwrites, and refuses other names.

    Args:
        path: path that was given.
        end: str. What it should end in.
        overwrite: bool. Whether it may be there.
        **options: those that change what is written; None where not given.
    """
    fits = str(path).endswith(end) and "://" not in str(path)
    given = [value for value in options.values() if value is not None]
    return fits and not given and (overwrite or not os.path.exists(path))


def read_options(model, path, options):
    """What `load_weights` of Keras takes for a segmenter's file.

    Args:
        model: `SETRSegmenter`.
        path: of a `.weights.h5` file, or of the `.json` of a split one.
        options: dict of those that were given, `skip_mismatch` among them.

    Returns:
        dict.

    Raises:
        ValueError: the file is that of a model for images of another size, or
            no HDF5 at all.
    """
    # What is not there, Keras names.
    if not (str(path).endswith(".weights.h5") and os.path.exists(path)):
        return options
    check_regular(path)
    try:
        with h5py.File(path) as file:
            if not options.get("skip_mismatch"):
                _check_positions(model.backbone, file, path)
            if "optimizer" not in file:
                # Keras would warn that it finds none.
                return {"objects_to_skip": [model.optimizer], **options}
    except OSError as error:
        raise ValueError(
            f"{path} must hold weights as save_weights writes them. Received: "
            f"a file that is no HDF5, or damaged; copy or save it again. "
            f"({error})"
        ) from error
    return options


def warn_of_not_finite(model, path):
    """Warn of weights that no training leaves, once they are loaded.

    Args:
        model: `keras.Model`.
        path: path that they come from.
    """
    if wrong := not_finite(model):
        warnings.warn(
            f"{path} holds values that are NaN or infinite in "
            f"{counted(len(wrong), 'variable')}, the first: {wrong[0]}. The "
            "training that it comes from has failed.",
            stacklevel=4,
        )


def _check_positions(backbone, file, path):
    """Raise where a weights file belongs to images of another size."""
    saved = file.get("layers/token_embedding/vars")
    if saved is None or not len(saved):
        return
    *_, last = sorted(saved, key=int)
    grid = saved[last].shape[:-1]
    if len(grid) != 2 or grid == tuple(backbone.position_grid):
        return
    size = tuple(rows * backbone.patch_size for rows in grid)
    raise ValueError(
        f"{path} has positions for a grid of {grid} patches, images of "
        f"{size}. This model has {tuple(backbone.position_grid)}, for "
        f"{backbone.native_size}. Build it with SETRBackbone("
        f"position_grid={grid}, ..), which resamples them to any "
        "image_shape; or save the other one by save_to_preset and load "
        "it with from_preset(.., image_shape=..)."
    )
