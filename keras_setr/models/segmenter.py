"""What the SETR models share: wiring, presets and configuration."""

import os
from collections.abc import Sequence
from typing import Any

import h5py
import keras
import keras_hub
import numpy as np

from keras_setr import inference
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import num_classes
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.checkpoints import loading
from keras_setr.checkpoints.preset_folder import save_whole
from keras_setr.classes import Classes
from keras_setr.models import division
from keras_setr.models import fitting
from keras_setr.models import keras_internals
from keras_setr.models import prediction
from keras_setr.models.backbone import IMAGE_SHAPE
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.heads import ResizeLogits
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor
from keras_setr.models.preprocessor import published_preprocessor


def _classes(value):
    if isinstance(value, Classes):
        return value
    if not isinstance(value, dict):
        raise TypeError
    return Classes(**value)


# Rules for the arguments that all models have.
COMMON = {
    "backbone": instance("a SETRBackbone", SETRBackbone),
    "num_classes": num_classes(),
    "preprocessor": optional(
        either(
            choice("auto"),
            instance("a KerasHub preprocessor", keras_hub.models.Preprocessor),
        )
    ),
    "classes": optional(Rule("a keras_setr.Classes or its config", _classes)),
    "auxiliary_weight": number(0),
    "ignore_class": optional(integer()),
}


