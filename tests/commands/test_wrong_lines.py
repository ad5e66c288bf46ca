"""Wrong command lines end in one line that says what would do."""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import re
import shutil

import pytest

from keras_setr.classes import Classes
from keras_setr.classes import MaskValues
from keras_setr_commands import backends
from keras_setr_commands import evaluate
from keras_setr_commands import main
from keras_setr_commands import train
from keras_setr_commands.settings import Settings

pytestmark = pytest.mark.no_backend

RECIPE = "setr_pup_large_ade20k_512_160k"
# Command line -> words of its message. DIR has data/, preset/, run/preset/,
# empty/, weights.pth and text.txt.
LINES = {
    # === train ===
    "train": "give either --data or --recipe",
    "train --out o": "give either --data or --recipe",
    f"train --data data --recipe {RECIPE} --out o": "give either",
    "train --data data": "--out says where",
    "train --data nowhere --out o": "--data: must be a folder nowhere not",
    "train --data dat --out o": "Did you mean data?",
    "train --data data --out data": "--out must another folder Received: data;",
    "train --data data --out data/images": "Received: data/images runs/a",
    "train --data text.txt --out o": "--data: must be a folder a file",
    "train --data one --out o": "--data must 2 pairs Received: one, holds 1",
    "train --data empty --out o": "--data must hold images nothing --images",
    "train --data data/images --out o": "--data must Did you mean /data?",
    "train --data data --out o --images images --masks no": "--masks 'no'",
    "train --data data --out /proc/o": "--out: '/proc/o' into /proc (",
    "evaluate preset --data empty": "--data must hold images nothing",
    "evaluate preset --data data --subset val": "--subset 'val' no subsets",
    "segment preset data/images --out /proc/o": "--out: into /proc (",
    "train --data data --out text.txt": "--out: must be a folder is a file",
    f"train --data data --out {'o' * 300}": "--out: (File name too long)",
    f"export preset {'o' * 300}.onnx": "must be a file (File name too long)",
    "train --data data --out text.txt/a": "--out: must be a folder a file",
    "train --data data --out o --epochs 0": "--epochs: must be 1 '0'",
    "train --data data --out o --epochs many": "--epochs: must be 'many'",
    "train --data data --out o --epochs 1.5": "--epochs: an integer '1.5'",
    "train --data data --out o --epochs": "--epochs: expected one argument",
    "train --data data --out o --bach-size 4": "--bach-size mean --batch-size",
    "train --data data --out o --batch 4": "no option --batch --batch-size",
    "train --data data --out o --batch-size=-2": "--batch-size: must '-2'",
    "train --data data --out o extra": "unexpected argument 'extra'",
    "train --data data --out o --crop 64": "--crop: expected 2 arguments",
    "train --data data --out o --crop 0 64": "--crop: 1..16384 '0'",
    "train --data data --out o --crop 64 99999": "--crop: 16384 '99999'",
    "train --data data --out o --dim 99999": "--dim: 1..16384 '99999'",
    "train --data data --out o --layers 1001": "--layers: 1..1000 '1001'",
    "train --data data --out o --seed 4294967296": "--seed: 0..4294967295",
    "train --data data --out o --preset hf://": "--preset: hf://USER 'hf://'",
    "train --data data --out o --preset s3://a/b": "kaggle:// 's3://a/b'",
    "train --data data --out o --preset kaggle://a/b": "/keras/VARIANT",
    "train --data data --out o --crop 60 64 --preset none": (
        "--crop multiples 16 64 64"
    ),
    "train --data data --out o --crop 64 64 --patch-size 14": "14 70 70",
    "train --data data --out o --learning-rate nan": "--learning-rate: 'nan'",
    "train --data data --out o --learning-rate 0": "--learning-rate: above 0",
    "train --data data --out o --learning-rate inf": "number above 0 'inf'",
    "train --data data --out o --learning-rate 1,5": "--learning-rate: '1,5'",
    "train --data data --out o --ema 1": "--ema: above 0 below 1 '1'",
    "train --data data --out o --seed -1": "--seed",
    "train --data data --out o --precision float16": "mixed_float16?",
    "train --data data --out o --backend pytorch": "backend torch?",
    "train --data data --out o --backend mxnet": "tensorflow, jax, torch",
    "train --data data --out o --model pub": "no model 'pub' pup?",
    "train --data data --out o --optimizer adam": "optimizer adamw?",
    "train --data data --out o --loss ce+dise": "loss 'dise'",
    "train --data data --out o --loss x*dice": "'x'",
    "train --data data --out o --schedule cos": "no schedule 'cos' cosine?",
    "train --data data --out o --warmup -1": "--warmup",
    "train --data data --out o --head-multiplier 0": "above 0 '0'",
    "train --data data --out o --fraction 20": "--fraction: below 1 '20'",
    "train --data data --out o --fraction 0": "--fraction: above 0 '0'",
    "train --data data --out o --fold 5": "--fold: K/N 1/5 '5'",
    "train --data data --out o --fold 6/5": "--fold: K/N '6/5'",
    "train --data data --out o --fold 0/5": "--fold: K/N '0/5'",
    "train --data data --out o --fold 1/1": "--fold: K/N '1/1'",
    "train --data data --out o --fold 1/5 --fraction 0.2": "not both 5",
    "train --data data --out o --scale-range 2 0.5": "LOW at most HIGH 2 0.5",
    "train --data data --out o --scale-range 0 2": "--scale-range: above 0",
    "train --data data --out o --balanced-crops -1": "--balanced-crops",
    "train --data data --out o --cutmix 1.5": "--cutmix: 0..1 or 1.5",
    "train --data data --out o --dim 100 --heads 3": "--heads divide 3 100",
    "train --data data --out o --drop-path 1": "--drop-path: '1'",
    "train --data data --out o --layer-decay 2": "--layer-decay: at most 1",
    "train --data data --out o --frozen-layers 13 --preset none": (
        "--frozen-layers 12 13"
    ),
    "train --data data --out o --patch-size 0": "--patch-size: 1 '0'",
    "train --data data --out o --lora-rank 0": "--lora-rank: 1 '0'",
    "train --data data --out o --lora-rank 4 --preset none": (
        "--lora-rank --preset"
    ),
    "train --data data --out o --preset preset --lora-rank 4 "
    "--frozen-layers 1": "--lora-rank freezes --frozen-layers out",
    "train --data data --out o --crop 64 64 --patch-size 14 --preset preset": (
        "--crop multiples 14 70 70"
    ),
    "train --data data --out o --model fcn --heads 2": "--heads no --model fcn",
    "train --data data --out o --resnet 101": (
        "--resnet --model fcn semantic_fpn"
    ),
    "train --data data --out o --model fcn --resnet 18": "depth '18' 50, 101",
    "train --data data --out o --names nothing.txt": "--names: must be a file",
    "train --data data --out o --names data": "--names: a folder",
    "train --data data --out o --num-classes 1": "--num-classes: 2..255 '1'",
    "train --data data --out o --ignore 256": "--ignore: 0..255 '256'",
    "train --data data --out o --label-map 255": "VALUE=LABEL '255'",
    "train --data data --out o --label-map 300=1": "VALUE=LABEL '300=1'",
    "train --data data --out o --label-map 0=0 0=1": "a value once 0",
    "train --data data --out o --label-map 0=0 --reduce-zero-label": "not both",
    "train --data data --out o --label-map 7=1 --ignore 7": "contradict 7",
    "train --data data --out o --colors 1,2": "--colors: R,G,B '1,2'",
    "train --data data --out o --colors 1,2,256": "--colors: 0..255",
    "train --data data --out o --colors none 1,2,3": "--colors 'none' alone",
    "train --data data --out o --colors None": "--colors: none 'None'",
    "train --data data --out o --leave-out bad": "problems",
    "train --data data --out o --images a/{name}.png": "--masks together",
    "train --data data --out o --steps 5": "--steps goes with --recipe",
    "train --data data --out o --smoke": "--smoke goes with --recipe",
    "train --data data --out o --preset nowhere": "preset 'nowhere'",
    "train --data data --out o --preset run": "config.json run/preset?",
    "train --data data --out o --preset text.txt": "weights .pth 'text.txt'",
    "train --data data --out o --preset preset --layers 2": "--layers that of",
    "train --data data --out o --preset setr_pup_large_ade20k_51": "ade20k_512",
    "train --recipe setr_pub_large_ade20k_512_160k --smoke": RECIPE,
    "train --recipe nothing_like_it --smoke": "no recipe --list",
    f"train --recipe {RECIPE} --smoke --epochs 2": "--epochs goes with --data",
    f"train --recipe {RECIPE} --smoke --ignore 0": "--ignore goes with --data",
    f"train --recipe {RECIPE} --out o --steps 0": "--steps: '0'",
    f"train --recipe {RECIPE} --out o --manual-dir no": "--manual-dir: folder",
    f"train --recipe {RECIPE} --out o --image-scale 0": "--image-scale: above",
    # === evaluate ===
    "evaluate": "required: preset, --data",
    "evaluate preset": "required: --data",
    "evaluate nowhere --data data": "preset: 'nowhere' none of these",
    "evaluate empty --data data": "preset: 'empty' config.json",
    "evaluate preset --data data --scales big": "number above 0, or paper",
    "evaluate preset --data data --scales paper 1": "'paper' alone",
    "evaluate preset --data data --window 32": "--window: expected 2",
    "evaluate preset --data data --window 32 32 --stride 48 16": "--stride at",
    "evaluate preset --data data --protocol author": "protocol authors?",
    "evaluate preset --data data --published camvid": "dataset 'camvid'",
    "evaluate preset --data data --out empty": "--out: file to write a folder",
    "evaluate preset --data data --out=": "--out: a file to write ''",
    "evaluate preset --data data --out preset/config.json": "outside preset",
    "segment preset data/images --out preset": "--out outside preset",
    "evaluate preset --data data --base-scale 0 2": "--base-scale: '0'",
    # === segment ===
    "segment preset --out o": "required: PATH",
    "segment preset data": "required: --out",
    "segment preset photo.jpg --out o": "PATH: 'photo.jpg' not exist",
    "segment preset empty --out o": "empty holds no image .jpg",
    "segment preset data --out text.txt": "--out: is a file",
    "segment preset data --out o --alpha 2": "--alpha: 0..1 or 0 '2'",
    "segment preset data --out o --sort-by entrpy": "no order entropy?",
    "segment preset data --out o --confidance": "--confidence?",
    # === app ===
    "app": "required: preset",
    "app nowhere": "preset: 'nowhere' none of these",
    "app model.onnx": "'model.onnx' not exist",
    "app preset --port 0": "--port: 1..65535 '0'",
    "app preset --max-pixels 0": "--max-pixels: 1 '0'",
    "app preset --max-megabytes 0": "--max-megabytes: above 0 '0'",
    "app preset --space data": "--space new folder data, holds something",
    "app preset --space text.txt": "--space: text.txt is a file",
    "app preset --space o --port 80": "--port and --space not both",
    # === submit ===
    "submit preset --images data --out o": "required: --dataset",
    "submit preset --images data --out o --dataset citscapes": "cityscapes?",
    "submit three --images data --out o --dataset ade20k": "150 three 3",
    "submit preset --images no --out o --dataset ade20k": "--images: folder",
    "submit preset --images data --out o --dataset ade20k --window 3 3": (
        "no option --window"
    ),
    # === models ===
    "models ade20k": "unexpected argument 'ade20k'",
    "models --dataset ade": "no dataset 'ade'",
    # === export ===
    "export encoder o.onnx": "must be a segmenter 'encoder' --preset encoder",
    "export three o.onnx --image-size 100 96": "--image-size size 8. 96 96",
    "export preset o.onnx --int8 --calibration empty": "must hold images",
    "export preset": "required: OUT",
    "export nowhere o.onnx": "preset: 'nowhere' none of these",
    "export preset o.onnx --format onxx": "no format 'onxx' onnx?",
    "export preset o.xml --format onnx": "OUT: must end in .onnx 'o.xml'",
    "export preset o.xml --format tf_saved_model": "OUT: must be a folder",
    "export preset o.onnx --image-size 0 16": "--image-size: '0'",
    "export preset o.onnx --outputs label": "no output 'label' labels?",
    "export preset o.onnx --outputs confidence": "--outputs must have labels",
    "export preset o.onnx --outputs labels labels": "differ labels labels",
    "export preset o.onxx": "OUT: must end .onnx, .tflite SavedModel 'o.onxx'",
    "export preset model.h5": "is 'model.h5'",
    "export preset text.txt/o.onnx": "OUT: text.txt is a file",
    "export preset text.txt": "OUT: must end .onnx, folder 'text.txt'",
    "export preset o.onnx --int8": "--int8 and --calibration together",
    "export preset o.onnx --calibration data": "--int8 and --calibration",
    "export preset o.pt2 --int8 --calibration data": ".onnx or .xml 'o.pt2'",
    "export preset o.onnx --float-parts ends": "--float-parts goes with --int8",
    "export preset o.onnx --int8 --calibration nowhere": "--calibration: must",
    "export preset o.onnx --int8 --calibration data --float-parts head": (
        "no part 'head'"
    ),
    "segment encoder data/images --out o": "must be a segmenter 'encoder'",
    "segment data/images data --out o": "preset: must",
    "segment preset data --out o": "PATH: data masks, name data/images",
    "segment three data/images --out o --window 100 96": "size 8. 96 96 would",
    "evaluate encoder --data data": "must be a segmenter",
    "submit encoder --images data --out o --dataset ade20k": "a segmenter",
    "submit preset --images data --out o --dataset ade20k": "--images: ADE_",
    "segment model.onnx photo.jpg --out o": "'model.onnx' not exist",
    # === convert ===
    "convert weights.pth": "required: out",
    "convert weights.pth empty": "out: must not exist 'empty' another",
    "convert weight.pth o": "'weight.pth' Did you mean weights.pth?",
    "convert weights.pth o --num-heads 0": "--num-heads: 1 '0'",
    "convert weights.pth o --file no.pth": "--file: must be a file",
    "convert weights.pth o --upload s3://a/b": "--upload: hf:// 's3://a/b'",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with what the lines name."""
    monkeypatch.chdir(tmp_path)
    # Commands run on the three, and find which are installed.
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for path in (
        "data/images/1.png",
        "data/images/2.png",
        "data/masks/1.png",
        "data/masks/2.png",
        "one/images/1.png",
        "one/masks/1.png",
        "preset/config.json",
        "weights.pth",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    (tmp_path / "three").mkdir()
    config = json.dumps({"config": {"patch_size": 8}})
    (tmp_path / "three" / "config.json").write_text(config)
    (tmp_path / "encoder").mkdir()
    config = json.dumps({"registered_name": "keras_setr>SETRBackbone"})
    (tmp_path / "encoder" / "config.json").write_text(config)
    task = json.dumps({"config": {"num_classes": 3}})
    (tmp_path / "three" / "task.json").write_text(task)
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "preset").mkdir(parents=True)
    (tmp_path / "text.txt").write_text("")
    return tmp_path


def refuse(line, capsys):
    """The one line on stderr of a command line that is not run."""
    command, *argv = line.split()
    module = importlib.import_module(f"keras_setr_commands.{command}")
    with pytest.raises(SystemExit) as stop:
        main.parse(module, argv, f"keras-setr {command}")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"keras-setr {command}: error: ")
    return error


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_says_what_would_do(line, folder, capsys):
    error = refuse(line, capsys)
    for word in LINES[line].split():
        assert word in error
    assert sorted(os.listdir(folder)) == sorted(
        [
            *("data", "preset", "weights.pth", "empty", "run", "text.txt"),
            *("three", "encoder", "one"),
        ]
    )


@pytest.mark.parametrize(
    "line, missing, words",
    [
        ("export preset o.onnx --backend torch", "onnx", "onnx keras-setr["),
        ("export preset o.onnx --backend torch", "onnxscript", "onnxscript"),
        ("export preset o.onnx --backend jax", "jax2onnx", "export-jax"),
        ("export preset o.xml --backend torch", "openvino", "[openvino]"),
        ("export preset o.tflite --backend tensorflow", "ai_edge_litert", "["),
        ("app preset", "gradio", "gradio keras-setr[app]"),
        ("segment preset a.tif --out o.tif", "rasterio", "keras-setr[rasters]"),
        ("train --data data --out o --tensorboard", "tensorboard", "pip"),
        (f"train --recipe {RECIPE} --out o", "tensorflow_datasets", "[data]"),
    ],
)
def test_a_missing_package_is_told_before_keras_is_imported(
    line, missing, words, folder, capsys, monkeypatch
):
    (folder / "a.tif").write_text("")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find(name, *rest),
    )
    error = refuse(line, capsys)
    for word in (missing, *words.split()):
        assert word in error


def test_a_backend_that_does_not_write_a_format_is_told(folder, capsys):
    error = refuse("export preset o.tflite --backend torch", capsys)
    assert "not written on the torch backend" in error
    assert "--backend tensorflow" in error


@pytest.mark.parametrize("name", ["foo", "numpy", "openvino", 3, ["torch"]])
def test_another_backend_is_refused_before_anything_is_loaded(
    name, folder, capsys, monkeypatch
):
    (folder / "keras.json").write_text(json.dumps({"backend": name}))
    monkeypatch.setenv("KERAS_HOME", str(folder))
    for place in ("backend in keras.json", "KERAS_BACKEND"):
        if place == "KERAS_BACKEND":
            monkeypatch.setenv(place, str(name))
        else:
            monkeypatch.delenv("KERAS_BACKEND")
        error = refuse("evaluate preset --data data", capsys)
        for word in (*place.split(), "tensorflow, jax, torch", str(name)):
            assert word in error
        assert "--backend" in error


@pytest.mark.parametrize("said, colors", [("", ((9, 8, 7),)), ("none", None)])
def test_remembered_colors_can_be_taken_back(said, colors, folder):
    line = ["preset", "--data", "data", *(["--colors", said] * bool(said))]
    _, given = main.parse(evaluate, line, "keras-setr evaluate")
    args = argparse.Namespace(**{**evaluate.DEFAULTS, **given})
    classes = Classes(("a", "b"), masks=MaskValues(colors=((9, 8, 7),)))
    found = evaluate.label_options(args, given, classes)
    assert found["colors"] == colors


@pytest.fixture
def run(folder):
    """The folder of a run, o, with the options it was started with."""
    given = {
        "data": str(folder / "data"),
        "crop": (64, 96),
        "epochs": 20,
        "label_map": [(0, 0), (255, 1)],
        "rematerialize": False,
    }
    (folder / "o").mkdir()
    # Without the package, which would write it whole.
    (folder / "o" / "settings.json").write_text(json.dumps(given))
    return folder / "o"


@pytest.mark.parametrize(
    "line, words",
    [
        ("--crop 64 64", "started with --crop 64 96 Received: 64 64 another"),
        ("--layers 3", "started without --layers Received: --layers 3"),
        ("--label-map 0=1 1=0", "with --label-map 0=0 255=1 0=1 1=0"),
        ("--rematerialize", "--rematerialize no Received: yes"),
        ("--data empty", "--data data empty"),
        (f"--recipe {RECIPE}", "holds a run of --data"),
    ],
)
def test_a_run_goes_on_with_what_it_was_started_with(line, words, run, capsys):
    error = refuse(f"train --out o {line}", capsys)
    for word in words.split():
        assert word in error


def test_a_run_may_be_longer_and_its_options_need_no_saying(run, capsys):
    _, given = main.parse(train, "--out o --epochs 40".split(), "train")
    assert (given["epochs"], given["crop"]) == (40, [64, 96])
    assert given["data"].endswith("data")
    # The defaults may be said.
    main.parse(train, "--out o --seed 0 --crop 64 96".split(), "train")
    # Data that was moved.
    (run.parent / "data").rename(run.parent / "moved")
    main.parse(train, "--out o --data moved".split(), "train")
    assert "say --data" in refuse("train --out o", capsys)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_damaged_record_of_a_run_is_named(content, run, capsys):
    Settings(run).path.write_text(content)
    assert "settings.json" in refuse("train --out o --data data", capsys)


def test_a_value_that_nobody_said_ends_in_one_line(run, capsys):
    options = {"data": str(run.parent / "data"), "crop": 5, "patch_size": 8}
    Settings(run).path.write_text(json.dumps(options))
    assert "not iterable" in refuse("train --out o", capsys)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_names_every_option_and_ends_well(command, capsys):
    assert main.main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--backend" in printed and "--debug" in printed


@pytest.mark.parametrize(
    "argv, code, words",
    [
        ([], 2, "train evaluate segment submit convert export"),
        (["--help"], 0, "train evaluate segment submit convert export"),
        (["--version"], 0, "keras-setr 0."),
        (["tran"], 2, "no command 'tran' Did you mean train?"),
        (["nothing"], 2, "no command train, evaluate, segment"),
    ],
)
def test_the_command_itself(argv, code, words, capsys):
    assert main.main(argv) == code
    printed = "".join(capsys.readouterr())
    for word in words.split():
        assert word in printed


def lines_of_the_documentation():
    root = pathlib.Path(__file__).parents[2]
    pages = ("commands", "deployment", "recipes")
    files = [root / "README.md", *(root / f"docs/{p}.md" for p in pages)]
    text = "\n".join(file.read_text() for file in files)
    block = re.findall(r"^keras-setr (\w+ [^#\n]+)", text, re.M)
    inline = re.findall(r"`keras-setr ([a-z]+ --[^`]+)`", text)
    return sorted({line.strip() for line in [*block, *inline]})


@pytest.mark.parametrize("line", lines_of_the_documentation())
def test_the_lines_of_the_documentation_are_right(line, folder, monkeypatch):
    # Whatever is installed here, and on a backend that writes files.
    monkeypatch.setattr(backends, "require", lambda *_: None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for name in ("leftImg8bit/test", "photos", "runs/a"):
        (folder / name).mkdir(parents=True)
    for name in ("DIR", "camvid"):
        shutil.copytree(folder / "data", folder / name)
    (folder / "my_data").mkdir()
    for name in ("PRESET", "runs/a/preset"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    files = ("photos/1.png", "camvid.txt", "setr.pth", "setr.onnx", "town.tif")
    test = "leftImg8bit/test/berlin_000000_000019_leftImg8bit.png"
    for name in (*files, "my_data/1.png", test):
        (folder / name).write_text("")
    settings = json.dumps({"data": str(folder / "DIR")})
    (folder / "runs/a/settings.json").write_text(settings)
    command, *argv = line.split()
    module = importlib.import_module(f"keras_setr_commands.{command}")
    main.parse(module, argv, "keras-setr")


def test_the_documentation_has_every_command():
    commands = {line.split()[0] for line in lines_of_the_documentation()}
    assert commands == set(main.COMMANDS)
