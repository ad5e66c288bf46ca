"""The options of all commands: what they take, checked without the package.

A command declares its options without defaults, so that it can tell what was
said from what was not; `DEFAULTS` of each command has the rest.
"""

import argparse
import difflib
import importlib.util
import json
import os
import pathlib
import re
import tempfile

from keras_setr_commands import names
from keras_setr_commands.messages import LOG_LEVEL
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options

BACKENDS = ("tensorflow", "jax", "torch")
# Names of KerasHub's own encoders, which it knows better.
_KERAS_HUB = re.compile(r"(vit|deit|dinov[23])_[a-z0-9_]+")
# Handles of hubs, and their forms.
_HANDLES = {
    "hf://USER/NAME": r"hf://[^/]+/[^/]+",
    "kaggle://USER/MODEL/keras/VARIANT": r"kaggle://[^/]+(/[^/]+){3,4}",
    "modelscope://USER/NAME": r"modelscope://[^/]+/[^/]+",
    "gs://BUCKET/FOLDER": r"gs://[^/]+/.+",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and offer what was meant."""

    def __init__(self, **options):
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            **options,
        )

    @property
    def options(self):
        """All `--names`."""
        return [o for o in self._option_string_actions if o.startswith("--")]

    def parse(self, argv):
        """The options that were said, as a dict, or an exit with code 2."""
        given, unknown = self.parse_known_args(argv)
        if unknown:
            wrong = unknown[0].partition("=")[0]
            if not wrong.startswith("-"):
                self.error(
                    f"unexpected argument {wrong!r}; --help shows the usage"
                )
            self.error(
                f"there is no option {wrong}. "
                + (nearest(wrong, self.options) or "--help lists all of them.")
            )
        return vars(given)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def dashed(name):
    """An option's name as a command line says it, as `--batch-size`."""
    return "--" + name.replace("_", "-")


def spelled(name, value):
    """An option as a command line says it, as `--crop 160 160`."""
    if isinstance(value, bool):
        return dashed(name if value else f"no_{name}")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return " ".join([dashed(name), *map(str, values)])


def nearest(name, known):
    """A question that offers what is near to a name; empty where nothing is."""
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


# === What an option takes ===


def _refuse(rule, text):
    raise argparse.ArgumentTypeError(f"must be {rule}. Received: {text!r}")


def integer(minimum, maximum=None):
    """An integer within bounds."""
    rule = f"an integer of at least {minimum}"
    if maximum is not None:
        rule = f"an integer in {minimum}..{maximum}"

    def take(text):
        try:
            value = int(text)
        except ValueError:
            _refuse(rule, text)
        if value < minimum or (maximum is not None and value > maximum):
            _refuse(rule, text)
        return value

    return take


def number(minimum=None, maximum=None, above=None, below=None):
    """A finite number within bounds."""
    rule = "a number"
    if minimum is not None and maximum is not None:
        rule += f" in {minimum}..{maximum}"
    else:
        rule += "" if minimum is None else f" of at least {minimum}"
    rule += "" if above is None else f" above {above}"
    rule += " and" if above is not None and below is not None else ""
    rule += "" if below is None else f" below {below}"
    rule += f" of at most {maximum}" * (minimum is None and maximum is not None)

    def take(text):
        try:
            value = float(text)
        except ValueError:
            _refuse(rule, text)
        # NaN is none of these.
        fits = value - value == 0
        fits = fits and (minimum is None or value >= minimum)
        fits = fits and (maximum is None or value <= maximum)
        fits = fits and (above is None or value > above)
        if not (fits and (below is None or value < below)):
            _refuse(rule, text)
        return value

    return take


def one_of(known, what):
    """One of some names; the error offers those that are near."""

    def take(text):
        if text not in known:
            offer = nearest(text, known)
            rest = offer or (
                f"It is one of {', '.join(known)}."
                if len(known) < 8
                else "--list prints them."
            )
            raise argparse.ArgumentTypeError(
                f"there is no {what} {text!r}. {rest}"
            )
        return text

    return take


def sum_of(known, what):
    """Some names joined by `+`, each with a factor before `*` if need be."""
    one = one_of(known, what)

    def take(text):
        for term in text.split("+"):
            factor, _, name = term.strip().rpartition("*")
            one(name)
            if factor:
                number(0)(factor)
        return text

    return take


def scale(text):
    """A factor, or `"paper"`."""
    if text == "paper":
        return text
    try:
        return number(above=0)(text)
    except argparse.ArgumentTypeError:
        _refuse("a number above 0, or paper", text)


def shard(text):
    """`N/M`, the Nth of M workers, as `(N - 1, M)`."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        _refuse("N/M, the Nth of M workers, as 1/4", text)
    return int(match[1]) - 1, int(match[2])


def fold(text):
    """`K/N`, the Kth of N folds, as it is said."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) >= 2:
        _refuse("K/N, the Kth of N folds, as 1/5", text)
    return text


def label_pair(text):
    """`VALUE=LABEL`, as `(value, label)`."""
    match = re.fullmatch(r"(\d+)[=:](\d+)", text)
    if not match or max(map(int, match.groups())) > 255:
        _refuse("VALUE=LABEL, both in 0..255, as 255=1", text)
    return int(match[1]), int(match[2])


def color(text):
    """`R,G,B`, as `(red, green, blue)`, or `"none"`."""
    if text == "none":
        return text
    parts = text.split(",")
    if len(parts) != 3 or not all(
        part.isdecimal() and int(part) <= 255 for part in parts
    ):
        _refuse("R,G,B, each in 0..255, as 128,64,128, or none", text)
    return tuple(map(int, parts))


def text(value):
    """Anything but nothing."""
    if not value.strip():
        _refuse("a text", value)
    return value


def folder(path):
    """A folder that is there."""
    if not path or not os.path.exists(path):
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, which does not exist"
            + _beside(path)
        )
    if not os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, a file"
        )
    return path


