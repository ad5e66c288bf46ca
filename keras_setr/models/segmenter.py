"""What the SETR models share: training and configuration."""

import keras
import keras_hub
from keras import ops

from keras_setr.classes import Classes
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.metrics import MeanIoU
from keras_setr.metrics import PixelAccuracy
from keras_setr.models import inputs
from keras_setr.models import loading
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.heads import ResizeLogits
from keras_setr.models.prediction import SlidingWindowPrediction
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor
from keras_setr.optimizers import SGD
from keras_setr.optimizers import PolynomialDecay


class SETRSegmenter(SlidingWindowPrediction, keras_hub.models.ImageSegmenter):
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

    # === Training ===

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        *,
        metrics="auto",
        learning_rate=None,
        total_steps=None,
        jit_compile="auto",
        **kwargs,
    ):
        """Set up training; without arguments, the paper's recipe.

        That is SGD with momentum 0.9, polynomial decay of power 0.9 from
        `learning_rate` to 1e-4 over `total_steps`, heads at 10 times the
        rate, and the cross-entropy averaged over the pixels that are not
        `ignore_class` (paper, section 4.1). Auxiliary heads add their loss
        times `auxiliary_weight`. Metrics are mean IoU and pixel accuracy.

        Args:
            optimizer: `"auto"`, a name or a `keras.Optimizer`.
            loss: `"auto"`, a name or a `keras.Loss` on labels and logits.
            metrics: `"auto"` or a list.
            learning_rate: float, for the automatic optimizer. Defaults to
                0.001, the paper's for ADE20K and Pascal Context (0.01 for
                Cityscapes).
            total_steps: int. Steps until the automatic optimizer's rate has
                decayed. Defaults to the steps of each `fit`.
            jit_compile: bool or `"auto"`, which is Keras' choice except that
                TensorFlow uses XLA only on a single GPU.
            **kwargs: as for `keras.Model.compile`.
        """
        if optimizer != "auto" and (learning_rate or total_steps):
            raise ValueError(
                "learning_rate and total_steps belong to the automatic "
                "optimizer; set them on the optimizer that you pass. "
                f"Received: optimizer={optimizer!r}, learning_rate="
                f"{learning_rate}, total_steps={total_steps}."
            )
        if isinstance(optimizer, str) and optimizer == "auto":
            schedule = PolynomialDecay(
                0.001 if learning_rate is None else learning_rate,
                decay_steps=total_steps,
            )
            optimizer = SGD(
                schedule,
                momentum=0.9,
                learning_rate_multipliers={"head": 10.0},
            )
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=self.ignore_class
            )
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [
                MeanIoU(self.num_classes, self.ignore_class),
                PixelAccuracy(self.num_classes, self.ignore_class),
            ]
        self._pixel_loss = keras.losses.get(loss)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            jit_compile=_resolve_jit(jit_compile),
            **kwargs,
        )

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        main = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        total = super().compute_loss(
            x=x,
            y=y,
            y_pred=main,
            sample_weight=sample_weight,
            training=training,
        )
        if not isinstance(y_pred, dict):
            return total
        height, width = ops.shape(main)[1:3]
        for name, logits in y_pred.items():
            if name != "logits":
                logits = resize_bilinear(
                    ops.cast(logits, "float32"), (height, width)
                )
                loss = self._pixel_loss(y, logits, sample_weight)
                total = total + self.auxiliary_weight * loss
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        main = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, main, sample_weight)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if inputs.in_tf_graph(x):
            x = inputs.assert_batch(
                x,
                y,
                self.backbone.patch_size,
                self.num_classes,
                self.ignore_class,
            )
        return super().preprocess_samples(x, y, sample_weight)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        sample_weight=None,
        validation_data=None,
        **kwargs,
    ):
        self._check_training_data(x, y)
        if isinstance(validation_data, (tuple, list)):
            self._check_training_data(*validation_data[:2])
        elif validation_data is not None:
            self._check_training_data(validation_data, None)
        self._set_decay_steps(x, batch_size, kwargs)
        if isinstance(x, keras.utils.PyDataset):
            # KerasHub takes tf.data and Grain only.
            if isinstance(validation_data, keras.utils.PyDataset):
                validation_data = inputs.Preprocessed(
                    validation_data, self.preprocess_samples
                )
            x = inputs.Preprocessed(x, self.preprocess_samples)
            return keras.Model.fit(
                self, x, validation_data=validation_data, **kwargs
            )
        return super().fit(
            x=x,
            y=y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            validation_data=validation_data,
            **kwargs,
        )

    def _check_training_data(self, x, y):
        channels = self.backbone.image_shape[-1]
        patch_size = self.backbone.patch_size
        if inputs.is_tf_dataset(x):
            inputs.check_element_spec(x.element_spec, channels, patch_size)
        elif hasattr(x, "__array__") or isinstance(x, (list, tuple)):
            inputs.check_training_arrays(
                x, y, channels, patch_size, self.num_classes, self.ignore_class
            )

    def _set_decay_steps(self, x, batch_size, fit_arguments):
        """Spread a schedule that leaves its length open over this fit."""
        schedule = getattr(self.optimizer, "_learning_rate", None)
        if not isinstance(schedule, PolynomialDecay) or schedule.decay_steps:
            return
        steps = fit_arguments.get("steps_per_epoch")
        if steps is None:
            steps = inputs.count_batches(x, batch_size or 32)
        if steps is None:
            raise ValueError(
                "The learning rate decays over the whole training, but the "
                "number of steps is not known: this dataset has no length. "
                "Pass fit(steps_per_epoch=...) or compile(total_steps=...)."
            )
        first_epoch = fit_arguments.get("initial_epoch", 0)
        iterations = int(ops.convert_to_numpy(self.optimizer.iterations))
        schedule.spread(
            iterations - first_epoch * steps,
            fit_arguments.get("epochs", 1) * steps,
        )
        # The schedule is a constant of the compiled step.
        self.train_function = None

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


def _resolve_jit(jit_compile):
    """`"auto"` as in Keras, but under TensorFlow only for a single GPU.

    On CPUs XLA made training steps slower than TensorFlow's own kernels, and
    takes long to compile; under a strategy of several replicas it fails.
    """
    if jit_compile == "auto" and keras.config.backend() == "tensorflow":
        import tensorflow as tf

        if (
            not tf.config.list_physical_devices("GPU")
            or tf.distribute.get_strategy().num_replicas_in_sync > 1
        ):
            return False
    return jit_compile
