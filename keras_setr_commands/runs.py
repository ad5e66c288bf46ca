"""What `keras-setr train` trains: a folder's model, or a recipe's."""

import argparse
import dataclasses
import importlib.util

import keras
import numpy as np

import keras_setr as ks
from keras_setr.tables import counted
from keras_setr.training.callbacks.validation import BestWeights
from keras_setr.training.callbacks.validation import SlidingWindowValidation
from keras_setr_commands import defaults
from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import presets
from keras_setr_commands.bfloat16 import multiplies_bfloat16
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options
from keras_setr_commands.messages import one_line
from keras_setr_commands.messages import say

_LABEL_OPTIONS = (
    "--colors",
    "--crop",
    "--ignore",
    "--images",
    "--label-map",
    "--masks",
    "--names",
    "--num-classes",
    "--reduce-zero-label",
)


@dataclasses.dataclass
class Run:
    """A compiled model, what it trains on, and how it is tested.

    `val` are whole images, `val_batches` crops of them for the loss, or
    `None`. `tests` maps the name of a test to the arguments of `ks.evaluate`;
    "mean_iou" also scores the model while it trains, after every so many
    epochs. `folder` is what masks were read by, or `None`, and `settings` are
    the options that were found out rather than said.
    """

    model: object
    batches: object
    val: object
    val_batches: object | None
    epochs: int
    tests: dict
    settings: dict
    folder: object | None = None
    validate_every: int = 1


# === A folder ===


def folder_run(args, devices):
    """The `Run` of `--data`."""
    folder = ks.data.SegmentationFolder(
        args.data,
        class_names=args.names,
        num_classes=args.num_classes,
        **options.folder_options(args),
    )
    say(f"reading {counted(len(folder), 'pair')} of {args.data} ..")
    report = folder.report()
    say(in_options(str(report), _LABEL_OPTIONS))
    options.check_folder(folder, report)
    train, val = _divided(folder, args)
    found = defaults.find(
        vars(args),
        len(train),
        size=folder.median_size(),
        own_patch_size=_patch_size_of(args.preset),
        bfloat16=multiplies_bfloat16(),
    )
    if line := defaults.describe(found, len(train)):
        say(line)
    said_batch = args.batch_size
    args = argparse.Namespace(**{**vars(args), **found})
    if args.preset == defaults.RANDOM:
        args.preset = None
    if args.preset is None and args.model not in names.RESNET_MODELS:
        vars(args).update(defaults.new_encoder(vars(args)))
    patch_size = args.patch_size or _patch_size_of(args.preset)
    if args.model not in names.RESNET_MODELS:
        if problem := options.crop_problem(args.crop, patch_size):
            raise CommandError(problem)
    crop = tuple(args.crop or folder.proposed_crop_size(patch_size))
    keras.mixed_precision.set_dtype_policy(args.precision)
    model = build_model(args, crop, folder)
    batch_size = min(args.batch_size, len(train))
    batch_size, parts = fit_into_memory(
        model, args, batch_size, devices, is_said=bool(said_batch)
    )
    mixing = ks.data.Mixing(
        args.mosaic or 0, args.cutmix or 0, args.copy_paste or 0
    )
    augment = ks.data.TrainingTransform(
        crop, scale_range=tuple(args.scale_range)
    )
    batches = train.batches(
        batch_size,
        augment=augment,
        balanced_crops=args.balanced_crops,
        mixing=mixing if mixing != ks.data.Mixing() else None,
        seed=args.seed,
        cache=True,
        shard=devices.shard,
        reader=_reader(),
        check=False,
    )
    compile_model(model, args, args.epochs * len(batches), parts)
    return Run(
        model,
        batches,
        val,
        val.batches(
            batch_size,
            crop,
            cache=True,
            shard=devices.shard,
            reader=_reader(),
            check=False,
        ),
        epochs=args.epochs,
        tests={"mean_iou": {}},
        settings={
            **found,
            "backend": keras.config.backend(),
            "crop": crop,
            "batch_size": batch_size,
            "accumulate": parts,
            "patch_size": getattr(model.backbone, "patch_size", None),
            "rematerialize": bool(model.backbone.rematerialize),
        },
        folder=folder,
        validate_every=args.validate_every,
    )


def _divided(folder, args):
    """What is trained on and what is validated with."""
    if args.fold is None:
        return folder.split(args.fraction, seed=args.seed)
    fold, number = map(int, args.fold.split("/"))
    return folder.folds(number, seed=args.seed)[fold - 1]


def _patch_size_of(preset):
    """That of a preset, which its configuration tells."""
    preset = preset or defaults.ENCODER
    usual = defaults.NEW_ENCODER["patch_size"]
    if (record := ks.checkpoints.PRESETS.get(preset)) is not None:
        shape, _ = ks.checkpoints.architecture(record)
        return shape.get("patch_size", usual)
    return presets.patch_size_of(preset) or usual


