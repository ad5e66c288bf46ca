"""`compile`, `fit` and `evaluate` of a segmenter, and their steps."""

import contextlib
from typing import Any

import keras
import keras_hub

from keras_setr import backends
from keras_setr import inference
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.models import keras_internals
from keras_setr.models.verbs import compiling
from keras_setr.models.verbs import division
from keras_setr.models.verbs import fitting
from keras_setr.models.verbs import preparing
from keras_setr.models.verbs import scoring
from keras_setr.models.verbs.averages import WeightAverages


def _callbacks(value):
    # `[ks.callbacks(..), another]` is a list in a list, which Keras meets at
    # the first batch.
    listed = keras.tree.flatten(getattr(value, "callbacks", value))
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError
    return value if hasattr(value, "callbacks") else listed


CALLBACKS = Rule("a keras.callbacks.Callback or a list of them", _callbacks)

_WEIGHT = number(0)

# Rules for the arguments of `fit`; its data are checked by `fitting`.
FIT_RULES = {
    "batch_size": optional(integer(1)),
    "epochs": integer(1),
    "verbose": inference.VERBOSE,
    "callbacks": optional(CALLBACKS),
    "validation_split": number(0, below=1),
    "shuffle": flag(),
    "class_weight": optional(
        either(mapping(integer(0), _WEIGHT), sequence(_WEIGHT))
    ),
    "initial_epoch": integer(0),
    "steps_per_epoch": optional(integer(1)),
    "validation_steps": optional(integer(1)),
    "validation_batch_size": optional(integer(1)),
    "validation_freq": either(integer(1), sequence(integer(1))),
}


