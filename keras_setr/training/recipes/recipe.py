"""One published result: what it was trained with and what came out."""

import dataclasses
import os
from typing import Any

import keras

from keras_setr import checkpoints
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import path
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.data.batches.transforms import TrainingTransform
from keras_setr.facts.datasets import DATASETS
from keras_setr.inference.views import PAPER_SCALES
from keras_setr.inference.views import PROTOCOLS
from keras_setr.models import MODELS
from keras_setr.training.recipes.building import ENCODERS
from keras_setr.training.recipes.building import UNRELEASED
from keras_setr.training.recipes.building import build_model
from keras_setr.training.recipes.listing import record
from keras_setr.training.recipes.reading import load_data

# Sides of crops are multiples of this where there are no patches.
_CROP = 16
_MIOU = instance("a dict of source -> percent", dict)
_SOURCE = having("a SegmentationSource", "training", "batches")
_CODES = ("authors", "mmsegmentation")


def _pretrained_on(name):
    """The data that a built-in encoder was trained on, in short."""
    if name is None:
        return "random"
    if name in checkpoints.PRESETS:
        data = checkpoints.PRESETS[name].dataset
    else:
        data = UNRELEASED.get(name, name)
    return data.replace("ImageNet-", "").replace(", then ", "+")


@checked(
    name=string(),
    dataset=choice(*DATASETS),
    split=string(),
    coarse_split=optional(string()),
    tested_on=string(),
    crop_size=pair(1),
    steps=integer(1),
    batch_size=integer(1),
    learning_rate=number(above=0),
    decoder=choice(*MODELS),
    variant=choice("paper", *_CODES),
    encoder=choice(*ENCODERS),
    pretraining=optional(path()),
    feature_layers=sequence(integer(1), minimum_length=1),
    auxiliary_layers=sequence(integer(1)),
    scales=sequence(number(above=0), minimum_length=1),
    protocol=choice(*PROTOCOLS),
    miou=_MIOU,
    miou_multi_scale=_MIOU,
    miou_test_server=_MIOU,
    follows=choice("paper", *_CODES),
    because=sequence(string()),
    preset=optional(string()),
    measured=optional(number(0, 100)),
    hardware=optional(string()),
    hours=optional(number(0)),
    stem_pretraining=optional(path()),
    weight_decay=number(0),
    head_multiplier=number(above=0),
    align_corners=flag(),
    is_d6=flag(),
    whole=flag(),
    fitted_into=optional(pair(1)),
    image_scale=number(above=0),
    patch_size=optional(integer(1, 512)),
    lora_rank=optional(integer(1)),
    small_shape=optional(
        mapping(string(), either(integer(1), sequence(integer(1))))
    ),
)
@dataclasses.dataclass(frozen=True)
class Recipe:
    """A row of the paper's tables, or of a published list of results.

    All of them have in common: SGD with momentum 0.9, polynomial decay of
    power 0.9 to 1e-4, no warm-up, auxiliary losses at 0.4, and the
    augmentation of `TrainingTransform` on sizes relative to the dataset's base
    scale. Those of SETR have no weight decay, and heads at ten times the rate.

    ```python no_run
    recipe = ks.recipes["setr_pup_large_cityscapes_768_80k"]
    print(recipe)
    model = recipe.build_model()
    recipe.compile(model)
    train, val = recipe.load_data("datasets")
    model.fit(**recipe.fit_options(train))
    print(ks.evaluate(model, val, **recipe.test_options()))
    ```

    A variant is `dataclasses.replace(recipe, steps=20_000)`.

    Attributes:
        name: str. Model, encoder, dataset, crop, steps, and what sets it
            apart from others of these.
        dataset: a key of `keras_setr.data.DATASETS`, from which the test
            protocol comes.
        split: str. What is trained on; splits are joined by `+`.
        coarse_split: str or `None`. What is trained on of the same dataset
            with coarse labels.
        tested_on: str. The split of the published figures. Nobody but the
            test servers has the labels of `"test"`.
        crop_size: `(H, W)` in training, and of the windows at test.
        steps, batch_size: int.
        learning_rate: float. The encoder's and MLA's neck's; that of the
            heads is `head_multiplier` times as much.
        decoder: `"naive"`, `"pup"`, `"mla"`, `"fcn"` or `"semantic_fpn"`.
        variant: `"paper"`, `"authors"` or `"mmsegmentation"`: whose reading
            of the decoder, see `checkpoints.decoder_arguments`.
        encoder: `"large"` (T-Large), `"base"` (T-Small), `"deit_base"`,
            `"hybrid"` (T-Small behind ResNet-50), `"resnet50"` or
            `"resnet101"`.
        pretraining: what the encoder starts from: a built-in encoder, or
            anything that `from_preset` takes; `None` for random weights.
        feature_layers: tuple of int. Z^l, or stages, that the decoder reads.
        auxiliary_layers: tuple of int. Z^l behind the auxiliary heads; of
            MLA the levels of its neck.
        scales: tuple of float. Of the multi-scale test, with flips.
        protocol: `"authors"` or `"mmsegmentation"`, how they are meant.
        miou, miou_multi_scale, miou_test_server: dict of source -> published
            mean IoU in percent, the one shown in tables first; empty where
            none is published.
        follows: `"paper"`, `"authors"` or `"mmsegmentation"`, whose settings
            these are.
        because: tuple of str. Why, where they differ, and what is not known.
        preset: str or `None`. The built-in name of the weights that came out,
            where they were published.
        measured: float or `None`. Mean IoU in percent of a run with this
            package.
        hardware, hours: str and float, or `None` where none is published.
        stem_pretraining: the same as `pretraining` of the ResNet in front of
            SETR-Hybrid's transformer.
        weight_decay: float. A penalty, added to the gradients.
        head_multiplier: float. Of the heads' learning rate.
        align_corners: bool. Of the resize of the logits of FCN.
        is_d6: bool. Whether an FCN is mmsegmentation's D6: output stride 16,
            and the convolutions of its heads dilated by 6.
        whole: bool. Whether images pass through the model whole at test, and
            not in windows.
        fitted_into: `(int, int)` or `None`. Sides into which images are
            fitted, where they are not the dataset's.
        image_scale: float. Images are trained on and tested at this share of
            the published base scale.
        patch_size: int or `None`. Of the encoder, where it is not that of the
            pretraining, whose kernel is resampled then.
        lora_rank: int or `None`. Train low-rank updates of the encoder alone,
            see `SETRBackbone.enable_lora`, and the decoder.
        small_shape: dict or `None`. Layers, width and heads of the encoder
            where they are not the published ones, in `miniature`.
    """

    name: str
    dataset: str
    crop_size: tuple
    steps: int
    batch_size: int
    learning_rate: float
    decoder: str
    variant: str
    encoder: str
    pretraining: str | None
    feature_layers: tuple
    auxiliary_layers: tuple
    miou: dict
    follows: str
    because: tuple
    split: str = "train"
    coarse_split: str | None = None
    tested_on: str = "validation"
    scales: tuple = PAPER_SCALES
    protocol: str = "authors"
    miou_multi_scale: dict = dataclasses.field(default_factory=dict)
    miou_test_server: dict = dataclasses.field(default_factory=dict)
    preset: str | None = None
    measured: float | None = None
    hardware: str | None = None
    hours: float | None = None
    stem_pretraining: str | None = None
    weight_decay: float = 0.0
    head_multiplier: float = 10.0
    align_corners: bool = False
    is_d6: bool = False
    whole: bool = False
    fitted_into: tuple | None = None
    image_scale: float = 1.0
    patch_size: int | None = None
    lora_rank: int | None = None
    small_shape: dict | None = None

    # === Facts that follow ===

    @property
    def facts(self) -> Any:
        """The `Dataset`."""
        return DATASETS[self.dataset]

    @property
    def num_images(self) -> int:
        """How many images are trained on."""
        count = sum(self.facts.splits[part] for part in self.split.split("+"))
        if self.coarse_split:
            coarse = DATASETS[f"{self.dataset}_coarse"]
            count += coarse.splits[self.coarse_split]
        return count

    @property
    def epochs(self) -> float:
        """160_000 steps * 16 images / 20_210 = 126.7."""
        return self.steps * self.batch_size / self.num_images

    @property
    def base_scale(self) -> Any:
        """The two sides into which images are fitted."""
        sides = self.fitted_into or self.facts.base_scale
        return tuple(round(side * self.image_scale) for side in sides)

    @property
    def stride(self) -> Any:
        """Of the windows: the published one, with the crop's size."""
        return tuple(
            round(stride * crop / published)
            for stride, crop, published in zip(
                self.facts.stride, self.crop_size, self.facts.crop_size
            )
        )

    @property
    def encoder_shape(self) -> dict[str, Any]:
        """Arguments of the encoder: layers, width, heads; or blocks."""
        return self.small_shape or self._published_encoder

    @property
    def _published_encoder(self):
        shape, _ = checkpoints.architecture(
            checkpoints.PRESETS[ENCODERS[self.encoder]]
        )
        return shape

    @property
    def pretrained_on(self) -> Any:
        """`"random"`, `"21k"`, `"21k+1k"`, .. or where else from.

        Of SETR-Hybrid both, `"1k-random"`: its ResNet's and its transformer's.
        """
        data = _pretrained_on(self.pretraining)
        if self.encoder == "hybrid":
            return f"{_pretrained_on(self.stem_pretraining)}-{data}"
        return data

    @property
    def command(self) -> str:
        return (
            f"keras-setr train --recipe {self.name} --data-dir DIR "
            f"--out runs/{self.name}"
        )

    @checked(factor=number(above=0))
    def scaled(self, factor: float) -> "Recipe":
        """The recipe on images of `factor` times the published size.

        Crops, windows and strides shrink with the images; crops stay
        multiples of the patches, or of 16 for a ResNet.
        """
        patch = self.patch_size or self._published_encoder.get(
            "patch_size", _CROP
        )
        return dataclasses.replace(
            self,
            image_scale=self.image_scale * factor,
            crop_size=tuple(
                max(round(side * factor / patch), 1) * patch
                for side in self.crop_size
            ),
        )

    # === What a training needs ===

    @checked(weights=flag())
    def build_model(self, weights: bool = True, **overrides: Any) -> Any:
        """The model, its encoder pretrained and its decoder new.

        Args:
            weights: bool. Whether to load the pretraining, which is then
                downloaded once. `False` leaves the encoder at random.
            **overrides: arguments of the model or of its backbone.
        """
        return build_model(self, weights, overrides)

    @checked(model=segmenter("backbone", "compile"))
    def compile(self, model: keras.Model, **overrides: Any) -> None:
        """`model.compile` with the learning rate and its decay.

        Args:
            model: a segmenter.
            **overrides: further arguments of `model.compile`, which prevail;
                `learning_rate` and `total_steps` among them.
        """
        arguments = {
            "learning_rate": self.learning_rate,
            "total_steps": self.steps,
            "head_multiplier": self.head_multiplier,
            "weight_decay": self.weight_decay,
        }
        model.compile(**{**arguments, **overrides})

    @checked(
        data_dir=optional(path()),
        manual_dir=optional(path()),
        image_dir=optional(path()),
    )
    def load_data(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        manual_dir: str | os.PathLike[str] | None = None,
        image_dir: str | os.PathLike[str] | None = None,
    ) -> tuple[Any, Any]:
        """What to train on, and the labelled images to validate with.

        Args:
            data_dir, manual_dir: as for `keras_setr.data.load_dataset`: where
                TFDS keeps prepared datasets, and where the official archives
                lie.
            image_dir: a folder of images and masks instead, in a layout that
                `SegmentationFolder` finds, with the label values of the
                official files.

        Returns:
            `(train, val)`, two `SegmentationSource`.
        """
        return load_data(self, data_dir, manual_dir, image_dir)

    def transform(self) -> Any:
        """The augmentation of the training images."""
        return TrainingTransform(self.crop_size, base_scale=self.base_scale)

    @checked(source=_SOURCE)
    def batches(self, source: Any, **options: Any) -> Any:
        """Batches to train on, or of middle crops where `source` is not.

        Args:
            source: a `SegmentationSource`.
            **options: as for `source.batches`.
        """
        if source.training is False:
            options["crop_size"] = self.crop_size
        else:
            options["augment"] = self.transform()
        return source.batches(self.batch_size, **options)

    @checked(
        source=_SOURCE,
        interval=optional(integer(1)),
        accumulate=integer(1),
    )
    def fit_options(
        self,
        source: Any,
        interval: int | None = None,
        accumulate: int = 1,
        **options: Any,
    ) -> dict[str, Any]:
        """Arguments of `model.fit` for the whole training.

        Args:
            source: a `SegmentationSource` to train on.
            interval: int. Updates in an epoch, after which Keras logs and
                validates; divides `steps`. Defaults to their smallest divisor
                of at least a tenth.
            accumulate: int. Parts in which a batch is read, where the model
                is compiled with as many `gradient_accumulation_steps`;
                divides `batch_size`.
            **options: as for `batches`.

        Returns:
            dict with `x` and `epochs`.

        Raises:
            ValueError: where the interval or the parts do not divide.
        """
        steps = self.steps
        if interval is None:
            tenth = -(-steps // 10)
            divisors = (n for n in range(tenth, steps + 1) if not steps % n)
            interval = next(divisors)
        if steps % interval:
            raise ValueError(
                f"interval must divide the {steps} steps. Received: {interval}."
            )
        if self.batch_size % accumulate:
            raise ValueError(
                f"accumulate must divide the batch of {self.batch_size}, "
                f"which it cuts into parts. Received: {accumulate}."
            )
        part = dataclasses.replace(
            self, batch_size=self.batch_size // accumulate
        )
        return {
            "x": part.batches(
                source, steps_per_epoch=interval * accumulate, **options
            ),
            "epochs": steps // interval,
        }

    @checked(multi_scale=flag())
    def test_options(self, multi_scale: bool = False) -> dict[str, Any]:
        """Arguments of `keras_setr.evaluate` for the published test."""
        window, stride = self.crop_size, self.stride
        if self.whole:
            # Larger than any image at any of the scales, up to 1.75.
            window = stride = (2 * max(self.base_scale),) * 2
        options = {
            "window_size": window,
            "stride": stride,
            "base_scale": self.base_scale,
            "protocol": self.protocol,
        }
        if multi_scale:
            options.update(scales=self.scales, flip=True)
        return options

    def __str__(self) -> str:
        return record(self)