def build_model(args, crop, folder):
    """The model with its random or loaded weights."""
    model_class = ks.models.MODELS[args.model]
    found = {"num_classes": folder.num_classes, "classes": folder.classes}
    image = {"image_shape": (*crop, 3)}
    on_resnet = args.model in names.RESNET_MODELS
    if not on_resnet:
        image["drop_path_rate"] = args.drop_path
    if args.filters and args.model == "semantic_fpn":
        found.update(neck_filters=args.filters, filters=args.filters)
    elif args.filters and args.model == "mla":
        half = args.filters // 2
        found.update(neck_filters=args.filters, head_filters=(half, half))
    elif args.filters:
        found.update(filters=args.filters, auxiliary_filters=args.filters)
    # None leaves those of a preset.
    if args.auxiliary is False:
        found.update(model_class.without_auxiliary)
    if args.preset:
        model = _from_preset(model_class, args, **image, **found)
        if args.auxiliary and len(model.outputs) < 3:
            raise CommandError(
                "--auxiliary trains the auxiliary heads of a model, and "
                f"{args.preset} has none; leave it out"
            )
        if args.lora_rank:
            model.backbone.enable_lora(args.lora_rank)
        return model
    if on_resnet:
        shape = {"50": ks.RESNET_50, "101": ks.RESNET_101}[args.resnet]
        # As the published ones: FCN is dilated, the pyramid is not.
        stride = 8 if args.model == "fcn" else 32
        backbone = ks.ResNetBackbone(**shape, output_stride=stride, **image)
        return model_class(backbone, **found)
    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        patch_size=args.patch_size,
        **image,
    )
    return model_class(backbone, **found)


def _from_preset(model_class, args, **options):
    try:
        return model_class.from_preset(
            args.preset, patch_size=args.patch_size, **options
        )
    except OSError as error:
        if args.preset != defaults.ENCODER:
            raise
        raise CommandError(
            f"{one_line(error)} --preset takes a folder or file that is here, "
            "--preset none starts at random"
        ) from error


def fit_into_memory(model, args, batch_size, devices, is_said):
    """Parts of a batch, and rematerialisation, as the free memory allows.

    What was said is done as it was said.

    Returns:
        `(batch_size, parts)`: images of a step, steps of an update.
    """
    said = args.rematerialize
    if said is not None:
        model.backbone.rematerialize = said
    # Gradients are not accumulated over several replicas of TensorFlow.
    whole = is_said or args.accumulate or devices.num_devices > 1
    compile_model(model, args, total_steps=1, parts=args.accumulate or 1)
    plan = ks.training.plan_memory(model, batch_size)
    if said is None:
        model.backbone.rematerialize = plan.rematerialize
    if whole:
        return batch_size, args.accumulate or 1
    if plan.accumulation_steps > 1 or plan.rematerialize:
        ways = [f"{counted(plan.batch_size, 'image')} at a time"]
        if plan.accumulation_steps > 1:
            ways[0] += f", {plan.accumulation_steps} times for each update"
        if plan.rematerialize:
            ways.append("encoder layers computed anew (--rematerialize)")
        say(
            f"{plan.available / 1e9:.1f} GB of memory are free: "
            + ", ".join(ways)
        )
    return plan.batch_size, plan.accumulation_steps


def compile_model(model, args, total_steps, parts):
    """Set up the training; `parts` steps make an update."""
    if args.frozen_layers:
        model.backbone.freeze(args.frozen_layers)
    warmup = args.warmup
    if 0 < warmup < 1:
        warmup = int(warmup * total_steps / parts)
    # As DeiT (arXiv 2012.12877) starts at random; other runs as `compile` does.
    is_new = args.optimizer == "adamw" and not args.preset
    model.compile(
        "auto" if args.optimizer == "sgd" else args.optimizer,
        args.loss,
        learning_rate=args.learning_rate,
        head_multiplier=args.head_multiplier,
        weight_decay=0.05 if is_new else None,
        layer_decay=args.layer_decay,
        gradient_accumulation_steps=parts if parts > 1 else None,
        schedule=args.schedule,
        warmup_steps=warmup,
        clipnorm=1.0 if is_new else None,
        ema=args.ema,
    )


# === A recipe ===