class TrainingVerbs(keras_hub.models.ImageSegmenter):
    """How a segmenter is trained; each verb with what it takes and gives.

    Attributes:
        run: the `Run` of the `fit` that is going on, for its callbacks; or
            None.
        averages: the `WeightAverages` of `compile(ema=..)`, or None.
        folded: bool. Whether it is a model of `for_inference`.
    """

    # Keras' own, None until they are made.
    train_function: Any
    test_function: Any
    predict_function: Any
    folded = False

    @checked(
        *("loss_weights", "weighted_metrics"),
        *("run_eagerly", "steps_per_execution", "auto_scale_loss"),
        run_eagerly=flag(),
        steps_per_execution=integer(1),
        auto_scale_loss=flag(),
        learning_rate=optional(number(above=0)),
        total_steps=optional(integer(1)),
        head_multiplier=optional(number(0)),
        weight_decay=optional(number(0)),
        layer_decay=optional(number(maximum=1, above=0)),
        gradient_accumulation_steps=optional(integer(1)),
        schedule=optional(choice("poly", "cosine")),
        warmup_steps=optional(integer(0)),
        clipnorm=optional(number(above=0)),
        ema=optional(number(above=0, below=1)),
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
        weight_decay: float | None = None,
        layer_decay: float | None = None,
        gradient_accumulation_steps: int | None = None,
        schedule: str | None = None,
        warmup_steps: int | None = None,
        clipnorm: float | None = None,
        ema: float | None = None,
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

        The arguments from `learning_rate` to `clipnorm` belong to these two
        automatic optimizers.

        Args:
            optimizer: `"auto"`, `"adamw"`, another name or a
                `keras.Optimizer`.
            loss: `"auto"` for `keras_setr.losses.PixelCrossEntropy`; a sum
                of names such as `"ce+dice"`, of ce, dice, focal, jaccard,
                lovasz, ohem and tversky with weights as in `"ce+0.5*dice"`;
                or a `keras.Loss` on labels and logits. Auxiliary heads take
                the same.
            metrics: `"auto"`, a list, or None for none.
            learning_rate: float. Defaults to 0.001, the paper's for ADE20K
                and Pascal Context (0.01 for Cityscapes); 6e-5 for `"adamw"`.
            total_steps: int. Updates until the rate has decayed. Defaults to
                those of each `fit`.
            head_multiplier: float. Learning-rate factor of the decode and
                auxiliary heads. Defaults to 10.
            weight_decay: float. Of `"auto"` a penalty, added to the gradient
                as torch's SGD does, by default 0; of `"adamw"` its own, by
                default 0.01.
            layer_decay: float in (0, 1]. Factor of the learning rate from
                each encoder layer to the one before: layer l of L learns
                decay^(L + 1 - l) as fast, the embeddings decay^(L + 1).
            gradient_accumulation_steps: int. N batches make one update, by
                the mean of their gradients: that of a batch N times as large
                where all N have the same number of labelled pixels, except
                that batch norm sees each by itself. Any Keras optimizer takes
                this argument, too, but schedules other than our optimizers'
                count batches there.
            schedule: `"poly"`, as said above, or `"cosine"`, a cosine to 0.
                Defaults to `"poly"`.
            warmup_steps: int. Updates in which the rate rises to
                `learning_rate` before it decays. Defaults to 0.
            clipnorm: float. The largest L2 norm of a variable's gradient;
                what is longer is shortened to it. Defaults to none.
            ema: float in (0, 1), such as 0.999. Keep an exponential moving
                average of the weights and of batch norm's statistics, by
                min(ema, (1 + n) / (10 + n)) at update n, with any optimizer.
                `fit` validates with it, as `averaged_weights` does, and
                leaves the model with it at its end.
            jit_compile: bool or `"auto"`, which is Keras' choice except that
                TensorFlow uses XLA only on a single GPU.
            **kwargs: as for `keras.Model.compile`.
        """
        fitting.refuse_folded(self)
        options = compiling.options(
            self,
            optimizer,
            loss,
            metrics,
            kwargs.pop("weighted_metrics", None),
            jit_compile,
            learning_rate=learning_rate,
            total_steps=total_steps,
            head_multiplier=head_multiplier,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
            gradient_accumulation_steps=gradient_accumulation_steps,
            schedule=schedule,
            warmup_steps=warmup_steps,
            clipnorm=clipnorm,
        )
        compiling.check_ema(self, ema)
        super().compile(**options, **kwargs)
        self.averages = None if ema is None else WeightAverages(self, ema)
        self._weighs_losses = kwargs.get("loss_weights") is not None
        # Threads that read batches do not see what Keras distributes over.
        self._division = division.division_of(self)
        self._scores_are_built = False
        self._compiled_form = self.backbone.form

    @checked(**FIT_RULES)
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """As in Keras, with what it is given checked before and as it comes.

        A schedule that leaves its length open is spread over the steps of
        this fit.

        Args:
            x: images `(B, H, W, C)`, with `y`; or batches of `(images,
                labels)`, `(images, labels, sample_weight)` or dicts, by a
                `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch
                `DataLoader`, a Grain dataset or a generator.
            y: labels `(B, H, W)` or `(B, H, W, 1)` of integers; or one-hot
                `(B, H, W, K)` for a loss that takes these.
            batch_size: int. Of arrays. Defaults to 32.
            validation_split: float in [0, 1). The last share of the arrays,
                which is validated on instead.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or whatever `x`
                may be.
            shuffle: bool. Whether arrays come in a new order in each epoch,
                and a `PyDataset`'s batches, too.
            class_weight: dict from classes to what the loss of their pixels
                is multiplied by, or a sequence of K.
            sample_weight: `(B,)` or, per pixel, `(B, H, W)`.
            epochs, verbose, callbacks, initial_epoch, steps_per_epoch,
                validation_steps, validation_batch_size, validation_freq: as
                in Keras.

        Raises:
            ValueError: an argument or the data does not fit the model.
        """
        fitting.refuse_folded(self)
        return fitting.fit(
            self,
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            validation_data=validation_data,
            validation_split=validation_split,
            validation_batch_size=validation_batch_size,
            validation_steps=validation_steps,
            shuffle=shuffle,
            class_weight=class_weight,
            callbacks=callbacks,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            verbose=verbose,
            validation_freq=list(validation_freq)
            if isinstance(validation_freq, tuple)
            else validation_freq,
        )

    @checked(
        "_use_cached_eval_dataset",
        batch_size=optional(integer(1)),
        verbose=inference.VERBOSE,
        steps=optional(integer(1)),
        callbacks=optional(CALLBACKS),
        return_dict=flag(),
    )
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **cached: Any,
    ) -> Any:
        """As in Keras, with the preprocessor before the model.

        The loss and the metrics are those of one window per image;
        `keras_setr.evaluate` measures on whole images.

        Args:
            x, y, batch_size, sample_weight: as for `fit`.
            verbose, steps, callbacks, return_dict: as in Keras.
        """
        options = {
            "verbose": verbose,
            "steps": steps,
            "callbacks": callbacks,
            "return_dict": return_dict,
        }
        if cached:
            # Keras' fit, which has prepared batches already.
            with self.averaged_weights():
                return keras.Model.evaluate(self, x, **options, **cached)
        return fitting.evaluate(
            self, x, y, sample_weight, batch_size, **options
        )

    def averaged_weights(self) -> Any:
        """A context in which the model has its averaged weights.

        For callbacks of a `fit` after `compile(ema=..)`, between its steps;
        without `ema` nothing changes.
        """
        if self.averages is None:
            return contextlib.nullcontext()
        return self.averages.in_use()

    def train_step(self, *args: Any) -> Any:
        step = super().train_step
        if self.averages is None:
            return step(*args)
        return self.averages.step(step, *args)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch, as in Keras; its arguments as for `fit`."""
        fitting.refuse_folded(self)
        batch = fitting.single_batch(self, x, y, sample_weight, class_weight)
        backends.check_computes()
        return keras.Model.train_on_batch(
            self, *batch, return_dict=flag().check("return_dict", return_dict)
        )

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and metrics of one batch, as in Keras."""
        batch = fitting.single_batch(self, x, y, sample_weight)
        return keras.Model.test_on_batch(
            self, *batch, return_dict=flag().check("return_dict", return_dict)
        )

    def predict_on_batch(self, x: Any) -> Any:
        """Logits `(B, H, W, K)` of images of the model's size, in one pass."""
        batch = fitting.single_batch(self, x, needs_labels=False)
        return keras.Model.predict_on_batch(self, batch[0])

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return preparing.prepare(self, x, y, sample_weight)

    def make_train_function(self, force: bool = False) -> None:
        self._forget_outdated()
        before = self.train_function
        super().make_train_function(force)
        if self.train_function is not before:
            self.train_function = keras_internals.keeping_variables(
                self,
                self.train_function,
                lambda: self._variables_of_a_step(self.optimizer.variables),
            )

    def make_test_function(self, force: bool = False) -> None:
        backends.check_computes()
        self._forget_outdated()
        before = self.test_function
        super().make_test_function(force)
        if self.test_function is not before:
            self.test_function = keras_internals.keeping_variables(
                self, self.test_function, self._variables_of_a_step
            )

    def make_predict_function(self, force: bool = False) -> None:
        backends.check_computes()
        self._forget_outdated()
        super().make_predict_function(force)

    def _forget_outdated(self):
        """Compile anew where the encoder got other variables since."""
        if self._compiled_form != self.backbone.form:
            self._compiled_form = self.backbone.form
            self.train_function = self.test_function = None
            self.predict_function = None

    def _variables_of_a_step(self, *further):
        """Groups in the order in which Keras hands them to its steps."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            *further,
            self.metrics_variables,
        )

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return scoring.compute_loss(
            self,
            super().compute_loss,
            x,
            y,
            y_pred,
            sample_weight,
            training,
            self._weighs_losses,
        )

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(y_pred, dict):
            y_pred = y_pred["logits"]
        return super().compute_metrics(x, y, y_pred, sample_weight)

    _symbolic_build = keras_internals.build_scores
    _maybe_symbolic_build = keras_internals.build_scores