def file(path):
    """A file that is there."""
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "which does not exist"
        raise argparse.ArgumentTypeError(
            f"must be a file. Received: {path!r}, {kind}"
            + ("" if kind == "a folder" else _beside(path))
        )
    return path


def file_or_folder(path):
    """What is there."""
    if not path or not os.path.exists(path):
        raise argparse.ArgumentTypeError(
            f"must be files or folders. Received: {path!r}, which does not "
            "exist" + _beside(path)
        )
    return path


def new_folder(path):
    """A folder that can be made, or is there."""
    if not path.strip():
        _refuse("a folder", path)
    for part in (pathlib.Path(path), *pathlib.Path(path).absolute().parents):
        try:
            if not part.exists():
                continue
            if part.is_dir():
                # Only trying tells: /proc and the like refuse root, too.
                with tempfile.TemporaryDirectory(dir=part):
                    return path
        except OSError as error:
            raise argparse.ArgumentTypeError(
                f"must be a folder to write to. Received: {path!r}, but "
                f"nothing can be written into {part} ({error.strerror})"
            ) from error
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, but {part} is a file"
        )
    return path


def new_file(path):
    """A file that can be written."""
    if not path.strip():
        _refuse("a file to write", path)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"must be a file to write. Received: {path!r}, a folder"
        )
    new_folder(os.path.dirname(path) or ".")
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be a file to write. Received: {path!r} ({error.strerror})"
        ) from error
    return path


def preset(source):
    """What `from_preset` takes, as far as that shows from outside."""
    if source in names.PRESETS:
        return source
    if "://" in source:
        if not any(re.fullmatch(form, source) for form in _HANDLES.values()):
            raise argparse.ArgumentTypeError(
                f"must be a handle as {' or '.join(_HANDLES)}. Received: "
                f"{source!r}"
            )
        return source
    if os.path.isfile(source):
        if not source.lower().endswith(names.WEIGHT_SUFFIXES):
            raise argparse.ArgumentTypeError(
                "must be a preset folder, a built-in name or a file of "
                f"weights ({', '.join(names.WEIGHT_SUFFIXES)}). Received: "
                f"{source!r}"
            )
        return source
    if os.path.isdir(source):
        if not os.path.isfile(os.path.join(source, "config.json")):
            inner = os.path.join(source, "preset")
            meant = f"; did you mean {inner}?" * os.path.isdir(inner)
            raise argparse.ArgumentTypeError(
                f"must be a preset folder. Received: {source!r}, which holds "
                f"no config.json{meant}"
            )
        return source
    if _KERAS_HUB.fullmatch(source):
        return source
    near = nearest(source, names.PRESETS)
    raise argparse.ArgumentTypeError(
        "must be a preset folder, a file of weights, a handle such as "
        f"hf://user/model, or a built-in name. Received: {source!r}, which is "
        "none of these" + (f". {near}" if near else _beside(source))
    )


