"""What the SETR models share: wiring, presets and configuration."""

import warnings

import keras
import keras_hub

from keras_setr.checkpoints import loading
from keras_setr.classes import Classes
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.devices import DistributedTraining
from keras_setr.models.fitting import PixelTraining
from keras_setr.models.heads import ResizeLogits
from keras_setr.models.prediction import SlidingWindowPrediction
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor


class SETRSegmenter(
    PixelTraining,
    DistributedTraining,
    SlidingWindowPrediction,
    keras_hub.models.ImageSegmenter,
):
    """Base of `SETRNaive`, `SETRPUP` and `SETRMLA`.

    Training runs on images `(B, H, W, C)` and labels `(B, H, W)`, or
    `(B, H, W, 1)`, of integers. In training the model returns a dict with
    `"logits"`, `(B, H, W, K)` float32, and `"auxiliary_0"`, .. at the
    resolution of their heads; otherwise the logits alone.

    Images are RGB in 0..255 for `fit`, `evaluate`, `predict` and `segment`,
    which apply the `preprocessor`. A direct call `model(x)` does not, as in
    all of KerasHub, and with `preprocessor=None` nothing does.
    """

    backbone_cls = SETRBackbone
    preprocessor_cls = SETRImageSegmenterPreprocessor
    presets = loading.PresetsOf("SETRSegmenter")

    def __init__(
        self,
        backbone,
        num_classes,
        logits,
        auxiliary_logits,
        preprocessor,
        classes,
        auxiliary_weight,
        ignore_class,
        **kwargs,
    ):
        if preprocessor == "auto":
            preprocessor = SETRImageSegmenterPreprocessor()
        if isinstance(classes, dict):
            classes = Classes(**classes)
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                "classes must name every class. Received: "
                f"{len(classes)} names for num_classes={num_classes}."
            )

        # === Functional model ===
        images = backbone.input
        logits = ResizeLogits(name="resize_logits")(logits, images)
        outputs = {"logits": logits}
        for index, auxiliary in enumerate(auxiliary_logits):
            outputs[f"auxiliary_{index}"] = auxiliary
        super().__init__(
            inputs=images, outputs=outputs, compile=False, **kwargs
        )
        # The same graph without what only training needs.
        self._inference = keras.Function(images, logits)
        self._forward = self._forward_small = None

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = num_classes
        self.classes = classes
        self.auxiliary_weight = auxiliary_weight
        self.ignore_class = ignore_class
        self.dtype_policy = backbone.dtype_policy
        self.compile()

    @staticmethod
    def _check_num_classes(num_classes):
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(
                "num_classes must be an integer of at least 2 (a background "
                f"counts as a class). Received: {num_classes!r}."
            )

    def call(self, images, training=None, mask=None):
        if training:
            return super().call(images, training=training, mask=mask)
        return self._inference(images)

    # === Presets ===

    @classmethod
    def from_preset(
        cls,
        preset,
        load_weights=True,
        num_classes=None,
        image_shape=None,
        file=None,
        skip_mismatch=False,
        verbose=True,
        **kwargs,
    ):
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
            ValueError: where the source is unknown, holds another of these
                classes, or does not fit the model.
        """
        given = {
            "num_classes": num_classes,
            "image_shape": image_shape and tuple(image_shape),
        }
        given = {k: v for k, v in given.items() if v is not None} | kwargs

        def load_saved(saved, folder):
            if issubclass(saved, SETRSegmenter):
                load = super(SETRSegmenter, saved).from_preset
            else:
                load = saved.from_preset
            return load(folder, load_weights=load_weights)

        return loading.load_segmenter(
            cls,
            dict(sorted((c.__name__, c) for c in _concrete(SETRSegmenter))),
            preset,
            load_saved,
            {
                "load_weights": load_weights,
                "file": file,
                "skip_mismatch": skip_mismatch,
                "verbose": verbose,
            },
            given,
        )

    def load_weights(self, filepath, **kwargs):
        with warnings.catch_warnings():
            # Of files that hold the best weights and no optimizer.
            warnings.filterwarnings(
                "ignore", "Skipping variable loading.* saved optimizer has 0"
            )
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
        return [*self.backbone._flatten_layers(), self.optimizer]

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
