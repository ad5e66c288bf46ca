"""Files of weights alone, `.weights.h5`: a look at them before Keras reads."""

import os

import h5py


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
    if not (str(path).endswith(".weights.h5") and os.path.isfile(path)):
        return options
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"{path} must hold weights as save_weights writes them. Received: "
            "a file that is no HDF5, or damaged; copy or save it again."
        )
    with h5py.File(path) as file:
        if not options.get("skip_mismatch"):
            _check_positions(model.backbone, file, path)
        if "optimizer" not in file:
            # Keras would warn that it finds none.
            return {"objects_to_skip": [model.optimizer], **options}
    return options


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
