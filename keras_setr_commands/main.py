"""`keras-setr COMMAND ..`: finds the command and ends it well."""

import _thread
import argparse
import contextlib
import importlib
import os
import shlex
import sys
import threading
import warnings

from keras_setr.version import __version__
from keras_setr_commands import backends
from keras_setr_commands import options
from keras_setr_commands import parsing
from keras_setr_commands import presets
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options
from keras_setr_commands.messages import load_package
from keras_setr_commands.messages import one_line

COMMANDS = {
    "train": "train on a folder of images and masks, or a published recipe",
    "evaluate": "score a preset on labelled images",
    "segment": "segment images and folders",
    "app": "serve a page to try a preset on, or write it as a Space",
    "submit": "write the files for a test server",
    "models": "compare the published models",
    "convert": "make a preset of weights from anywhere",
    "export": "write a preset as ONNX, SavedModel, LiteRT, OpenVINO or .pt2",
}
# As shells count: 128 and the number of the signal.
_ERROR, _INTERRUPTED, _NOBODY_READS = 2, 130, 141


def main(argv=None, name="keras-setr"):
    """Run a command.

    Args:
        argv: list of str. Defaults to the process's own.
        name: str. How the user calls it, for messages.

    Returns:
        int: 0, or what a command says; 2 after an error, 130 after Ctrl-C,
        141 where nobody reads what is printed any more.
    """
    prepare_streams()
    argv = sys.argv[1:] if argv is None else [str(part) for part in argv]
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(name))
        return 0 if argv else _ERROR
    if argv[0] == "--version":
        print(f"keras-setr {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print(
            f"{name}: error: there is no command {argv[0]!r}. "
            + (
                parsing.nearest(argv[0], COMMANDS)
                or f"It has {', '.join(COMMANDS)}."
            ),
            file=sys.stderr,
        )
        return _ERROR
    return run(argv[0], argv[1:], f"{name} {argv[0]}")


def run(command, argv=None, name=None):
    """Run one command; `main` and the scripts in examples/ come here.

    Args:
        command: str. A key of `COMMANDS`.
        argv: list of str. Defaults to the process's own.
        name: str. How the user calls it. Defaults to the script.
    """
    prepare_streams()
    argv = sys.argv[1:] if argv is None else [str(part) for part in argv]
    name = name or f"python {sys.argv[0]}"
    module = importlib.import_module(f"keras_setr_commands.{command}")
    try:
        parser, given = parse(module, argv, name)
    except SystemExit as stop:
        return stop.code
    debug = "--debug" in argv

    def work():
        if not presets.is_exported(given.get("preset")):
            load_package(debug)
        return module.run(
            argparse.Namespace(**{**module.DEFAULTS, **given}), given
        )

    return running(
        work,
        name,
        parser.options,
        after_interrupt=f"{module.AFTER_INTERRUPT}: "
        + shlex.join([*name.split(), *argv]),
        debug=debug,
    )


def prepare_streams():
    """Let what is printed end no command: after hours of work, say.

    Letters that the terminal has not are written as `\\xdf`, and what was
    closed takes everything.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def parser_of(module, name):
    """The `parsing.Parser` of a command.

    Args:
        module, name: as for `parse`.
    """
    parser = parsing.Parser(prog=name, description=module.__doc__)
    module.add_options(parser)
    options.add_common(parser)
    return parser


def parse(module, argv, name):
    """The parser of a command and what was said, checked.

    Args:
        module: one of the commands.
        argv: list of str.
        name: str. How the user calls it.

    Returns:
        `(parser, given)`, a dict of the options that were said.

    Raises:
        SystemExit: after a line on stderr, with code 2, or after the help.
    """
    parser = parser_of(module, name)
    given = parser.parse(argv)
    debug = given.pop("debug", False)
    try:
        module.check(parser, given)
    except Exception as error:
        if debug:
            raise
        parser.error(in_options(one_line(error), parser.options))
    if not presets.is_exported(given.get("preset")):
        backend = backends.choose_backend(parser, given)
        try:
            if hasattr(module, "check_backend"):
                module.check_backend({**module.DEFAULTS, **given}, backend)
        except (CommandError, ImportError, ValueError) as error:
            parser.error(in_options(str(error), parser.options))
    return parser, given


def running(work, name, known_options, after_interrupt, debug):
    """Call a function whose errors end in one line.

    Args:
        work: callable without arguments.
        name: str. What the line begins with.
        known_options: the `--names` that messages may speak of.
        after_interrupt: str. What is said after Ctrl-C.
        debug: bool. Let errors through, with their tracebacks.

    Returns:
        int: the exit code.
    """
    shown = set()

    def show(message, *rest, **options):
        line = in_options(" ".join(str(message).split()), known_options)
        if line not in shown:
            shown.add(line)
            print(f"{name}: warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        if not debug:
            warnings.showwarning = show
        try:
            with _interrupts_kept():
                code = work() or 0
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print(f"\n{name}: interrupted. {after_interrupt}", file=sys.stderr)
            return _INTERRUPTED
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return _NOBODY_READS
            if debug:
                raise
            text = in_options(one_line(error), known_options)
            print(f"{name}: error: {text}", file=sys.stderr)
            return _ERROR


@contextlib.contextmanager
def _interrupts_kept():
    """Let Ctrl-C come again where Python drops it.

    It drops what is raised in destructors and in callbacks of the garbage
    collector, such as JAX's, which run often while packages are imported.
    """
    former = sys.unraisablehook

    def hook(dropped):
        if dropped.exc_type is not KeyboardInterrupt:
            return former(dropped)
        # From another thread and later, or it would be raised in here.
        again = threading.Timer(0.1, _thread.interrupt_main)
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = former


def _nobody_reads():
    """Whether what stdout leads to has ended, as `head`; it is given up."""
    try:
        print(flush=True)
    except BrokenPipeError:
        # Python flushes it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _overview(name):
    width = max(map(len, COMMANDS))
    lines = [f"  {key:{width}}  {text}" for key, text in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {name} COMMAND [options]",
            "",
            *lines,
            "",
            f"{name} COMMAND --help lists the options of a command.",
        ]
    )
