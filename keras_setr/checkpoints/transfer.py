"""Values from a checkpoint into a model's variables, all of them or none.

A plan (`plan.py`) says with `TensorRule` records which tensors make which
variable. `transfer` carries them out, writes every variable once, accounts
for every tensor and returns a `Report`.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_setr.checkpoints.tensors import Checkpoint
from keras_setr.layers.resampling import resample_grid
from keras_setr.layers.resampling import resample_patches
from keras_setr.tables import listed
from keras_setr.tables import printable

# How many names a message shows of a long list.
_SHOWN = 6
# Variables that may be of another size, all but the last axes.
_POSITIONS = "token_embedding/positions"  # (h, w, D)
_PATCHES = "patch_embedding/kernel"  # (P, P, C, D)
# Whose shape is worked out although they are too large by so much.
_TRIED = 64


@dataclasses.dataclass(frozen=True)
class TensorRule:
    """How one variable of ours comes out of tensors of a file.

    Args:
        target: str. The variable's path inside the model.
        sources: tuple of str. Names of tensors; `()` for a constant.
        convert: callable from their arrays to the variable's value.
        otherwise: str or `None`. Why the tensors are left out where the
            model has no such variable; `None` makes that an error.
    """

    target: str
    sources: tuple
    convert: Callable
    otherwise: str | None = None


@dataclasses.dataclass
class Report:
    """What a load did; `str(report)` is the summary that is printed.

    Attributes:
        origin: str. Path, handle or name of what was read.
        layout_name: str. The naming that was recognised.
        loaded: dict from part (`"encoder"`, `"decoder"`, `"auxiliary"`) to
            `[variables written, variables]`.
        notes: list of str. Resampled positions, new classifiers and the like.
        ignored: dict from reason to the list of tensors left out for it.
        missing, unused, mismatched, not_finite: lists of str, empty unless
            `skip_mismatch=True` let them pass.
    """

    origin: str
    layout_name: str
    loaded: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    ignored: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    missing: list = dataclasses.field(default_factory=list)
    unused: list = dataclasses.field(default_factory=list)
    mismatched: list = dataclasses.field(default_factory=list)
    not_finite: list = dataclasses.field(default_factory=list)

    def problems(self) -> list[str]:
        """Lines on what does not fit; empty where everything does."""
        lines = []
        for title, names in (
            ("not in the file", self.missing),
            ("in the file, but not in the model", self.unused),
            ("of another shape", self.mismatched),
            ("with values that are NaN or infinite", self.not_finite),
        ):
            if names:
                shown = listed(names, _SHOWN)
                lines.append(printable(f"{len(names)} {title}: {shown}", ""))
        return lines

    def __str__(self) -> str:
        counts = ", ".join(
            f"{part} {written}/{total}"
            for part, (written, total) in self.loaded.items()
        )
        lines = [f"Loaded {self.origin} ({self.layout_name}): {counts}"]
        lines += [f"  {note}" for note in self.notes]
        lines += [
            f"  ignored {len(names)} ({names[0]}"
            + (", ..)" if len(names) > 1 else ")")
            + f": {reason}"
            for reason, names in self.ignored.items()
        ]
        lines += [f"  skipped: {line}" for line in self.problems()]
        return "\n".join(printable(line, "") for line in lines)


def part_of(path):
    """`"encoder"`, `"decoder"` or `"auxiliary"`, from a variable's path."""
    layer = path.split("/")[0]
    if layer.startswith("auxiliary_head"):
        return "auxiliary"
    return "decoder" if layer in ("decode_head", "neck") else "encoder"


