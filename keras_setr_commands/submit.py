"""Write the files for a test server from a folder of test images.

    keras-setr submit PRESET --images leftImg8bit/test --out results \\
        --dataset cityscapes

Cityscapes gets PNGs of labelIds, ADE20K a submission.zip of PNGs with 1..150.
Run it again after an interruption: what is written already is kept. Results of
another preset or of other options are never mixed.
"""

import argparse

from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import outputs
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.loading import load_model
from keras_setr_commands.messages import CommandError

AFTER_INTERRUPT = "What is written is kept, and the same command goes on"
DEFAULTS = {**options.VIEW_DEFAULTS, "overwrite": False}
RECORD = ".keras_setr_submit.json"


def add_options(parser):
    options.add_model(parser)
    add = parser.add_argument
    add(
        "--images",
        required=True,
        type=values.folder,
        metavar="DIR",
        help="folder of the test images",
    )
    add(
        "--out",
        required=True,
        type=values.new_folder,
        metavar="DIR",
        help="folder for the results",
    )
    add(
        "--dataset",
        required=True,
        type=values.one_of(names.TEST_SERVERS, "test server"),
        metavar="NAME",
        help=" or ".join(names.TEST_SERVERS),
    )
    options.add_views(parser, window=False)
    add("--overwrite", action="store_true", help="write all files anew")


def check(parser, given):
    options.check_views(parser, given)
    found = presets.num_classes_of(given["preset"])
    needed = names.TEST_SERVERS[given["dataset"]]
    if found not in (None, needed):
        parser.error(
            f"--dataset {given['dataset']} must get a model of its {needed} "
            f"classes. Received: {given['preset']}, which has {found}"
        )
    # Needs no Keras, so that nobody waits for it.
    from keras_setr import submission

    try:
        submission.find_test_images(given["images"], given["dataset"])
    except (OSError, ValueError) as error:
        parser.error(f"argument --images: {error}")
    record(argparse.Namespace(**{**DEFAULTS, **given}))


def record(args):
    """What `--out` holds.

    Raises:
        CommandError: results of other settings, which are not to be replaced.
    """
    settings = outputs.settings_of(args, dataset=args.dataset)
    found = outputs.OutputFolder(args.out, RECORD, settings)
    if found.changed and not args.overwrite:
        raise CommandError(
            f"{args.out} holds results of another preset or of other options; "
            "name another --out, or say --overwrite to write all anew."
        )
    return found


def run(args: argparse.Namespace, given: dict) -> int:
    import keras_setr as ks
    from keras_setr.tables import counted

    model = load_model(args.preset)
    record(args).start()
    result = ks.write_submission(
        model,
        args.images,
        args.out,
        args.dataset,
        overwrite=args.overwrite,
        **options.views(args),
    )
    print(
        f"{counted(result.written, 'image')} segmented, "
        f"{result.kept} were there, {len(result.failed)} failed"
    )
    if result.archive:
        print(f"to submit: {result.archive}")
    return 1 if result.failed else 0
