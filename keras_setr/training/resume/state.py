"""All that the rest of a training depends on, as arrays and JSON."""

import inspect
import json
import random
import re

import keras
import numpy as np
from keras import ops

# Of Keras 3.15.1; there is no public name for the generator behind layers and
# data that were given no seed.
from keras.src.random import seed_generator

from keras_setr.models.verbs.division import variable_scope
from keras_setr.optimizers import Decay
from keras_setr.optimizers import schedule_of

# Entries of a description: how many steps the learning rate takes to decay.
_LENGTH = re.compile(
    r"optimizer\.(.*\.)?learning_rate\.config\.(decay|warmup)_steps"
)
_WORDS = {
    "batches.batch_size": "batch size",
    "batches.image_shape": "size of the crops",
    "batches.pairs": "training images",
    "batches.seed": "seed of the batches",
    "batches.shuffle": "shuffling",
    "model.class": "model",
    "optimizer.class": "optimizer",
    "optimizer.learning_rate": "learning rate",
    "optimizer.learning_rate.config.initial_learning_rate": "learning rate",
    "steps_per_epoch": "steps of an epoch",
}


def iterate_arrays(model):
    """Yields `(name, array)` of everything that changes as a model trains.

    On several workers each of them must go through all of it: to read a
    variable may take all of them.
    """
    with variable_scope(model):
        for group, variables in _groups(model).items():
            for index, variable in enumerate(variables):
                yield f"{group}/{index}", _to_numpy(variable)
    for name, state in _host_generators().items():
        yield name, state


def restore_variables(model, arrays):
    """Assign the variables of model and optimizer; metrics come later."""
    groups = _groups(model)
    with variable_scope(model):
        for group in ("model", "optimizer"):
            _assign(group, groups[group], arrays)


def restore_metrics(model, arrays):
    """Assign what the metrics have counted in the epoch so far."""
    with variable_scope(model):
        _assign("metrics", _groups(model)["metrics"], arrays)


def restore_generators(model, arrays):
    """Set every random generator to where it was."""
    with variable_scope(model):
        _assign("random", _groups(model)["random"], arrays)
    version, internal = 3, arrays["python_random"]
    random.setstate((version, tuple(int(i) for i in internal), None))
    keys, rest = arrays["numpy_random"][:-1], arrays["numpy_random"][-1]
    np.random.set_state(("MT19937", keys.astype("uint32"), int(rest)))
    if "torch_random" in arrays:
        import torch

        torch.set_rng_state(torch.from_numpy(arrays["torch_random"]))
        for index in range(torch.cuda.device_count()):
            name = f"torch_random_cuda_{index}"
            if name in arrays:
                state = torch.from_numpy(arrays[name])
                torch.cuda.set_rng_state(state, index)


def seed_of_torch():
    """What torch's own generator was seeded with; None elsewhere."""
    if keras.config.backend() != "torch":
        return None
    import torch

    return torch.initial_seed()


def reseed_torch(seed, epoch):
    """Let what an epoch draws depend on nothing before it.

    Torch's loaders draw a number for each iterator, and Keras makes one more
    after a whole epoch than after the rest of one.
    """
    if seed is not None:
        import torch

        torch.manual_seed((seed + epoch) % 2**63)


def decay_span(model):
    """`[first step, steps]` of the decay that a fit spread, or `None`."""
    schedule = _schedule(model)
    return schedule and list(schedule.span)


def restore_decay_span(model, saved):
    """Set it again before the first step, which takes it for a constant.

    A fit of another length keeps its own, from the same first step on.

    Args:
        model: `SETRSegmenter`, which is fitted.
        saved: what `decay_span` gave.
    """
    schedule = _schedule(model)
    if saved is not None and schedule.decay_steps is None:
        first, _ = saved
        schedule.span = (first, schedule.span[1])


def _schedule(model):
    schedule = schedule_of(model.optimizer)
    return schedule if isinstance(schedule, Decay) else None


