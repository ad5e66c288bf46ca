"""`compile` and `fit`: the paper's recipe on Keras' own training loop."""

import keras
from keras import ops

from keras_setr.layers.resampling import resize_bilinear
from keras_setr.losses import PixelCrossEntropy
from keras_setr.metrics import MeanIoU
from keras_setr.metrics import PixelAccuracy
from keras_setr.models import inputs
from keras_setr.models.runs import Run
from keras_setr.optimizers import SGD
from keras_setr.optimizers import AdamW
from keras_setr.optimizers import PolynomialDecay
from keras_setr.optimizers import layer_decay_multipliers


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
        head_multiplier=None,
        layer_decay=None,
        gradient_accumulation_steps=None,
        jit_compile="auto",
        **kwargs,
    ):
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
        automatic = {
            "learning_rate": learning_rate,
            "total_steps": total_steps,
            "head_multiplier": head_multiplier,
            "layer_decay": layer_decay,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        if isinstance(optimizer, str) and optimizer in ("auto", "adamw"):
            optimizer = _automatic_optimizer(
                optimizer, self.backbone, **automatic
            )
        elif given := {k: v for k, v in automatic.items() if v is not None}:
            raise ValueError(
                f"{', '.join(given)} belong to the automatic optimizers "
                '"auto" and "adamw"; set them on the optimizer that you '
                f"pass. Received: optimizer={optimizer!r}, "
                + ", ".join(f"{k}={v}" for k, v in given.items())
                + "."
            )
        _check_accumulation(self, optimizer)
        if isinstance(loss, str) and loss == "auto":
            loss = PixelCrossEntropy(self.ignore_class)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [
                MeanIoU(self.num_classes, self.ignore_class),
                PixelAccuracy(self.num_classes, self.ignore_class),
            ]
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
                loss = self._compile_loss(y, logits, sample_weight)
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
        # BackupAndRestore leaves it set, and the next fit would skip epochs.
        self._initial_epoch = None
        if inputs.is_tf_dataset(x):
            # Its order is its own, and Keras warns where it is to shuffle it.
            kwargs.setdefault("shuffle", False)
        run = Run(self, x, batch_size, validation_data, kwargs)
        if run.listeners:
            x = self._start(run)
            kwargs["initial_epoch"] = run.epoch
        with run.short_first_epoch():
            return self._fit(
                x, y, batch_size, sample_weight, validation_data, kwargs
            )

    def _start(self, run):
        """The batches of a run, after its callbacks have said where."""
        if keras.config.backend() == "tensorflow":
            with self.distribute_strategy.scope():
                self._symbolic_build()
        else:
            self._symbolic_build()
        for callback in run.listeners:
            callback.before_fit(run)
        return run.batches_from_start()

    def _fit(self, x, y, batch_size, sample_weight, validation_data, kwargs):
        if isinstance(x, keras.utils.PyDataset):
            # KerasHub takes tf.data and Grain only.
            x = inputs.Preprocessed(x, self.preprocess_samples)
            validation_data = inputs.preprocessed(
                validation_data, self.preprocess_samples
            )
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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras looks at a first batch here, which the epoch then misses.
        if self._distribute_strategy is not None:
            with self._distribute_strategy.scope():
                self._symbolic_build(data_batch=data_batch)

    def _symbolic_build(self, iterator=None, data_batch=None):
        if data_batch is None:
            size = self.backbone.native_size
            channels = self.backbone.image_shape[-1]
            data_batch = (
                keras.KerasTensor((1, *size, channels), "float32"),
                keras.KerasTensor((1, *size), "int32"),
                None,
            )
        super()._symbolic_build(data_batch=data_batch)

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
        # mixed_float16 wraps the optimizer into one that scales the loss.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        schedule = getattr(optimizer, "_learning_rate", None)
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
        iterations = int(ops.convert_to_numpy(optimizer.iterations))
        batches = optimizer.gradient_accumulation_steps or 1
        schedule.spread(
            iterations - first_epoch * steps // batches,
            max(1, fit_arguments.get("epochs", 1) * steps // batches),
        )
        # The schedule is a constant of the compiled step.
        self.train_function = None


def _automatic_optimizer(
    name,
    backbone,
    learning_rate,
    total_steps,
    head_multiplier,
    layer_decay,
    gradient_accumulation_steps,
):
    """The optimizers of `compile`; see there."""
    multipliers = {"head": 10.0 if head_multiplier is None else head_multiplier}
    if layer_decay is not None:
        multipliers |= layer_decay_multipliers(
            backbone.depths, backbone.num_layers, layer_decay
        )
    common = {
        "learning_rate_multipliers": multipliers,
        # Keras has no accumulation over a single batch.
        "gradient_accumulation_steps": None
        if gradient_accumulation_steps == 1
        else gradient_accumulation_steps,
    }
    if name == "adamw":
        schedule = PolynomialDecay(
            6e-5 if learning_rate is None else learning_rate,
            decay_steps=total_steps,
            end_learning_rate=0.0,
            power=1.0,
        )
        return AdamW(schedule, weight_decay=0.01, **common)
    schedule = PolynomialDecay(
        0.001 if learning_rate is None else learning_rate,
        decay_steps=total_steps,
    )
    return SGD(schedule, momentum=0.9, **common)


def _check_accumulation(model, optimizer):
    """Raise where Keras would fail at the first step."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    batches = getattr(optimizer, "gradient_accumulation_steps", None)
    if not batches or keras.config.backend() != "tensorflow":
        return
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "Keras cannot accumulate gradients on several TensorFlow "
            f"replicas. Received: gradient_accumulation_steps={batches} on "
            f"{replicas} replicas. Fit a larger batch by "
            "SETRBackbone(rematerialize=True) or mixed precision, or train "
            "on JAX, where both go together."
        )


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