def segmenter(source):
    """What `preset` takes and has a decoder, as far as that shows."""
    source = preset(source)
    if is_encoder(source):
        raise argparse.ArgumentTypeError(
            f"must be a segmenter. Received: {source!r}, an encoder without a "
            "decoder; keras-setr train --data DIR --preset "
            f"{source} --out OUT trains one on it"
        )
    return source


def is_encoder(source):
    """Whether a preset certainly has no decoder."""
    if not os.path.isdir(source):
        starts = (*names.ENCODERS, "resnet")
        return source in names.PRESETS and source.startswith(starts)
    config = _json_of(source, "config.json")
    is_ours = str(config.get("registered_name")).startswith("keras_setr>")
    return is_ours and not os.path.isfile(os.path.join(source, "task.json"))


def preset_or_none(source):
    """What `preset` takes, or "none" for random weights."""
    return source if source == "none" else preset(source)


def crop_problem(crop, patch_size, option="--crop"):
    """What is wrong with `--crop`; None where nothing is, or nothing is said.

    Args:
        crop: pair of int or None.
        patch_size: int or None.
        option: str. `"--crop"`, or another that takes whole patches.
    """
    if not crop or not patch_size:
        return None
    fit = [max(round(side / patch_size), 1) * patch_size for side in crop]
    if list(crop) == fit:
        return None
    patches = "--patch-size" if option == "--crop" else "the patch size"
    return (
        f"{option} must be multiples of {patches} {patch_size}. Received: "
        f"{crop[0]} {crop[1]}; {fit[0]} {fit[1]} would do"
    )


def kind_of_preset(source):
    """ "encoder", or "model" where it is another or only its file tells."""
    if os.path.isdir(source):
        return "model" if num_classes_of(source) else "encoder"
    if source in names.PRESETS:
        return "encoder" if source.startswith(names.ENCODERS) else "model"
    return "encoder" if _KERAS_HUB.fullmatch(source) else "model"


def is_exported(source):
    """Whether a path is that of an exported model, by its name."""
    if source is None:
        return False
    return source.lower().endswith(names.EXPORT_SUFFIXES) or os.path.isfile(
        os.path.join(source, "saved_model.pb")
    )


def model(source):
    """A preset, or an exported file."""
    if is_exported(source):
        return source if os.path.isdir(source) else file(source)
    return segmenter(source)


def num_classes_of(source):
    """The number of classes of a preset folder; `None` where it tells none."""
    config = _json_of(source, "task.json").get("config")
    return config.get("num_classes") if isinstance(config, dict) else None