def describe(model, **further):
    """What must not change between a run's interruption and its restart.

    Returns:
        flat dict from a dotted name to a value of JSON.
    """
    lora = model.backbone.lora
    description = {
        "backend": keras.config.backend(),
        "model": {"class": type(model).__name__, **model.get_config()},
        "optimizer": {
            "class": type(model.optimizer).__name__,
            **model.optimizer.get_config(),
        },
        "variables": [
            f"{variable.name} {tuple(variable.shape)} {variable.dtype}"
            for variable in model.variables
        ],
        **({"model.lora_rank": lora["rank"]} if lora else {}),
        **({"ema": model.averages.decay} if model.averages else {}),
        **further,
    }
    # Through JSON, as it is compared with what was read from it.
    text = json.dumps(description, default=str)
    return dict(_flatten(json.loads(text)))


def defaults(model):
    """What `describe` says of arguments that nobody gave.

    A run of an earlier version knows nothing of an argument that came later;
    it was trained as by its default.
    """
    described = {
        "model": type(model),
        "model.backbone.config": type(model.backbone),
        "optimizer": type(model.optimizer),
    }
    found = {
        f"{owner}.{parameter.name}": parameter.default
        for owner, cls in described.items()
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.default is not parameter.empty
    }
    return dict(_flatten(json.loads(json.dumps(found, default=str))))


def differences(saved, current, defaults):
    """Lines that name what differs between two descriptions.

    How long a run is may change: the rate then decays over the new length.

    Args:
        saved, current: what `describe` gave.
        defaults: what `defaults` gives, of arguments that `saved` lacks.
    """
    lines = []
    saved = {n: v for n, v in defaults.items() if n in current} | saved
    names = sorted({*saved, *current}, key=lambda n: (_is_a_consequence(n), n))
    for name in names:
        before, now = (
            repr(d[name]) if name in d else "nothing" for d in (saved, current)
        )
        if before == now or _LENGTH.fullmatch(name):
            continue
        if _is_a_consequence(name) and lines:
            break
        lines.append(f"{_in_words(name)}: {before} before, {now} now")
    return lines


def _is_a_consequence(name):
    """Whether it differs only where something else does."""
    return name.startswith("variables.")


def _in_words(name):
    """`model.backbone.config.num_layers` as `num_layers of the backbone`."""
    if name in _WORDS:
        return _WORDS[name]
    *owners, last = [part for part in name.split(".") if part != "config"]
    return f"{last} of the {owners[-1]}" if owners else last


def _groups(model):
    return {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
        # Used by layers and data that were given no seed of their own.
        "random": [seed_generator.global_seed_generator().state],
    }


def _assign(group, variables, arrays):
    for index, variable in enumerate(variables):
        array = arrays[f"{group}/{index}"]
        if array.dtype.kind == "V":
            # NumPy's files know no bfloat16.
            array = array.view(_to_numpy(variable).dtype)
        variable.assign(array)


def _to_numpy(variable):
    if keras.config.backend() == "jax":
        value = variable.value
        if not (value.is_fully_addressable or value.is_fully_replicated):
            from jax.experimental import multihost_utils

            return multihost_utils.process_allgather(value, tiled=True)
    return ops.convert_to_numpy(ops.convert_to_tensor(variable))


def _host_generators():
    """The states of the generators that are no Keras variables."""
    kind, keys, position = np.random.get_state()[:3]
    states = {
        "python_random": np.array(random.getstate()[1], "int64"),
        "numpy_random": np.array([*keys, position], "int64"),
    }
    if keras.config.backend() == "torch":
        # Keras' dropout without a seed draws from torch's own generator.
        import torch

        states["torch_random"] = torch.get_rng_state().numpy()
        for index in range(torch.cuda.device_count()):
            state = torch.cuda.get_rng_state(index).numpy()
            states[f"torch_random_cuda_{index}"] = state
    return states


def _flatten(value, name=""):
    """`(dotted name, value)` of every leaf; without the names of layers.

    Keras numbers names by what the process built before.
    """
    if isinstance(value, dict):
        items = [
            (key, item)
            for key, item in value.items()
            if key != "name" or "dtype" in name
        ]
    elif isinstance(value, list) and any(
        isinstance(item, (dict, list, str)) for item in value
    ):
        items = list(enumerate(value))
    else:
        yield name, value
        return
    for key, item in items:
        yield from _flatten(item, f"{name}.{key}" if name else str(key))