def transfer(
    checkpoint: Checkpoint,
    plan: Any,
    model: keras.Model,
    skip_mismatch: bool = False,
) -> Report:
    """Write the values of a checkpoint into a model.

    Args:
        checkpoint: `Checkpoint`.
        plan: `LoadPlan`. Which tensors make which variable, what is ignored
            and what keeps its initial values.
        model: the Keras model that was built by the plan.
        skip_mismatch: bool. Pass over what does not fit instead of raising.

    Returns:
        `Report`.

    Raises:
        ValueError: where a variable gets no value, a tensor goes nowhere,
            shapes differ, which is found before any is read, or values are
            NaN or infinite.
    """
    report = Report(checkpoint.origin, plan.layout_name)
    report.notes.extend(plan.notes)
    variables = {v.path: v for v in model.weights if _is_parameter(v)}
    encoder = getattr(model, "backbone", model)
    resampling = getattr(encoder, "position_interpolation", None)
    used, written = set(), set()
    for path in variables:
        note = next((n for p, n in plan.initial if re.match(p, path)), None)
        if note is not None:
            written.add(path)
            if note not in report.notes:
                report.notes.append(note)
    to_read = []
    for rule in plan.rules:
        if any(source not in checkpoint.tensors for source in rule.sources):
            continue  # reported below, as a variable without a value
        used.update(rule.sources)
        if rule.target not in variables:
            if rule.otherwise is None:
                report.unused.extend(rule.sources)
            else:
                report.ignored[rule.otherwise].extend(rule.sources)
        elif rule.target not in written:
            written.add(rule.target)
            shape = tuple(variables[rule.target].shape)
            found = _shape_of(rule, checkpoint, shape)
            if found == shape or _is_resampled(rule.target, found, shape):
                to_read.append(rule)
            else:
                report.mismatched.append(f"{rule.target} {found} -> {shape}")
    report.missing.extend(p for p in variables if p not in written)
    for name in checkpoint.tensors:
        if name in used:
            continue
        reason = next(
            (r for p, r in plan.ignored if re.fullmatch(p, name)), None
        )
        if reason is None:
            report.unused.append(name)
        else:
            report.ignored[reason].append(name)
    # Before anything is read: a large file of another model takes no time.
    _raise_problems(report, skip_mismatch)
    counts: collections.Counter = collections.Counter()
    for rule in to_read:
        variable = variables[rule.target]
        value = rule.convert(
            *(checkpoint.tensors[s].read() for s in rule.sources)
        )
        if not np.isfinite(value).all():
            report.not_finite.extend(rule.sources)
            continue
        if tuple(value.shape) != tuple(variable.shape):
            shape = tuple(variable.shape)
            value, note = _resampled(rule.target, value, shape, resampling)
            report.notes.append(note)
        variable.assign(value)
        counts[part_of(rule.target)] += 1
    for path in variables:
        part = part_of(path)
        report.loaded.setdefault(part, [counts[part], 0])[1] += 1
    _raise_problems(report, skip_mismatch)
    return report


def _raise_problems(report, skip_mismatch):
    if report.problems() and not skip_mismatch:
        raise ValueError(
            f"{report.origin} ({report.layout_name}) does not fit the "
            "model:\n  "
            + "\n  ".join(report.problems())
            + "\nPass the arguments that the file was made with, or "
            "skip_mismatch=True to load the rest and leave these at their "
            "initial values."
        )


def _shape_of(rule, checkpoint, wanted):
    """The shape of a rule's value, without reading its tensors.

    The conversion is tried on zeros that take no memory. Several tensors far
    larger than what is `wanted` are not tried: to join them copies.
    """
    shapes = [checkpoint.shape(source) for source in rule.sources]
    zeros = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    size = sum(zero.size for zero in zeros)
    if len(zeros) > 1 and size > _TRIED * max(math.prod(wanted), _TRIED):
        return shapes[0]
    try:
        return tuple(rule.convert(*zeros).shape)
    except (ValueError, IndexError):
        return shapes[0] if shapes else ()


def _is_resampled(target, found, wanted):
    """Whether positions or patches are only of another size."""
    return (
        target.endswith((_POSITIONS, _PATCHES))
        and len(found) == len(wanted)
        and found[2:] == wanted[2:]
    )


def not_finite(model: keras.Model) -> list[str]:
    """Paths of the variables that hold NaN or infinite values."""
    return [
        variable.path
        for variable in model.weights
        if _is_parameter(variable)
        # Of a variable that lies on several machines, no one sees all.
        and getattr(variable.value, "is_fully_addressable", True)
        and not np.isfinite(keras.ops.convert_to_numpy(variable.value)).all()
    ]


def _is_parameter(variable):
    """Neither a seed nor a counter."""
    return "float" in keras.backend.standardize_dtype(variable.dtype)


def _resampled(target, value, shape, interpolation):
    """Positions or patches of the model's size, and what to say of it."""
    (height, width), (rows, columns) = value.shape[:2], shape[:2]
    change = f"{height}x{width} -> {rows}x{columns}"
    if target.endswith(_PATCHES):
        return resample_patches(value, rows), f"patches {change}"
    resampled = resample_grid(  # paper, section 4.1
        keras.ops.convert_to_tensor(value), (rows, columns), interpolation
    )
    value = np.asarray(keras.ops.convert_to_numpy(resampled))
    return value, f"positions {change} ({interpolation})"