def patch_size_of(source):
    """The side of the patches of a preset folder; `None` where it tells none.

    Args:
        source: str. A folder of ours or of Hugging Face.
    """
    config = _json_of(source, "config.json")
    # Ours nests it, Hugging Face's does not.
    config = config.get("config", config)
    found = config.get("patch_size") if isinstance(config, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def decoder_of(source):
    """The one of `names.MODELS` that a preset is; `None` where it tells none.

    Args:
        source: str. A folder, or a built-in name.
    """
    if source in names.PRESETS:
        name = source.removeprefix("setr_")
        return next((m for m in names.MODELS if name.startswith(m)), None)
    class_name = _json_of(source, "task.json").get("class_name")
    return next((m for m, c in names.MODELS.items() if c == class_name), None)


def _json_of(source, name):
    """The dict in a file of a preset folder; empty where there is none."""
    try:
        path = pathlib.Path(source) / name
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _beside(path):
    """What lies where a path should be, if that is not far."""
    parent, name = os.path.split(path.rstrip("/\\"))
    if not os.path.isdir(parent or "."):
        return ""
    near = nearest(name, os.listdir(parent or "."))
    return f". {near}" if near else ""


# === Groups of options ===


def add_model(parser):
    """The segmenter that is run."""
    parser.add_argument(
        "preset",
        type=model,
        help="preset folder, as keras-setr train writes it, a name, or a "
        "file of keras-setr export",
    )


def add_common(parser):
    """`--backend` and `--debug`."""
    add = parser.add_argument
    add(
        "--backend",
        type=one_of(BACKENDS, "backend"),
        metavar="NAME",
        help="tensorflow, jax or torch; defaults to Keras' own",
    )
    add("--debug", action="store_true", help="show where an error comes from")


def add_labels(parser, remembered):
    """How masks are found and read."""
    title = "how the masks are read"
    group = parser.add_argument_group(
        f"{title}, by default as the preset remembers" if remembered else title
    )
    add = group.add_argument
    add(
        "--images",
        type=text,
        metavar="TEMPLATE",
        help="where the images are, such as 'left/{split}/{name}.png', or a "
        "folder; relative to the data",
    )
    add("--masks", type=text, metavar="TEMPLATE", help="and their masks")
    add(
        "--ignore",
        type=integer(0, 255),
        nargs="+",
        metavar="VALUE",
        help="mask values that mean unlabelled, besides 255",
    )
    add(
        "--label-map",
        type=label_pair,
        nargs="+",
        metavar="VALUE=LABEL",
        help="mask values and the classes that they are: 0=0 255=1 for black "
        "and white",
    )
    add(
        "--reduce-zero-label",
        action="store_true",
        help="0 means unlabelled and classes count from 1, as in ADE20K",
    )
    add(
        "--colors",
        type=color,
        nargs="+",
        metavar="R,G,B",
        help="those of RGB masks: the first is value 0, the next 1, ..; "
        "'none' where the masks hold values, whatever a preset remembers",
    )
    add(
        "--leave-out",
        type=one_of(("problems",), "kind of pair"),
        metavar="problems",
        help="pairs with a problem are left out, and said",
    )
    return group


def add_views(parser, window=True):
    """How images are looked at."""
    add = parser.add_argument_group("sliding windows").add_argument
    if window:
        for name in ("--window", "--stride"):
            add(name, type=integer(1), nargs=2, metavar=("H", "W"))
    add(
        "--scales",
        nargs="+",
        type=scale,
        metavar="FACTOR",
        help="of the images; 'paper' for six with flip",
    )
    add("--flip", action=argparse.BooleanOptionalAction, help="mirrored, too")
    add(
        "--protocol",
        type=one_of(("authors", "mmsegmentation"), "protocol"),
        metavar="NAME",
        help="authors or mmsegmentation: what the scales multiply",
    )
    add(
        "--batch-size",
        type=integer(1),
        metavar="N",
        help="windows in one forward pass",
    )


def check_labels(parser, given):
    """Rules that join several options about masks."""
    if ("images" in given) != ("masks" in given):
        parser.error("--images and --masks must be given together")
    if "label_map" in given and "reduce_zero_label" in given:
        parser.error(
            "--reduce-zero-label and --label-map must not both be given; let "
            "the map say 0=255"
        )
    colors = given.get("colors", [])
    if "none" in colors and colors != ["none"]:
        parser.error("--colors takes 'none' alone, or colours")
    values = [value for value, _ in given.get("label_map", ())]
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        parser.error(f"--label-map must name a value once. Twice: {twice[0]}")
    mapped = dict(given.get("label_map", ()))
    for value in given.get("ignore", ()):
        if value != 255 and mapped.get(value, 255) != 255:
            parser.error(
                f"--ignore and --label-map contradict each other: {value} is "
                f"ignored, and label {mapped[value]}"
            )


def check_pairs(parser, given, least=1):
    """End the command where --data does not hold pairs, or not --subset.

    What finds them needs no Keras, so that nobody waits for it.

    Args:
        parser: `Parser`.
        given: dict of the options that were said.
        least: int. How many pairs it takes beside those of a subset test.
    """
    from keras_setr.data.folder import layouts

    place = given["data"]
    try:
        pairs = layouts.look_up(place, given.get("images"), given.get("masks"))
        if "subset" in given:
            layouts.subset_of(pairs, given["subset"], place)
        count = sum(pair.subset != "test" for pair in pairs)
        if count < least:
            parser.error(
                f"--data must hold at least {least} pairs, one of them to "
                f"validate with. Received: {place}, which holds {count}"
            )
    except (OSError, ValueError) as error:
        parser.error(in_options(str(error), parser.options))


def check_out(parser, given):
    """End the command where --out would lie in the preset."""
    out, preset = given.get("out"), given["preset"]
    if out is None or not os.path.isdir(preset):
        return
    preset = pathlib.Path(preset).resolve()
    out = pathlib.Path(out).resolve()
    if preset in (out, *out.parents):
        parser.error(
            f"--out must lie outside of the preset. Received: {given['out']}"
        )


def check_views(parser, given):
    """Rules that join several options about windows."""
    scales = given.get("scales", [])
    if "paper" in scales and scales != ["paper"]:
        parser.error("--scales takes 'paper' alone, or numbers")
    window, stride = given.get("window"), given.get("stride")
    if window and stride and any(s > w for s, w in zip(stride, window)):
        parser.error(
            "--stride must be at most --window, or pixels would be left out. "
            f"Received: {stride} and {window}"
        )
    patch_size = patch_size_of(given["preset"])
    if problem := crop_problem(window, patch_size, "--window"):
        parser.error(problem)


def views(args):
    """The arguments of `segment` and `evaluate` that options gave."""
    found = {
        "window_size": getattr(args, "window", None),
        "stride": getattr(args, "stride", None),
        "scales": args.scales,
        "flip": args.flip,
        "protocol": args.protocol,
        "batch_size": args.batch_size,
    }
    if found["scales"] == ["paper"]:
        found["scales"] = "paper"
    return {name: value for name, value in found.items() if value is not None}


VIEW_DEFAULTS = dict.fromkeys(
    ("scales", "flip", "protocol", "batch_size", "window", "stride")
)
LABEL_DEFAULTS = {
    "images": None,
    "masks": None,
    "ignore": (255,),
    "label_map": None,
    "reduce_zero_label": False,
    "colors": None,
    "leave_out": None,
}


def folder_options(args):
    """The arguments of `SegmentationFolder` that options gave."""
    colors = None if args.colors == ["none"] else args.colors
    return {
        "images": args.images,
        "masks": args.masks,
        "ignore_values": list(args.ignore),
        "label_map": args.label_map and dict(args.label_map),
        "reduce_zero_label": args.reduce_zero_label,
        "colors": colors and [tuple(color) for color in colors],
        "leave_out": args.leave_out,
    }


def check_folder(folder, report, listed=True):
    """End the command where a folder has problems.

    Args:
        folder: `SegmentationFolder`.
        report: its `FolderReport`.
        listed: bool. Whether the report was printed.

    Raises:
        CommandError: names the first problem.
    """
    problems = report.problems
    if not problems:
        return
    from keras_setr.tables import counted

    way_out = ""
    try:
        folder.check()
    except ValueError as error:
        if "leave_out=" in str(error):
            way_out = (
                ". --leave-out problems leaves out the pairs that have one"
            )
    raise CommandError(
        f"{folder.directory} has {counted(len(problems), 'problem')}"
        f"{', as listed above' if listed else ''}; the first: "
        f"{problems[0].removesuffix('.')}{way_out}"
    )


# === The backend ===


def choose_backend(parser, given):
    """Set Keras' backend before anything imports it.

    Without `--backend`, `KERAS_BACKEND` or a configuration of Keras it is the
    first of the three that is installed.

    Returns:
        str.
    """
    asked, place = given.get("backend"), "--backend"
    if not asked:
        asked, place = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not asked:
        asked, place = _configured()
    if not asked:
        asked = next((b for b in BACKENDS if _is_there(b)), None)
        if asked is None:
            parser.error(f"none of {', '.join(BACKENDS)} is installed")
    elif asked not in BACKENDS:
        parser.error(
            f"{place} must be one of {', '.join(BACKENDS)}. Received: "
            f"{asked!r}. --backend {next(filter(_is_there, BACKENDS), 'jax')} "
            "would do"
        )
    elif not _is_there(asked):
        parser.error(
            f"{place} {asked}: {asked} is not installed: "
            f"pip install keras-setr[{asked}]"
        )
    os.environ["KERAS_BACKEND"] = asked
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    return asked


def _is_there(package):
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def _configured():
    """The backend that Keras' own file names, or `None`, and where it does."""
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    path = os.path.join(home, "keras.json")
    try:
        with open(path) as content:
            return json.load(content).get("backend"), f"backend in {path}"
    except (AttributeError, OSError, ValueError):
        return None, path


def require(package, extra, what):
    """End the command where a package is not installed.

    To find one does not import it.

    Args:
        package: str. Name of its module.
        extra: str. The extra of this package that installs it.
        what: str. Who needs it, for the error.

    Raises:
        CommandError: says how to install it.
    """
    if not _is_there(package):
        raise CommandError(
            f"{what} needs {package}, which is not installed: pip install "
            f"keras-setr[{extra}]"
        )
