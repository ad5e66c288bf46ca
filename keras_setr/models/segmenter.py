"""What the SETR models share: wiring, presets and configuration."""

import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import numpy as np

from keras_setr import inference
from keras_setr import workers
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import num_classes
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import path
from keras_setr.arguments import sequence
from keras_setr.checkpoints import loading
from keras_setr.checkpoints.preset_folder import save_whole
from keras_setr.classes import Classes
from keras_setr.export.exporting import ExportReport
from keras_setr.export.exporting import export_model
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import OUTPUTS
from keras_setr.models import division
from keras_setr.models import fitting
from keras_setr.models import keras_internals
from keras_setr.models import prediction
from keras_setr.models import weight_files
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.encoder import IMAGE_SHAPE
from keras_setr.models.encoder import Encoder
from keras_setr.models.encoder import check_not_quantized
from keras_setr.models.encoder import set_trainable
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


def _callbacks(value):
    listed = getattr(value, "callbacks", value)
    for callback in keras.tree.flatten(listed):
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError
    return value


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


class SETRSegmenter(keras_hub.models.ImageSegmenter):
    """Base of `SETRNaive`, `SETRPUP`, `SETRMLA`, `FCN` and `SemanticFPN`.

    Training runs on images `(B, H, W, C)` and labels `(B, H, W)`, or
    `(B, H, W, 1)`, of integers. In training the model returns a dict with
    `"logits"`, `(B, H, W, K)` float32, and `"decode_head"`, `"auxiliary_0"`,
    .. at the resolution of their heads; otherwise the logits alone.

    Images are RGB in 0..255 for `fit`, `evaluate`, `predict` and `segment`,
    which apply the `preprocessor`. A direct call `model(x)` does not, as in
    all of KerasHub, and with `preprocessor=None` nothing does.

    Attributes:
        run: the `Run` of the `fit` that is going on, for its callbacks; or
            None.
    """

    backbone_cls: type[Encoder] = SETRBackbone
    preprocessor_cls = SETRImageSegmenterPreprocessor
    presets = loading.PresetsOf("SETRSegmenter")
    # Keras' own, None until they are made.
    train_function: Any
    test_function: Any

    def __init__(
        self,
        backbone: Encoder,
        num_classes: int,
        logits: Any,
        auxiliary_logits: Sequence[Any],
        preprocessor: Any,
        classes: Classes | dict[str, Any] | None,
        auxiliary_weight: float,
        ignore_class: int | None,
        align_corners: bool = False,
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
        resize = ResizeLogits(align_corners, name="resize_logits")
        logits = resize(head_logits, images)
        outputs = {"logits": logits, fitting.MAIN_HEAD: head_logits}
        for index, auxiliary in enumerate(auxiliary_logits):
            outputs[f"auxiliary_{index}"] = auxiliary
        super().__init__(
            inputs=images, outputs=outputs, compile=False, **kwargs
        )
        # The same graph without what only training needs.
        self._inference = keras.Function(images, logits)
        self._predictor = prediction.Predictor(self, head_logits, resize)
        self.resize_logits = resize.resize
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
        keras_internals.register_parameters(self)

    def __setattr__(self, name, value):
        if name == "trainable":
            set_trainable(self, value)
        else:
            super().__setattr__(name, value)

    def call(self, images, training=None, mask=None):
        if training and not keras_internals.is_part_of_another(self):
            return super().call(images, training=training, mask=mask)
        if training:
            # Batch norm and dropout train; the auxiliary heads rest.
            outputs = super().call(images, training=training, mask=mask)
            return outputs["logits"]
        return self._inference(images)

    def compute_output_spec(self, images, training=None, mask=None):
        if training and not keras_internals.is_part_of_another(self):
            return super().compute_output_spec(images, training, mask)
        return self._inference.compute_output_spec(images)

    # === Training ===

    @checked(
        learning_rate=optional(number(above=0)),
        total_steps=optional(integer(1)),
        head_multiplier=optional(number(0)),
        weight_decay=optional(number(0)),
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
        weight_decay: float | None = None,
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
            loss: `"auto"` for `keras_setr.losses.PixelCrossEntropy`; a sum
                of names such as `"ce+dice"`, of ce, dice, focal, jaccard,
                lovasz, ohem and tversky with weights as in `"ce+0.5*dice"`;
                or a `keras.Loss` on labels and logits. Auxiliary heads take
                the same.
            metrics: `"auto"` or a list.
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
            weight_decay=weight_decay,
            layer_decay=layer_decay,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        super().compile(**options, **kwargs)
        self._weighs_losses = kwargs.get("loss_weights") is not None
        # Threads that read batches do not see what Keras distributes over.
        self._division = division.division_of(self)
        self._scores_are_built = False

    def get_compile_config(self):
        keras_internals.refuse_clone(self)
        config = super().get_compile_config()
        layers = keras_internals.layers_by_name(self)
        config["frozen"] = [n for n, la in layers.items() if not la.trainable]
        config["lora"] = self.backbone.lora
        config["has_trained"] = self.optimizer.built
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        frozen = config.pop("frozen", [])
        lora = config.pop("lora", None)
        has_trained = config.pop("has_trained", True)
        # Outer layers first: they set those within.
        for name, layer in keras_internals.layers_by_name(self).items():
            layer.trainable = name not in frozen
        if lora is not None:
            self.backbone.enable_lora(**lora)
        self.compile(**config)
        if has_trained:
            self.optimizer.build(self.trainable_variables)

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
            return keras.Model.evaluate(self, x, **options, **cached)
        return fitting.evaluate(
            self, x, y, sample_weight, batch_size, **options
        )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch, as in Keras; its arguments as for `fit`."""
        batch = fitting.single_batch(self, x, y, sample_weight, class_weight)
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
        batch = fitting.single_batch(self, x, y, sample_weight, None)
        return keras.Model.test_on_batch(
            self, *batch, return_dict=flag().check("return_dict", return_dict)
        )

    def predict_on_batch(self, x: Any) -> Any:
        """Logits `(B, H, W, K)` of images of the model's size, in one pass."""
        batch = fitting.single_batch(self, x, None, None, None, False)
        return keras.Model.predict_on_batch(self, batch[0])

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return fitting.prepare(self, x, y, sample_weight)

    def make_train_function(self, force: bool = False) -> None:
        before = self.train_function
        super().make_train_function(force)
        if self.train_function is not before:
            self.train_function = keras_internals.keeping_variables(
                self,
                self.train_function,
                lambda: self._variables_of_a_step(self.optimizer.variables),
            )

    def make_test_function(self, force: bool = False) -> None:
        before = self.test_function
        super().make_test_function(force)
        if self.test_function is not before:
            self.test_function = keras_internals.keeping_variables(
                self, self.test_function, self._variables_of_a_step
            )

    def _variables_of_a_step(self, *further):
        """Groups in the order in which Keras hands them to its steps."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            *further,
            self.metrics_variables,
        )

    @checked(mode=choice("int8"))
    def quantize(self, mode: str = "int8", config: Any = None) -> None:
        """Keep the encoder's projections as int8, for inference.

        The decoder's convolutions stay as they are, as everywhere in Keras.

        Args:
            mode, config: as for `SETRBackbone.quantize`.
        """
        self.backbone.quantize(mode, config)
        self._forget_compiled()
        self._post_quantize(mode)

    def _forget_compiled(self):
        """Let functions be compiled anew, after variables were replaced."""
        self.train_function = self.test_function = None
        self.predict_function = None
        self._predictor.forget()

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return fitting.compute_loss(
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
            **views: `window_size`, `stride`, `scales`, `flip`, `protocol`,
                `base_scale` and `blend`, as of `keras_setr.inference.Views`.
                Those of the published results are
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
        entropy=flag(),
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
        entropy: bool = False,
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
            entropy: bool. Add the `(H, W)` float32 entropy of all classes'
                probabilities, in nats: with several views that of their mean.
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
            {"confidence": confidence, "entropy": entropy},
        )

    @checked(
        *inference.VIEW_OPTIONS,
        batch_size=optional(integer(1)),
        ignore_class=either(choice("auto"), optional(integer())),
    )
    def count_pixels(
        self,
        samples: Iterable[Any],
        batch_size: int | None = None,
        *,
        ignore_class: Any = "auto",
        **views: Any,
    ) -> Iterator[np.ndarray]:
        """Confusion matrices of labelled images, one after another.

        Where windows are blended on the device, labels are counted there and
        only the counts come back. `keras_setr.evaluate` is built on it.

        Args:
            samples: iterable of images `(H, W, C)` with labels `(H, W)` of
                `0..num_classes - 1`.
            batch_size: int. As for `predict`.
            ignore_class: int or None. Pixels with this label are not counted.
                Defaults to the model's.
            **views: as for `predict`.

        Returns:
            An iterator over `(K, K)` int64 counts, rows truth, columns
            predictions, one for each sample.
        """
        if ignore_class == "auto":
            ignore_class = self.ignore_class
        return self._predictor.count(
            samples, inference.Views(**views), batch_size, ignore_class
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
    def fit_to_patches(
        cls, arguments: dict[str, Any], patch_size: int
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A trained decoder's arguments, for an encoder of other patches.

        Args:
            arguments: dict, those that it was trained with.
            patch_size: int. Of the encoder that it gets.

        Returns:
            `(arguments, notes)`: under which all of its weights stay, and
            lines on what was changed.
        """
        return arguments, ()

    @classmethod
    @checked(
        preset=path(),
        num_classes=optional(num_classes()),
        image_shape=optional(IMAGE_SHAPE),
        patch_size=optional(integer(1)),
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
        patch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a model with weights from anywhere.

        `SETRSegmenter.from_preset` gives whichever of its subclasses the
        source holds. One summary is printed of what was loaded, resampled,
        left out or re-initialised; what does not fit is an error.

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
            patch_size: int. Another one than the source's resamples the
                kernel of the patches (FlexiViT, arXiv 2212.08013) and the
                positions: 32 for 16 is a quarter of the tokens. Images keep
                their size, or get the next one that the patches divide. Of a
                trained decoder all weights stay: what its upsampling leaves
                is bilinear, and it enlarges nothing beyond the image. To be
                fine-tuned, as tokens of other sizes are not what either was
                trained on.
            **kwargs: further arguments of the model or its backbone, which
                replace the source's.

        Raises:
            TypeError: where an argument is none of the model's nor of its
                backbone's; before anything is downloaded.
            ValueError: where the source is unknown, holds another of these
                classes, or does not fit the model.
        """
        arguments = {
            "num_classes": num_classes,
            "image_shape": image_shape,
            "patch_size": patch_size,
        }
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
        check_not_quantized(self.backbone)
        save_whole(super().save_to_preset, preset_dir, max_shard_size)

    def load_weights(self, filepath, **kwargs):
        """As in Keras; a file without an optimizer leaves it as it is.

        Args:
            filepath: path of a `.weights.h5` file, or of the `.json` of a
                split one.
            **kwargs: `skip_mismatch`, as in Keras.

        Raises:
            ValueError: the file is that of another model, or of a model for
                images of another size.
        """
        options = weight_files.read_options(self, filepath, kwargs)
        super().load_weights(filepath, **options)
        # They may be int8 where the model had floats.
        self._forget_compiled()

    def save(self, filepath, overwrite=True, **kwargs):
        """As in Keras, to a `.keras` file.

        Args:
            filepath: path that ends in `.keras`.
            overwrite: bool. Whether to do so without asking.
            **kwargs: as in Keras.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "Keras reads no segmenter back from its legacy format. "
                f"Received: {filepath}. Save as {filepath}.keras, or the "
                "weights alone by save_weights('model.weights.h5')."
            )
        super().save(filepath, overwrite=overwrite, **kwargs)

    @checked(
        filepath=path(),
        format=optional(choice(*FORMATS)),
        verbose=flag(),
        image_size=optional(pair(1)),
        outputs=either(
            choice("labels"), sequence(choice(*OUTPUTS), minimum_length=1)
        ),
    )
    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str | None = None,
        verbose: bool = True,
        *,
        image_size: int | tuple[int, int] | None = None,
        outputs: str | Sequence[str] = "labels",
        image: Any = None,
    ) -> ExportReport:
        """Write the whole model for a runtime that needs no Keras.

        The file takes images as they are, `(B, H, W, C)` uint8, normalises
        them and gives labels `(B, H, W)`; the batch is of any size, height
        and width are fixed. It holds the names and colours of the classes and
        how windows lie on a larger image, and `keras_setr.load_exported`
        reads it. It is run in its own runtime and kept only if its labels are
        the model's. Keras' own export, of the model without preprocessor, is
        `keras.Model.export(model, path)`.

        Args:
            filepath: path of the file, or of the folder of a SavedModel.
            format: `"onnx"`, `"tf_saved_model"`, `"litert"`, `"openvino"` or
                `"torch"`. Defaults to what the path ends in: `.onnx`,
                `.tflite`, `.xml`, `.pt2`, and otherwise a SavedModel.
            verbose: bool. Whether to print size, times and how many labels
                are equal.
            image_size: int or `(H, W)`, multiples of the patch size. Defaults
                to the model's.
            outputs: `"labels"`, or a sequence of it and of
                `"probabilities"`, `(B, H, W, K)`, `"confidence"`,
                `(B, H, W)`, and `"logits"`, `(B, H, W, K)`, all float32.
                Windows of larger images are averaged only with probabilities
                or logits.
            image: file or `(H, W, C)` array, to compare the labels of. By
                default coloured clouds.

        Returns:
            An `ExportReport`; printed it is a summary.

        Raises:
            ValueError: the backend does not write the format (the message
                says which does), the conversion fails, or less than 99.99 %
                of the labels are equal. Nothing is written then.
            ImportError: what converts or runs the format is not installed.
            OSError: the path cannot be written.
        """
        outputs = (outputs,) if isinstance(outputs, str) else outputs
        if "labels" not in outputs:
            raise ValueError(
                "outputs must have labels among them. Received: "
                f"{list(outputs)}; pass {['labels', *outputs]}."
            )
        report = export_model(
            self, filepath, format, image_size, tuple(outputs), image
        )
        if verbose:
            workers.say(report)
        return report

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
        keras_internals.refuse_legacy_file(self)
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
