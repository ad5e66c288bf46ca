"""`compile` and `fit`: the paper's recipe on Keras' own training loop."""

import keras
from keras import ops

from keras_setr.layers.resampling import resize_bilinear
from keras_setr.metrics import MeanIoU
from keras_setr.metrics import PixelAccuracy
from keras_setr.models import inputs
from keras_setr.optimizers import SGD
from keras_setr.optimizers import PolynomialDecay


class PixelTraining:
    """Training for a segmenter with a `backbone`, on a label per pixel.

    In training the model gives a dict of `"logits"` and the logits of its
    auxiliary heads, `"auxiliary_0"`, ..; the class sets `num_classes`,
    `ignore_class` and `auxiliary_weight`.
    """

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

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        sample_weight=None,
        **kwargs,
    ):
        """As in Keras, with the preprocessor before the model.

        The loss and the metrics are those of one window per image;
        `keras_setr.evaluate` measures on whole images.
        """
        # What Keras cached within `fit` is preprocessed.
        cached = kwargs.get("_use_cached_eval_dataset", False)
        if isinstance(x, keras.utils.PyDataset) and not cached:
            # KerasHub takes tf.data and Grain only.
            x = inputs.Preprocessed(x, self.preprocess_samples)
            return keras.Model.evaluate(self, x, **kwargs)
        return super().evaluate(
            x=x,
            y=y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            **kwargs,
        )

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
