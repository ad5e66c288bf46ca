"""What a run is going to do, and whether it fits, before its first step."""

import dataclasses
import math

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import segmenter
from keras_setr.models.verbs.division import batch_divisor
from keras_setr.optimizers import schedule_of
from keras_setr.optimizers import unwrapped
from keras_setr.tables import counted
from keras_setr.training.preflight.memory import TOLERANCE
from keras_setr.training.preflight.memory import MemoryEstimate
from keras_setr.training.preflight.memory import available_memory
from keras_setr.training.preflight.memory import estimate_memory


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """What `describe_run` found out; `str` gives its lines.

    Args:
        batch_size: int. Images of a batch on one device.
        devices: int. Among which each batch is divided.
        accumulation_steps: int. Batches of one update.
        image_size: `(H, W)`.
        rates: dict from `"encoder"` and `"decoder"` to the lowest and the
            highest learning rate of their trainable parameters at the start.
        trainable: int. Parameters.
        frozen: int. Parameters.
        lora_rank: int or `None`. Of the encoder's low-rank updates.
        policy: str. dtype policy of the encoder.
        rematerialize: bool.
        memory: `MemoryEstimate` of one device.
        available: int or `None`. Bytes that the run may take on one device.
    """

    batch_size: int
    devices: int
    accumulation_steps: int
    image_size: tuple
    rates: dict
    trainable: int
    frozen: int
    lora_rank: int | None
    policy: str
    rematerialize: bool
    memory: MemoryEstimate
    available: int | None

    @property
    def effective_batch(self) -> int:
        """Images behind one update of the weights."""
        return self.batch_size * self.devices * self.accumulation_steps

    def __str__(self) -> str:
        height, width = self.image_size
        rates = ", ".join(
            f"{part} {low:.3g}" + (f" to {high:.3g}" if high > low else "")
            for part, (low, high) in self.rates.items()
        )
        memory = self.memory
        of = ""
        if self.available is not None:
            of = f" of {_gigabytes(self.available)}"
            if memory.total > self.available:
                of += ", which may not suffice"
        lora = f" (LoRA of rank {self.lora_rank})" if self.lora_rank else ""
        layers = "rematerialised" if self.rematerialize else "kept"
        return (
            f"batch {self.effective_batch} = {self.batch_size} x "
            f"{counted(self.devices, 'device')} x {self.accumulation_steps} "
            f"accumulated, crop {height} x {width}; learning rate {rates}; "
            f"parameters {self.trainable:,} trainable{lora}, {self.frozen:,} "
            f"frozen; {self.policy}, layers {layers}; memory about "
            f"{_gigabytes(memory.total)}{of} (weights "
            f"{_gigabytes(memory.weights)}, optimizer "
            f"{_gigabytes(memory.optimizer)}, gradients "
            f"{_gigabytes(memory.gradients)}, activations "
            f"{_gigabytes(memory.activations + memory.working)})"
        )


@checked(
    model=segmenter("backbone", "optimizer"),
    batch_size=integer(1),
    image_size=optional(pair(1)),
    available=optional(integer(0)),
)
def describe_run(
    model: keras.Model,
    batch_size: int,
    image_size: tuple[int, int] | None = None,
    available: int | None = None,
) -> RunDescription:
    """Describe the training that is about to start, and check that it fits.

    Args:
        model: a compiled `SETRSegmenter`.
        batch_size: int. Images of a batch of `fit`, over all devices.
        image_size: `(H, W)` of the crops. Defaults to the model's size.
        available: int. Bytes that the training may take on one device, what
            the model holds already included. Defaults to that and what the
            device says is free.

    Returns:
        `RunDescription`; print it.

    Raises:
        MemoryError: where the step needs more than the device has, even if
            the estimate is 30 % too high. It names three ways out.
    """
    devices = batch_divisor(model)
    backbone = model.backbone
    if image_size is None:
        image_size = backbone.native_size
    if available is None:
        available = available_memory(model)
    optimizer = unwrapped(model.optimizer)
    per_device = math.ceil(batch_size / devices)
    description = RunDescription(
        batch_size=per_device,
        devices=devices,
        accumulation_steps=optimizer.gradient_accumulation_steps or 1,
        image_size=image_size,
        rates=_rates(model, optimizer),
        trainable=_count(model.trainable_variables),
        frozen=model.count_params() - _count(model.trainable_variables),
        lora_rank=backbone.lora and backbone.lora["rank"],
        policy=backbone.dtype_policy.name,
        rematerialize=backbone.rematerialize,
        memory=estimate_memory(model, per_device, image_size),
        available=available,
    )
    if available and description.memory.total > TOLERANCE * available:
        raise MemoryError(_ways_out(model, description))
    return description


def _gigabytes(count):
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _count(variables):
    return sum(math.prod(v.shape) for v in variables)


def _rates(model, optimizer):
    base = getattr(schedule_of(optimizer), "initial_learning_rate", None)
    if base is None:
        base = float(ops.convert_to_numpy(optimizer.learning_rate))
    encoder = {v.path for v in model.backbone.trainable_variables}
    parts = {"encoder": [], "decoder": []}
    for variable in model.trainable_variables:
        part = "encoder" if variable.path in encoder else "decoder"
        factor = 1.0
        if hasattr(optimizer, "multiplier"):
            factor = optimizer.multiplier(variable.path)
        parts[part].append(base * factor)
    return {k: (min(v), max(v)) for k, v in parts.items() if v}


def _ways_out(model, run):
    per_device, size = run.batch_size, run.image_size
    ways = []
    fitting = run.memory.largest_batch(per_device, run.available)
    if fitting:
        steps = run.accumulation_steps * math.ceil(per_device / fitting)
        ways.append(
            f"a batch of {fitting * run.devices} with "
            f"compile(gradient_accumulation_steps={steps})"
        )
    else:
        ways.append("a smaller encoder, since not even one image fits")
    if model.backbone.can_rematerialize and not run.rematerialize:
        again = estimate_memory(model, per_device, size, rematerialize=True)
        ways.append(
            "SETRBackbone(rematerialize=True), about " + _gigabytes(again.total)
        )
    if keras.backend.standardize_dtype(model.compute_dtype) == "float32":
        ways.append(
            'dtype="mixed_bfloat16", three quarters of most activations'
        )
    patch = model.backbone.size_multiple
    smaller = tuple(max(patch, s * 3 // 4 // patch * patch) for s in size)
    # Maps shrink with the area, attention faster: an upper bound.
    share = math.prod(smaller) / math.prod(size)
    needed = dataclasses.replace(
        run.memory,
        activations=int(share * run.memory.activations),
        working=int(share * run.memory.working),
    )
    ways.append(
        f"image_shape={(*smaller, model.backbone.image_shape[-1])}, at most "
        + _gigabytes(needed.total)
    )
    return (
        f"A training step needs about {_gigabytes(run.memory.total)} on each "
        f"device, which has {_gigabytes(run.available)} free, with a batch of "
        f"{per_device} x {counted(run.devices, 'device')} of {size[0]} x "
        f"{size[1]}. Ways out: " + "; ".join(ways) + "."
    )
