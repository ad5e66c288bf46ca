"""Messages of the library, in the words of the command line."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import pytest

from keras_setr import tensorflow_logs
from keras_setr_commands import main
from keras_setr_commands import messages
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options
from keras_setr_commands.messages import one_line

pytestmark = pytest.mark.no_backend

PACKAGE = pathlib.Path(main.__file__).parent
OPTIONS = (
    "--accumulate",
    "--crop",
    "--ignore",
    "--label-map",
    "--num-classes",
    "--precision",
    "--rematerialize",
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("pass label_map={0: 0, 255: 1}", "pass --label-map 0=0 255=1"),
        ("pass num_classes= or more", "pass --num-classes or more"),
        ("num_classes=21 allows 0..20", "--num-classes 21 allows 0..20"),
        ("in label_map or to ignore_values", "in --label-map or to --ignore"),
        ("image_shape=(384, 640, 3), at", "--crop 384 640, at"),
        ("SETRBackbone(rematerialize=True), about", "--rematerialize, about"),
        (
            "4 with compile(gradient_accumulation_steps=2); or",
            "4 with --accumulate 2; or",
        ),
        ('dtype="mixed_bfloat16", three', "--precision mixed_bfloat16, three"),
        ("crop_size must be", "--crop must be"),
        ("label_map={0: 0, 9: 1, ..} if", "--label-map 0=0 9=1 .. if"),
        # No options of the command, and no arguments.
        ("class_names= or masks= of it", "class_names= or masks= of it"),
        ("my_label_map.png has images/a", "my_label_map.png has images/a"),
    ],
)
def test_arguments_are_named_as_options(text, expected):
    assert in_options(text, OPTIONS) == expected


@pytest.mark.parametrize(
    "error, words",
    [
        (ValueError("a\n  b"), "a b"),
        (FileNotFoundError(2, "No such file", "a.png"), "a.png"),
        (AttributeError("x has no y"), "AttributeError: x has no y --debug"),
        (AssertionError(), "AssertionError: no message --debug"),
        (MemoryError(), "memory --batch-size --crop --rematerialize"),
        (RuntimeError("CUDA out of memory."), "memory --batch-size CUDA"),
        (RuntimeError("RESOURCE_EXHAUSTED: 2 GB"), "--rematerialize 2 GB"),
        (MemoryError("needs about 3 GB"), "needs about 3 GB"),
    ],
)
def test_an_error_is_one_line(error, words):
    text = one_line(error)
    assert "\n" not in text
    for word in words.split():
        assert word in text


def end(work, capsys, debug=False):
    """Exit code and lines on stderr of a command that does `work`."""
    code = main.running(work, "keras-setr x", OPTIONS, "It: goes on", debug)
    return code, capsys.readouterr().err.strip().splitlines()


def test_a_command_ends_in_a_line(capsys):
    def fail():
        raise CommandError("pass label_map={1: 0}")

    line = "keras-setr x: error: pass --label-map 1=0"
    assert end(fail, capsys) == (2, [line])
    with pytest.raises(CommandError):
        end(fail, capsys, debug=True)
    assert end(lambda: None, capsys) == (0, [])
    assert end(lambda: 1, capsys) == (1, [])


def test_ctrl_c_says_how_to_go_on(capsys):
    def interrupt():
        raise KeyboardInterrupt

    line = "keras-setr x: interrupted. It: goes on"
    assert end(interrupt, capsys) == (130, [line])


def test_ctrl_c_in_a_destructor_is_not_lost(capsys):
    class Held:
        def __del__(self):
            raise KeyboardInterrupt

    waited = []

    def work():
        Held()
        for _ in range(100):
            time.sleep(0.05)
            waited.append(None)

    hook = sys.unraisablehook
    # What runs in the background of a shell ignores it.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert end(work, capsys)[0] == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(waited) < 100
    assert sys.unraisablehook is hook


# What a terminal does to a command that prints, after all of its work.
PRINTING = """
import sys
from keras_setr_commands import main
main.prepare_streams()
sys.exit(main.running(lambda: print("Straße 天空" * 9000), "x", [], "", False))
"""


@pytest.mark.parametrize(
    "shell, printed, code",
    [
        ("PYTHONIOENCODING=ascii {}", "Stra\\xdfe \\u5929", 0),
        ("PYTHONIOENCODING=latin-1 {}", "Straße \\u5929", 0),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {}", "Stra\\xdfe", 0),
        ("{} >&-", "", 0),
        ("{} > /dev/full", "", 2),
        ("{} | head -c 6", "", 141),
    ],
)
def test_what_is_printed_ends_no_command(shell, printed, code, tmp_path):
    command = f"{sys.executable} {tmp_path / 'printing.py'}"
    (tmp_path / "printing.py").write_text(PRINTING, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f"{shell.format(command)}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == code
    encoding = "latin-1" if "latin" in shell else "utf-8"
    assert done.stdout.decode(encoding).startswith(printed)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == (code == 2)


def test_a_warning_is_a_line_and_said_once(capsys):
    def warn():
        for _ in range(2):
            warnings.warn("pass num_classes=3\nor not")
            warnings.warn("and another", DeprecationWarning)

    code, lines = end(warn, capsys)
    assert code == 0
    assert lines[0] == "keras-setr x: warning: pass --num-classes 3 or not"
    assert sum("num-classes" in line for line in lines) == 1


def test_an_encoder_alone_is_converted_by_its_option():
    text = (
        "vit.npz holds an encoder without a decoder. Choose one: "
        "SETRPUP.from_preset, or SETRBackbone.from_preset for the encoder "
        "itself."
    )
    assert messages.in_options(text, ["--encoder"]) == (
        "vit.npz holds an encoder without a decoder. --encoder makes a preset "
        "of it, for any decoder to start from."
    )
    assert messages.in_options(text, ["--data"]) == text


def test_what_tensorflow_logs_on_import_is_left_out(capfd):
    with pytest.raises(KeyError), tensorflow_logs.left_out():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog()")
        os.write(2, b" is called\nI0000 00:00:17.3 42 port.cc] oneDNN\n")
        os.write(2, b"I know\n")
        raise KeyError
    os.write(2, b"I0000 00:00:17.3 42 later\n")
    assert capfd.readouterr().err == "I know\nI0000 00:00:17.3 42 later\n"


@pytest.mark.parametrize(
    "backend, level, has_jax, printed",
    [
        ("torch", None, False, False),
        ("jax", None, True, False),
        ("jax", "0", True, True),
        ("torch", "3", False, True),
        ("torch", "1", False, True),
        # JAX has set that itself.
        ("torch", "1", True, False),
        ("tensorflow", None, False, True),
    ],
)
def test_who_asks_for_its_logs_gets_them(
    backend, level, has_jax, printed, monkeypatch, capfd
):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    if has_jax:
        monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delenv(tensorflow_logs.LEVEL, raising=False)
    if level:
        monkeypatch.setenv(tensorflow_logs.LEVEL, level)
    with tensorflow_logs.left_out_beside(backend):
        os.write(2, b"I0000 00:00:17.3 42 port.cc] oneDNN\n")
    assert bool(capfd.readouterr().err) == printed


def test_commands_import_no_other_package_before_they_run():
    # But for runs.py, which trains.
    modules = [
        f"keras_setr_commands.{path.stem}"
        for path in PACKAGE.glob("[!_]*.py")
        if path.stem != "runs"
    ]
    code = (
        "import importlib, sys; before = set(sys.modules);"
        f"[importlib.import_module(m) for m in {modules}];"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.stdout.split() == ["keras_setr", "keras_setr_commands"]
