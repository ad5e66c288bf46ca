"""The callbacks of a training, in the order in which they work together."""

import os
import pathlib
from typing import Any

import keras

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import folder
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.evaluation import WHOLE_IMAGES
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.training.callbacks import logs
from keras_setr.training.callbacks import stopping
from keras_setr.training.callbacks import validation as whole_images
from keras_setr.training.resume.callback import Checkpoints


@checked(
    *VIEW_OPTIONS,
    directory=folder(),
    validation=optional(WHOLE_IMAGES),
    validate_every=integer(1),
    checkpoint_every=integer(1),
    previews=integer(0),
    tensorboard=flag(),
    preflight=flag(),
)
def callbacks(
    directory: str | os.PathLike[str],
    *,
    validation: Any = None,
    validate_every: int = 1,
    checkpoint_every: int = 500,
    resume: bool = True,
    monitor: str = "val_mean_iou",
    mode: str = "max",
    patience: int | None = None,
    previews: int = 4,
    tensorboard: bool = False,
    preflight: bool = True,
    batch_size: int | None = None,
    **views: Any,
) -> list[keras.callbacks.Callback]:
    """Callbacks for `fit`: exact resume, validation, the best weights, logs.

    ```python
    model.fit(
        train.batches(8),
        validation_data=val.batches(8),
        epochs=20,
        callbacks=ks.callbacks("runs/a"),
    )
    ```

    The directory then holds

    - `checkpoints/`: the newest two checkpoints. The same command started
      again goes on there, and ends with the weights of an uninterrupted run;
    - `best.weights.h5`: the best weights by `monitor`, for
      `model.load_weights`;
    - `log.csv`: a row per epoch;
    - `previews/epoch_0001.png`, ..: validation images, truth, prediction;
    - `tensorboard/`, if asked for.

    Losses that turn NaN or infinite stop the training with an error.

    Args:
        directory: path. One for each run.
        validation: whole images with labels, as for `ks.evaluate`, to score
            by sliding windows. Defaults to those behind the `validation_data`
            of `fit`, if that is `batches()` of a folder or a dataset. Labels
            lie in `0..model.num_classes - 1`, or are the ignored class.
        validate_every: int. Epochs between these validations and previews.
        checkpoint_every: int. Steps between checkpoints within an epoch.
        resume: bool. False asks for a directory without a run.
        monitor: str. What the best weights and early stopping go by.
        mode: `"max"` or `"min"`. What is better.
        patience: int. Stop after so many validations without improvement.
            Never by default.
        previews: int. Validation images to draw.
        tensorboard: bool.
        preflight: bool. Say before the first step what the batch, the
            learning rates, the parameters and the memory of a step are, and
            raise where that cannot fit (`keras_setr.training.describe_run`,
            which takes some seconds).
        batch_size, **views: how whole images are segmented, as for
            `ks.evaluate`: `window_size`, `stride`, `scales`, ..

    Returns:
        A list of callbacks. Put further ones that have `get_state` and
        `set_state` before them.

    Raises:
        ValueError: an argument does not fit. What `fit` may raise is said
            with `keras_setr.training.Checkpoints` and `FiniteLoss`.
        ImportError: `tensorboard=True` without that package.
        MemoryError: from `fit`, where a step needs more than there is.
    """
    directory = pathlib.Path(directory)
    found = [logs.Preflight()] if preflight else []
    found += [
        logs.FirstStep(),
        stopping.FiniteLoss(),
        whole_images.SlidingWindowValidation(
            validation, validate_every, batch_size=batch_size, **views
        ),
    ]
    if previews:
        found.append(
            whole_images.Previews(
                directory / "previews",
                validation,
                previews,
                validate_every,
                batch_size=batch_size,
                **views,
            )
        )
    found.append(
        whole_images.BestWeights(directory / "best.weights.h5", monitor, mode)
    )
    if patience is not None:
        found.append(stopping.EarlyStopping(patience, monitor, mode))
    found.append(logs.CSVLog(directory / "log.csv"))
    if tensorboard:
        found.append(logs.tensorboard(directory / "tensorboard"))
    found.append(logs.TimeLeft())
    # Last, so that it saves what the others know at the end of an epoch.
    found.append(Checkpoints(directory, checkpoint_every, resume))
    return found