def recipe_run(args, devices):
    """The `Run` of `--recipe`."""
    keras.mixed_precision.set_dtype_policy(args.precision or "float32")
    recipe, small = ks.recipes[args.recipe], {}
    if args.smoke:
        recipe, small = ks.training.miniature(recipe)
    recipe = changed(recipe, args)
    say(recipe)
    if args.smoke:
        train, val = (
            ks.training.GeneratedImages(recipe, count, training, args.seed)
            for count, training in ((3, True), (1, False))
        )
    else:
        train, val = recipe.load_data(
            args.data_dir, args.manual_dir, args.image_dir
        )
    fit_options = recipe.fit_options(
        train,
        args.interval,
        args.accumulate or 1,
        seed=args.seed,
        shard=devices.shard,
        reader=_reader(),
    )
    if args.rematerialize:
        small["rematerialize"] = True
    model = recipe.build_model(weights=not args.random, **small)
    recipe.compile(
        model,
        gradient_accumulation_steps=args.accumulate,
        ema=args.ema,
        run_eagerly=args.eager,
    )
    tests = {"mean_iou": recipe.test_options()}
    if args.multi_scale or (args.smoke and recipe.miou_multi_scale):
        tests["mean_iou_multi_scale"] = recipe.test_options(multi_scale=True)
    return Run(
        model,
        fit_options["x"],
        val,
        # The published figures are those of the last step.
        None,
        epochs=fit_options["epochs"],
        tests=tests,
        settings={
            "backend": keras.config.backend(),
            # So that a longer run keeps its epochs.
            "interval": recipe.steps // fit_options["epochs"],
        },
    )


def changed(recipe, args):
    """The recipe with what the command line says otherwise."""
    if args.image_scale is not None:
        recipe = recipe.scaled(args.image_scale)
    changes = {
        "steps": args.steps,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "crop_size": args.crop and tuple(args.crop),
        "patch_size": args.patch_size,
        "lora_rank": args.lora_rank,
    }
    return dataclasses.replace(
        recipe, **{k: v for k, v in changes.items() if v is not None}
    )


# === Both ===


def _reader():
    """tf.data where TensorFlow is installed, else threads."""
    installed = importlib.util.find_spec("tensorflow") is not None
    return "tf.data" if installed else "threads"


class _Kept(keras.callbacks.Callback):
    """The result of the weights that `fit` leaves.

    Args:
        callbacks: those of `ks.callbacks`, which validate.
        best: bool. Whether these are the best weights or the last.

    Attributes:
        result: `Evaluation`, or None where it was found by an earlier process.
    """

    def __init__(self, callbacks, best):
        super().__init__()
        self._validation, self._weights = (
            next(each for each in callbacks if isinstance(each, kind))
            for kind in (SlidingWindowValidation, BestWeights)
        )
        self._best = best
        self.result = None

    def on_epoch_begin(self, epoch, logs=None):
        self._before = self._weights.best

    def on_epoch_end(self, epoch, logs=None):
        if self._best and self._weights.best == self._before:
            return
        is_validated = self._weights.monitor in (logs or {})
        self.result = self._validation.result if is_validated else None


def fit(run, out, args):
    """Train; the model is left with its best weights, or its last.

    Returns:
        the `Evaluation` of these weights, or None.
    """
    callbacks = ks.callbacks(
        out,
        validation=run.val,
        validate_every=run.validate_every,
        checkpoint_every=args.checkpoint_every,
        patience=args.patience,
        tensorboard=args.tensorboard,
        **run.tests["mean_iou"],
    )
    kept = _Kept(callbacks, best=run.folder is not None)
    run.model.fit(
        run.batches,
        validation_data=run.val_batches,
        validation_freq=run.validate_every,
        epochs=run.epochs,
        callbacks=[*callbacks, kept],
    )
    if run.folder is not None:
        run.model.load_weights(str(out / "best.weights.h5"))
    return kept.result


def test(run, known=None, brief=False):
    """The scores on whole images by sliding windows, as a dict.

    Args:
        known: `Evaluation` of the test "mean_iou", if it is there.
        brief: bool. Print the means alone, not a line for each class.
    """
    results = {}
    for name, views in run.tests.items():
        result = known if name == "mean_iou" else None
        if result is None:
            result = ks.evaluate(run.model, run.val, **views)
        say(f"{name} {100 * result.mean_iou:.2f} %" if brief else result)
        results[name] = result.as_dict()
    single = results.pop("mean_iou")
    others = {name: result["mean_iou"] for name, result in results.items()}
    return single | others


def check_preset(run, folder):
    """Load the preset and compare its output."""
    again = type(run.model).from_preset(str(folder))
    image = run.val[0][0]
    expected, logits = (
        model.segment(image, output="logits", **run.tests["mean_iou"])
        for model in (run.model, again)
    )
    difference = np.abs(logits - expected).max() / np.abs(expected).max()
    if not difference < 1e-5:
        raise CommandError(
            f"The loaded preset differs by {difference:.2g} in its logits."
        )
    say("the preset loads with equal output")
