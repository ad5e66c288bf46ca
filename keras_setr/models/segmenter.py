"""What the SETR models share: wiring, presets, files and configuration."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub

from keras_setr import workers
from keras_setr.arguments import Hint
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
from keras_setr.arguments import pair
from keras_setr.arguments import path
from keras_setr.arguments import sequence
from keras_setr.arguments import shown
from keras_setr.checkpoints import loading
from keras_setr.checkpoints.preset_folder import save_whole
from keras_setr.classes import Classes
from keras_setr.export.exporting import ExportReport
from keras_setr.export.exporting import export_int8
from keras_setr.export.exporting import export_model
from keras_setr.export.formats import ANY
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import OUTPUTS
from keras_setr.export.quantizing import FLOAT_PARTS
from keras_setr.export.quantizing import Int8Report
from keras_setr.files.whole import written_whole
from keras_setr.models import keras_internals
from keras_setr.models import weight_files
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.encoder import IMAGE_SHAPE
from keras_setr.models.encoder import Encoder
from keras_setr.models.encoder import check_not_quantized
from keras_setr.models.encoder import set_trainable
from keras_setr.models.folding import fold
from keras_setr.models.heads import ResizeLogits
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor
from keras_setr.models.preprocessor import check_keeps_size
from keras_setr.models.preprocessor import published_preprocessor
from keras_setr.models.verbs import prediction
from keras_setr.models.verbs import scoring
from keras_setr.models.verbs.prediction_verbs import PredictionVerbs
from keras_setr.tables import counted


def _classes(value):
    if isinstance(value, Classes):
        return value
    if not isinstance(value, dict):
        raise TypeError
    try:
        return Classes(**value)
    except (TypeError, ValueError) as error:
        raise Hint(str(error)) from error


def _preprocessor(value):
    if not isinstance(value, keras_hub.models.Preprocessor):
        raise TypeError
    # The base of all has none of its own.
    if type(value).call is keras.Layer.call:
        raise TypeError
    return value


# Rules for the arguments that all models have.
COMMON = {
    "backbone": instance("a SETRBackbone", SETRBackbone),
    "num_classes": num_classes(),
    "preprocessor": optional(
        either(
            choice("auto"),
            Rule("a KerasHub preprocessor with a call", _preprocessor),
        )
    ),
    "classes": optional(Rule("a keras_setr.Classes or its config", _classes)),
    "auxiliary_weight": number(0),
    "ignore_class": optional(integer()),
    "folded": flag(),
}


class SETRSegmenter(PredictionVerbs):
    """Base of `SETRNaive`, `SETRPUP`, `SETRMLA`, `FCN` and `SemanticFPN`.

    Training runs on images `(B, H, W, C)` and labels `(B, H, W)`, or
    `(B, H, W, 1)`, of integers. In training the model returns a dict with
    `"logits"`, `(B, H, W, K)` float32, and `"decode_head"`, `"auxiliary_0"`,
    .. at the resolution of their heads; otherwise the logits alone.

    Images are RGB in 0..255 for `fit`, `evaluate`, `predict` and `segment`,
    which apply the `preprocessor`. A direct call `model(x)` does not, as in
    all of KerasHub, and with `preprocessor=None` nothing does.
    """

    backbone_cls: type[Encoder] = SETRBackbone
    preprocessor_cls = SETRImageSegmenterPreprocessor
    presets = loading.PresetsOf("SETRSegmenter")
    # Arguments that leave the auxiliary heads out.
    without_auxiliary: dict[str, Any] = {}

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
        folded: bool = False,
        align_corners: bool = False,
        left_to_resize: int = 1,
        **kwargs: Any,
    ) -> None:
        if preprocessor == "auto":
            preprocessor = published_preprocessor(backbone.image_shape[-1])
        check_keeps_size(preprocessor)
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                "classes must name every class. Received: "
                f"{counted(len(classes), 'name')} for "
                f"num_classes={num_classes}."
            )

        # === Functional model ===
        images = backbone.input
        head_logits = logits
        resize = ResizeLogits(align_corners, name="resize_logits")
        logits = resize(head_logits, images)
        outputs = {"logits": logits, scoring.MAIN_HEAD: head_logits}
        for index, auxiliary in enumerate(auxiliary_logits):
            outputs[f"auxiliary_{index}"] = auxiliary
        super().__init__(
            inputs=images, outputs=outputs, compile=False, **kwargs
        )
        # The same graph without what only training needs.
        self._inference = keras.Function(images, logits)
        self.resize_logits = resize.resize
        self.run = self.averages = None

        # === Config ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = num_classes
        self.classes = classes
        self.auxiliary_weight = auxiliary_weight
        self.ignore_class = ignore_class
        self.dtype_policy = backbone.dtype_policy
        self._predictor = prediction.Predictor(
            self, head_logits, resize, left_to_resize
        )
        self.compile()
        self.folded = folded  # from here on it refuses to compile
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

    # === Presets and files ===

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
        patch_size=optional(integer(1, 512)),
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

    def for_inference(self) -> Any:
        """A new model of the same class and outputs, for inference alone.

        Batch norms become part of the convolutions before them, those of a
        ResNet too, and auxiliary heads are gone. The normalisation of images
        becomes part of the patches' embedding, so that a direct call takes
        images as they are. It stays where it is under a policy other than
        float32, with a preprocessor of your own, and before a ResNet, whose
        first convolution pads normalised images with zeros. LoRA is merged.

        The new model predicts, is evaluated, exported, quantised, saved and
        loaded as any other; it cannot be trained. The weights are copied:
        what becomes of the original does not reach it.

        Raises:
            ValueError: the encoder is of int8.
        """
        return fold(self)

    @checked(preset_dir=path(), max_shard_size=optional(number(above=0)))
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
        save = super().save_to_preset
        save_whole(self, save, preset_dir, max_shard_size)

    def load_weights(self, filepath, **kwargs):
        """As in Keras; a file without an optimizer leaves it as it is.

        Args:
            filepath: path of a `.weights.h5` file, or of the `.json` of a
                split one.
            **kwargs: `skip_mismatch`, as in Keras.

        Raises:
            ValueError: the file is that of another model, or of a model for
                images of another size, or is damaged.

        Warns:
            UserWarning: weights are NaN or infinite.
        """
        options = weight_files.read_options(self, filepath, kwargs)
        try:
            super().load_weights(filepath, **options)
        except ValueError as error:
            raise ValueError(
                f"{filepath} must hold weights of a {type(self).__name__} "
                f"like this one. {error}"
            ) from error
        weight_files.warn_of_not_finite(self, filepath)

    def save(self, filepath, overwrite=True, **kwargs):
        """As in Keras, to a `.keras` file, whole or not at all.

        Args:
            filepath: path that ends in `.keras`.
            overwrite: bool. Whether to do so without asking.
            **kwargs: as in Keras.

        Raises:
            OSError: names the file; an older one stays.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "Keras reads no segmenter back from its legacy format. "
                f"Received: {filepath}. Save as {filepath}.keras, or the "
                "weights alone by save_weights('model.weights.h5')."
            )
        if weight_files.is_written_here(
            filepath, ".keras", overwrite, **kwargs
        ):
            with written_whole(filepath) as partial:
                super().save(partial)
        else:
            super().save(filepath, overwrite=overwrite, **kwargs)

    @checked(
        filepath=path(),
        format=optional(choice(*FORMATS)),
        verbose=flag(),
        image_size=optional(either(choice(ANY), pair(1))),
        outputs=either(
            choice("labels"),
            sequence(choice(*OUTPUTS), minimum_length=1, unique=True),
        ),
        quantize=optional(choice("int8")),
        float_parts=either(
            choice("auto"), sequence(choice(*FLOAT_PARTS), unique=True)
        ),
    )
    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str | None = None,
        verbose: bool = True,
        *,
        image_size: int | tuple[int, int] | str | None = None,
        outputs: str | Sequence[str] = "labels",
        image: Any = None,
        quantize: str | None = None,
        calibration: Any = None,
        float_parts: str | Sequence[str] = "auto",
    ) -> ExportReport | Int8Report:
        """Write the whole model for a runtime that needs no Keras.

        The file takes images as they are, `(B, H, W, C)` uint8, normalises
        them and gives labels `(B, H, W)`; the batch is of any size, and so are
        height and width if that is asked for. It holds the names and colours
        of the classes and how windows lie on a larger image, and
        `keras_setr.load_exported` reads it. It is run in its own runtime and
        kept only if its labels are the model's. Keras' own export, of the
        model without preprocessor, is `keras.Model.export(model, path)`.

        Args:
            filepath: path of the file, or of the folder of a SavedModel.
            format: `"onnx"`, `"tf_saved_model"`, `"litert"`, `"openvino"` or
                `"torch"`. Defaults to what the path ends in: `.onnx`,
                `.tflite`, `.xml`, `.pt2`, and otherwise a SavedModel.
            verbose: bool. Whether to print size, times and how many labels
                are equal.
            image_size: int or `(H, W)`, multiples of the patch size. Defaults
                to the model's. `"any"` leaves both open, for a model that has
                them open, on TensorFlow and torch; windows of larger images
                are then of the model's size where no other is asked for.
            outputs: `"labels"`, or a sequence of it and of
                `"probabilities"`, `(B, H, W, K)`, `"confidence"`,
                `(B, H, W)`, and `"logits"`, `(B, H, W, K)`, all float32.
                Windows of larger images are averaged only with probabilities
                or logits.
            image: file or `(H, W, C)` array, to compare the labels of. By
                default coloured clouds.
            quantize: `"int8"` for ONNX and OpenVINO files whose products are
                of integers, for processors. It is run beside the float file on
                every fourth image of `calibration`: the summary gives size,
                time, the share of equal labels and the change of mean IoU,
                and recommends what is faster and loses at most half a point.
            calibration: folder of images, or an iterable of files or arrays
                `(H, W, C)`, or of `(image, labels)`, as a
                `SegmentationFolder`: some tens that the ranges of activations
                are taken from, the first 100 at most.
            float_parts: sequence of what stays in float: `"attention"`, its
                two products of activations; `"ends"`, the embedding of
                patches and the classifier; `"decoder"`. Defaults to
                `"auto"`: none, or as many of these, in this order, as it
                takes for 99 % of equal labels, or, of labelled images, for
                half a point of mean IoU.

        Returns:
            An `ExportReport`, or an `Int8Report`; printed it is a summary.

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
        if (quantize is None) != (calibration is None):
            raise ValueError(
                "quantize='int8' and calibration must be given together, as "
                "the ranges of integers come from images. Received: "
                f"quantize={quantize!r}, calibration={shown(calibration)}."
            )
        arguments = (filepath, format, image_size, tuple(outputs), image)
        report: ExportReport | Int8Report
        if quantize is None:
            report = export_model(self, *arguments)
        else:
            report = export_int8(self, *arguments, calibration, float_parts)
        if verbose:
            workers.say(report)
        return report

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """As in Keras, whole or not at all; as for `save`."""
        keras_own = super().save_weights
        weight_files.save_weights_of(
            self, keras_own, filepath, overwrite, max_shard_size
        )

    def save_task_weights(self, filepath):
        weight_files.save_weights(self, filepath, self._outside_task_weights())

    def load_task_weights(self, filepath):
        keras.saving.load_weights(
            self, filepath, objects_to_skip=self._outside_task_weights()
        )

    def _outside_task_weights(self):
        """What a preset's task weights leave out: encoder and optimizer.

        The optimizer's momenta would triple the size of a trained preset.
        """
        return [*self.backbone.layers, self.backbone, self.optimizer]

    def get_compile_config(self):
        keras_internals.refuse_clone(self)
        config = super().get_compile_config()
        layers = keras_internals.layers_by_name(self)
        config["frozen"] = [n for n, la in layers.items() if not la.trainable]
        config["lora"] = self.backbone.lora
        config["has_trained"] = self.optimizer.built
        config["ema"] = self.averages and self.averages.decay
        return config

    def compile_from_config(self, config):
        if self.folded:
            return
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
            if self.averages is not None:
                self.averages.build()

    def get_config(self):
        keras_internals.refuse_legacy_file(self)
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            classes=self.classes and self.classes.get_config(),
            auxiliary_weight=self.auxiliary_weight,
            ignore_class=self.ignore_class,
            folded=self.folded,
        )
        return config


def _concrete(cls):
    """The public subclasses, however deep."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _concrete(subclass)
