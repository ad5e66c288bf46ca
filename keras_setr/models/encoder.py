"""What every encoder has, whatever it computes."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub

from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.arrays import differ
from keras_setr.checkpoints import loading
from keras_setr.checkpoints.preset_folder import save_whole
from keras_setr.layers.embedding import check_multiple_of_patch
from keras_setr.models import weight_files


def _image_shape(value):
    height, width, channels = value
    size, channel = optional(integer(0, 65_536)), integer(1, 4_096)
    return size.take(height), size.take(width), channel.take(channels)


IMAGE_SHAPE = Rule(
    "(height, width, channels), integers up to 65536 and 4096, of which the "
    "first two may be None",
    _image_shape,
)


def check_not_quantized(backbone):
    """Raise unless the weights are the floats that a preset holds."""
    if backbone.is_quantized:
        raise ValueError(
            "A preset holds floats. Received: an encoder of int8. Save it "
            "before quantize(), which takes seconds after loading; or save "
            "this one as a .keras file."
        )


def check_layers(layers, num_layers, argument):
    """Raise unless all of `layers` count encoder layers, 1-based."""
    wrong = [layer for layer in layers if not 1 <= layer <= num_layers]
    if wrong or not layers:
        raise ValueError(
            f"{argument} must name encoder layers from 1 to "
            f"num_layers={num_layers} (Z^1 .. Z^{num_layers}). Received: "
            f"{list(layers)}."
        )


def set_trainable(model, value):
    """Assign `trainable` to a model and all of its layers.

    TensorFlow leaves out an assignment of the value that is there already,
    which a model with some frozen layers has.
    """
    value = flag().check("trainable", value)
    keras.layers.Layer.trainable.fset(model, value)


class Encoder(keras_hub.models.Backbone):
    """Base of the encoders: a functional model that keeps its features.

    Attributes:
        num_layers: int. L, layers or stages, which `freeze` and the heads
            count.
        features: dict from l in 1..L to the map of layer l, `(B, h, w, D_l)`.
        depths: dict from the names of the layers with weights to their
            depth: 0 for what comes before layer 1, l for layer l, L + 1 for
            what follows.
        size_multiple: int. What the sides of images must be multiples of.
        native_size: `(H, W)`, where no other is given.
        lora: `{"rank": .., "target_layer_names": ..}` of `enable_lora`, or
            None.
        is_quantized: bool. Whether weights are int8.
        can_rematerialize: bool. Whether `rematerialize` may be set.
    """

    presets = loading.PresetsOf("Encoder")
    num_layers: int
    image_shape: Any
    features: dict[int, Any]
    size_multiple = 1
    can_rematerialize = False

    def __setattr__(self, name, value):
        if name == "trainable":
            set_trainable(self, value)
        else:
            super().__setattr__(name, value)

    @property
    def lora(self) -> dict[str, Any] | None:
        return None

    @property
    def is_quantized(self) -> bool:
        return False

    @property
    def form(self) -> tuple[Any, ...]:
        """What it computes with, so that compiled functions of it fit.

        `quantize` and `enable_lora` put other variables in the place of some,
        which TensorFlow's functions go on without.
        """
        return self.is_quantized, self.lora and self.lora["rank"]

    @property
    def depths(self) -> dict[str, int]:
        raise NotImplementedError

    @property
    def summary_line(self) -> str:
        """What it is made of, in a few words."""
        raise NotImplementedError

    @property
    def native_size(self) -> tuple[int, ...]:
        raise NotImplementedError

    def check_size(self, size: tuple[int, int], argument: str) -> None:
        """Raise where images of a size are none that it takes.

        Args:
            size: `(H, W)`.
            argument: str. What says it, for the error.
        """
        check_multiple_of_patch(*size, self.size_multiple, argument)
        *fixed, channels = self.image_shape
        if differ(fixed, size):
            raise ValueError(
                f"{argument} must be the model's image size, {tuple(fixed)}. "
                f"Received: {tuple(size)}; build or load the model with "
                f"image_shape={(*size, channels)} for it."
            )

    @property
    def rematerialize(self) -> bool:
        """Whether training computes layers anew for their gradients."""
        return False

    @rematerialize.setter
    def rematerialize(self, value: bool) -> None:
        if value:
            raise ValueError(
                "rematerialize must be False for an encoder without "
                f"transformer layers. Received: {value} for a "
                f"{type(self).__name__}; smaller batches need less memory, too."
            )

    @checked(num_layers=optional(integer(0)))
    def freeze(self, num_layers: int | None = None) -> None:
        """Train only what comes after the first layers.

        Frozen are the embeddings and the layers 1 .. `num_layers`; all later
        ones are trainable. As always in Keras, this counts from the next
        `compile` on, and dropout stays active in what is frozen.
        `backbone.trainable = True` undoes it.

        Args:
            num_layers: int in 0..L. 0 freezes the embeddings alone. Defaults
                to the whole encoder, as `backbone.trainable = False`.
        """
        if num_layers is None:
            self.trainable = False
            return
        if num_layers != 0:
            check_layers((num_layers,), self.num_layers, "num_layers")
        self.trainable = True
        for name, depth in self.depths.items():
            self.get_layer(name).trainable = depth > num_layers

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Of transformers alone: it adapts their projections."""
        raise ValueError(self._has_no_projections("enable_lora"))

    def quantize(self, mode: str = "int8", config: Any = None) -> None:
        """Of transformers alone: their projections become int8."""
        raise ValueError(self._has_no_projections("quantize"))

    def _has_no_projections(self, verb):
        return (
            f"{verb} changes the projections of a transformer. Received: a "
            f"{type(self).__name__}, which has none."
        )

    @classmethod
    @checked(preset=path(), image_shape=optional(IMAGE_SHAPE))
    def from_preset(
        cls,
        preset: str,
        load_weights: bool = True,
        image_shape: Sequence[int | None] | None = None,
        file: str | None = None,
        skip_mismatch: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Load an encoder from anywhere.

        Args:
            preset: str. Any source of `SETRPUP.from_preset`; of a whole
                segmenter the encoder is taken.
            load_weights: bool. `False` leaves all weights at random.
            image_shape: `(int, int, int)`. Another size than the source's
                resamples the positions.
            file, skip_mismatch, verbose: as for `SETRPUP.from_preset`.
            **kwargs: further arguments, which replace the source's. Of a
                transformer `use_final_norm=True` keeps the norm behind the
                last layer, and another `patch_size` resamples the patches, as
                for `SETRPUP.from_preset`.

        Raises:
            TypeError: where an argument is none of the backbone's.
            ValueError: where the source is unknown or does not fit.
        """
        if image_shape is not None:
            kwargs["image_shape"] = image_shape
        return loading.load_encoder(
            cls,
            preset,
            loading.LoadOptions(file, load_weights, skip_mismatch, verbose),
            kwargs,
        )

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """As in Keras, whole or not at all."""
        keras_own = super().save_weights
        weight_files.save_weights_of(
            self, keras_own, filepath, overwrite, max_shard_size
        )

    @checked(preset_dir=path(), max_shard_size=optional(number(above=0)))
    def save_to_preset(
        self, preset_dir: str | os.PathLike[str], max_shard_size: float = 10
    ) -> None:
        """Save the encoder as a preset folder; as `SETRPUP.save_to_preset`."""
        check_not_quantized(self)
        save = super().save_to_preset
        save_whole(self, save, preset_dir, max_shard_size)