class SETRSegmenter(keras_hub.models.ImageSegmenter):
    """Base of `SETRNaive`, `SETRPUP` and `SETRMLA`.

    Training runs on images `(B, H, W, C)` and labels `(B, H, W)`, or
    `(B, H, W, 1)`, of integers. In training the model returns a dict with
    `"logits"`, `(B, H, W, K)` float32, and `"auxiliary_0"`, .. at the
    resolution of their heads; otherwise the logits alone.

    Images are RGB in 0..255 for `fit`, `evaluate`, `predict` and `segment`,
    which apply the `preprocessor`. A direct call `model(x)` does not, as in
    all of KerasHub, and with `preprocessor=None` nothing does.

    Attributes:
        run: the `Run` of the `fit` that is going on, for its callbacks; or
            None.
    """

    backbone_cls = SETRBackbone
    preprocessor_cls = SETRImageSegmenterPreprocessor
    presets = loading.PresetsOf("SETRSegmenter")

    def __init__(
        self,
        backbone: SETRBackbone,
        num_classes: int,
        logits: Any,
        auxiliary_logits: Sequence[Any],
        preprocessor: Any,
        classes: Classes | dict[str, Any] | None,
        auxiliary_weight: float,
        ignore_class: int | None,
        **kwargs: Any,
    ) -> None:
        if preprocessor == "auto":
            preprocessor = published_preprocessor(backbone.image_shape[-1])
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                "classes must name every class. Received: "
                f"{len(classes)} names for num_classes={num_classes}."
            )

        # === Functional model ===
        images = backbone.input
        head_logits = logits
        logits = ResizeLogits(name="resize_logits")(head_logits, images)
        outputs = {"logits": logits}
        for index, auxiliary in enumerate(auxiliary_logits):
            outputs[f"auxiliary_{index}"] = auxiliary
        super().__init__(
            inputs=images, outputs=outputs, compile=False, **kwargs
        )
        # The same graph without what only training needs.
        self._inference = keras.Function(images, logits)
        self._predictor = prediction.Predictor(self, head_logits)
        self.run = None

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = num_classes
        self.classes = classes
        self.auxiliary_weight = auxiliary_weight
        self.ignore_class = ignore_class
        self.dtype_policy = backbone.dtype_policy
        self.compile()

    def call(self, images, training=None, mask=None):
        if training:
            return super().call(images, training=training, mask=mask)
        return self._inference(images)

    # === Training ===

    @checked(
        learning_rate=optional(number(above=0)),
        total_steps=optional(integer(1)),
        head_multiplier=optional(number(0)),
        layer_decay=optional(number(maximum=1, above=0)),
        gradient_accumulation_steps=optional(integer(1)),
    )
    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        metrics: Any = "auto",
        learning_rate: Any = None,
        total_steps: int | None = None,
        head_multiplier: float | None = None,
        layer_decay: float | None = None,
        gradient_accumulation_steps: int | None = None,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Set up training; without arguments, the paper's recipe.

        That is SGD with momentum 0.9, polynomial decay of power 0.9 from
        `learning_rate` to 1e-4 over `total_steps`, heads at 10 times the
        rate, and the cross-entropy averaged over the pixels that are not
        `ignore_class` (paper, section 4.1). Auxiliary heads add their loss
        times `auxiliary_weight`. Metrics are mean IoU and pixel accuracy.

        `"adamw"` is for few images: AdamW with weight decay 0.01, but for
        biases, norms and positions, and linear decay from `learning_rate` to
        0, heads at 10 times the rate; `layer_decay=0.75` keeps the first
        layers of a pretrained encoder close to what they are.

        The arguments from `learning_rate` to `gradient_accumulation_steps`
        belong to these two automatic optimizers.

        Args:
            optimizer: `"auto"`, `"adamw"`, another name or a
                `keras.Optimizer`.
            loss: `"auto"` for `keras_setr.losses.PixelCrossEntropy`, a name
                or a `keras.Loss` on labels and logits. Auxiliary heads take
                the same.
            metrics: `"auto"` or a list.
            learning_rate: float. Defaults to 0.001, the paper's for ADE20K
                and Pascal Context (0.01 for Cityscapes); 6e-5 for `"adamw"`.
            total_steps: int. Updates until the rate has decayed. Defaults to
                those of each `fit`.
            head_multiplier: float. Learning-rate factor of the decode and
                auxiliary heads. Defaults to 10.
            layer_decay: float in (0, 1]. Factor of the learning rate from
                each encoder layer to the one before: layer l of L learns
                decay^(L + 1 - l) as fast, the embeddings decay^(L + 1).
            gradient_accumulation_steps: int. N batches make one update, by
                the mean of their gradients: that of a batch N times as large
                where all N have the same number of labelled pixels, except
                that batch norm sees each by itself. Any Keras optimizer takes
                this argument, too, but schedules other than our optimizers'
                count batches there.
            jit_compile: bool or `"auto"`, which is Keras' choice except that
                TensorFlow uses XLA only on a single GPU.
            **kwargs: as for `keras.Model.compile`.
        """
        options = fitting.compile_options(
            self,
            optimizer,
            loss,
            metrics,
            jit_compile,
            learning_rate=learning_rate,
            total_steps=total_steps,
            head_multiplier=head_multiplier,
            layer_decay=layer_decay,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        super().compile(**options, **kwargs)
        # Threads that read batches do not see what Keras distributes over.
        self._division = division.division_of(self)
        self._scores_are_built = False

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, y: Any = None, **options: Any) -> Any:
        """As in Keras, with what it is given checked before and as it comes.

        A schedule that leaves its length open is spread over the steps of
        this fit.
        """
        return fitting.fit(self, x, y, **options)

    def evaluate(self, x: Any = None, y: Any = None, **options: Any) -> Any:
        """As in Keras, with the preprocessor before the model.

        The loss and the metrics are those of one window per image;
        `keras_setr.evaluate` measures on whole images.
        """
        return fitting.evaluate(self, x, y, **options)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return fitting.prepare(self, x, y, sample_weight)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        main, auxiliary = fitting.logits_of_heads(y_pred)
        loss = super().compute_loss(x, y, main, sample_weight, training)
        if not auxiliary:
            return loss
        return loss + fitting.auxiliary_loss(
            self, y, main, auxiliary, sample_weight
        )

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        main, _ = fitting.logits_of_heads(y_pred)
        return super().compute_metrics(x, y, main, sample_weight)

    _symbolic_build = keras_internals.build_scores
    _maybe_symbolic_build = keras_internals.build_scores

    # === Prediction ===

    @checked(
        *inference.VIEW_OPTIONS,
        batch_size=optional(integer(1)),
        verbose=inference.VERBOSE,
        steps=optional(integer(1)),
    )
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        **views: Any,
    ) -> Any:
        """Logits of images of any size, by overlapping windows.

        An image of the window's size is one forward pass. A larger one is cut
        into windows whose logits are averaged where they overlap; one that
        does not hold a window is enlarged first (paper, section 4.1), and its
        logits are brought back to its own size. With several views of an
        image, scaled or mirrored, the softmax of their logits is averaged;
        its logarithm is returned.

        Args:
            x: array `(B, H, W, C)`, a list of `(H, W, C)` arrays or image
                files of any sizes, or a `tf.data.Dataset` of batches, with
                labels or without.
            batch_size: int. Windows in one forward pass; under a distribution
                rounded up to divide among its devices. Defaults to 4, or to
                fewer where their logits would take more than 256 MB.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            steps: int. Batches to take from a dataset.
            **views: `window_size`, `stride`, `scales`, `flip`, `protocol` and
                `base_scale`, as of `keras_setr.inference.Views`. Those of the
                published results are
                `**ks.data.DATASETS[name].test_options`.

        Returns:
            `(B, H, W, K)` float32 if all images have one size, or else a list
            of `(H, W, K)`.
        """
        return self._predictor.predict(
            x, inference.Views(**views), batch_size, verbose, steps
        )

    @checked(
        *inference.VIEW_OPTIONS,
        output=choice(*inference.OUTPUTS),
        confidence=flag(),
        batch_size=optional(integer(1)),
        verbose=inference.VERBOSE,
    )
    def segment(
        self,
        x: Any,
        output: str = "labels",
        batch_size: int | None = None,
        verbose: bool | int | str = 0,
        *,
        confidence: bool = False,
        **views: Any,
    ) -> Any:
        """Label maps of images at their own size.

        Labels of large images take little memory: what no further window
        covers is reduced to labels while the others still run.

        Args:
            x: an image file or array `(H, W, C)`, a batch `(B, H, W, C)`, or
                a list of files and arrays of any sizes.
            output: `"labels"`, `"probabilities"` or `"logits"`.
            batch_size, verbose: as for `predict`.
            confidence: bool. Give `(labels, confidence)` instead of labels,
                the second with the `(H, W)` float32 probability of each.
            **views: as for `predict`.

        Returns:
            `(H, W)` int32, or `(H, W, K)` float32, for a single image; for a
            batch the same with a leading axis; for a list a list.
        """
        return self._predictor.segment(
            x,
            inference.Views(**views),
            output,
            batch_size,
            verbose,
            confidence,
        )

    def load_image(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file as `predict` and `segment` read it.

        Args:
            path: of the file.

        Returns:
            `(H, W, C)` uint8 or uint16, whichever the model was trained on.
        """
        return self._predictor.load_image(path)

    # === Presets ===

    @classmethod
    @checked(
        preset=path(),
        num_classes=optional(num_classes()),
        image_shape=optional(IMAGE_SHAPE),
    )
    def from_preset(
        cls,
        preset: str,
        load_weights: bool = True,
        num_classes: int | None = None,
        image_shape: Sequence[int | None] | None = None,
        file: str | None = None,
        skip_mismatch: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Load a model with weights from anywhere.

        `SETRSegmenter.from_preset` gives whichever of `SETRNaive`, `SETRPUP`
        and `SETRMLA` the source holds. One summary is printed of what was
        loaded, resampled, left out or re-initialised; what does not fit is an
        error.

        Args:
            preset: str. A built-in name of `presets`; a preset folder or a
                handle as in KerasHub (`hf://`, `kaggle://`, `modelscope://`,
                `gs://`); a folder or `hf://` handle of Hugging Face (ViT,
                DeiT, DINOv2); or a file of timm, Google, mmsegmentation or
                the authors (`.pth`, `.safetensors`, `.npz`), whose layout is
                recognised from its names.
            load_weights: bool. `False` leaves all weights at random.
            num_classes: int. Another number than the source's keeps the whole
                decoder and re-initialises only the classifiers. Required for
                a source that holds an encoder alone.
            image_shape: `(int, int, int)`. Another size than the source's
                resamples the positions.
            file: str. The file of a built-in name that has no fixed address.
            skip_mismatch: bool. Load what fits instead of raising.
            verbose: bool. Whether to print the summary and a progress bar.
            **kwargs: further arguments of the model or its backbone, which
                replace the source's.

        Raises:
            TypeError: where an argument is none of the model's nor of its
                backbone's; before anything is downloaded.
            ValueError: where the source is unknown, holds another of these
                classes, or does not fit the model.
        """
        arguments = {"num_classes": num_classes, "image_shape": image_shape}
        arguments = {k: v for k, v in arguments.items() if v is not None}
        return loading.load_segmenter(
            cls,
            tuple(sorted(_concrete(SETRSegmenter), key=lambda c: c.__name__)),
            preset,
            loading.LoadOptions(file, load_weights, skip_mismatch, verbose),
            {**arguments, **kwargs},
        )

    def save_to_preset(
        self, preset_dir: str | os.PathLike[str], max_shard_size: float = 10
    ) -> None:
        """Save the model as a preset folder, whole or not at all.

        Whenever the process is killed, the folder holds the preset that was
        there before, or the new one. A model card in it stays.

        Args:
            preset_dir: path of the folder.
            max_shard_size: number. Gigabytes from which on the encoder's
                weights are split; `None` never splits them.
        """
        save_whole(super().save_to_preset, preset_dir, max_shard_size)

    def load_weights(self, filepath, **kwargs):
        """As in Keras; a file without an optimizer leaves it as it is.

        Args:
            filepath: path of a `.weights.h5` file, or of the `.json` of a
                split one.
            **kwargs: `skip_mismatch`, as in Keras.
        """
        if str(filepath).endswith(".weights.h5") and h5py.is_hdf5(filepath):
            with h5py.File(filepath) as file:
                if "optimizer" not in file:
                    # Keras would warn that it finds none.
                    kwargs.setdefault("objects_to_skip", [self.optimizer])
        super().load_weights(filepath, **kwargs)

    def save_task_weights(self, filepath):
        keras.saving.save_weights(
            self, filepath, objects_to_skip=self._outside_task_weights()
        )

    def load_task_weights(self, filepath):
        keras.saving.load_weights(
            self, filepath, objects_to_skip=self._outside_task_weights()
        )

    def _outside_task_weights(self):
        """What a preset's task weights leave out: encoder and optimizer.

        The optimizer's momenta would triple the size of a trained preset.
        """
        return [*self.backbone.layers, self.backbone, self.optimizer]

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            classes=self.classes and self.classes.get_config(),
            auxiliary_weight=self.auxiliary_weight,
            ignore_class=self.ignore_class,
        )
        return config


def _concrete(cls):
    """The public subclasses, however deep."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _concrete(subclass)
