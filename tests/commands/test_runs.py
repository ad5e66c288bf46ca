"""What a training takes from the machine rather than from the user."""

import argparse
import types

import pytest

from keras_setr.training.callbacks import validation as validations
from keras_setr.training.preflight import memory
from keras_setr_commands import defaults
from keras_setr_commands import runs
from keras_setr_commands.bfloat16 import multiplies_bfloat16
from keras_setr_commands.messages import CommandError
from keras_setr_commands.train import DEFAULTS
from tests import tiny

ONE = types.SimpleNamespace(num_devices=1)
pytestmark = pytest.mark.backends("torch")


def fit(model, size, devices=ONE, **said):
    said = {**DEFAULTS, **said}
    args = argparse.Namespace(**said | defaults.find(said, 20))
    is_said = said["batch_size"] is not None
    return runs.fit_into_memory(model, args, size, devices, is_said)


def test_a_batch_is_cut_where_little_memory_is_free(monkeypatch, capsys):
    model = tiny.build("naive")
    monkeypatch.setattr(memory, "free_memory", lambda: 10**12)
    assert fit(model, 8) == (8, 1)
    assert not model.backbone.rematerialize and not capsys.readouterr().out

    monkeypatch.setattr(memory, "free_memory", lambda: 10**5)
    assert fit(model, 8) == (1, 8)
    assert model.backbone.rematerialize
    line = capsys.readouterr().out
    assert "of memory are free: 1 image at a time, 8 times for each" in line
    assert "computed anew (--rematerialize)" in line

    # What was said is done as it was said.
    assert fit(model, 4, batch_size=4, rematerialize=False) == (4, 1)
    assert not model.backbone.rematerialize
    assert fit(model, 4, accumulate=3)[1] == 3
    # TensorFlow's replicas cannot accumulate.
    several = types.SimpleNamespace(num_devices=2)
    assert fit(model, 8, several) == (8, 1)


def test_the_patch_size_of_a_preset_is_found(tmp_path):
    def patch_size(preset):
        return runs._patch_size_of(preset)

    assert patch_size(None) == 14 and patch_size("hf://a/b") == 16
    assert patch_size("setr_pup_large_ade20k_512") == 16
    (tmp_path / "config.json").write_text('{"patch_size": 14}')
    assert patch_size(str(tmp_path)) == 14
    (tmp_path / "config.json").write_text('{"config": {"patch_size": 8}}')
    assert patch_size(str(tmp_path)) == 8


def test_an_encoder_that_cannot_be_fetched_names_the_ways_round():
    class Model:
        @classmethod
        def from_preset(cls, preset, **_):
            raise OSError(f"{preset} cannot be downloaded: no route.")

    def start(preset):
        args = argparse.Namespace(preset=preset, patch_size=8)
        runs._from_preset(Model, args)

    with pytest.raises(CommandError, match="no route.*--preset.*none"):
        start(defaults.ENCODER)
    with pytest.raises(OSError, match="no route.$"):
        start("vit_base_patch16_384")


def test_auxiliary_heads_that_a_preset_has_not_are_refused(tmp_path):
    model = tiny.build("naive", auxiliary_layers=())
    model.save_to_preset(tmp_path / "preset")
    folder = types.SimpleNamespace(num_classes=5, classes=None)

    def build(**said):
        said = {**DEFAULTS, "preset": str(tmp_path / "preset"), **said}
        said |= {"model": "naive", "patch_size": None}
        args = argparse.Namespace(**said)
        return runs.build_model(args, (16, 24), folder)

    assert len(build(auxiliary=None).outputs) == 2
    with pytest.raises(CommandError, match="--auxiliary.*has none"):
        build(auxiliary=True)


def test_a_fold_is_what_is_validated_with():
    class Folder:
        def split(self, fraction, seed):
            return "split", fraction, seed

        def folds(self, number, seed):
            return [(fold, number, seed) for fold in range(number)]

    def divided(**said):
        args = argparse.Namespace(**{**DEFAULTS, **said})
        return runs._divided(Folder(), args)

    assert divided(seed=3) == ("split", None, 3)
    assert divided(fold="2/5", seed=3) == (1, 5, 3)


@pytest.mark.parametrize(
    "capability, is_fast", [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_a_gpu_is_asked_what_it_multiplies(capability, is_fast, monkeypatch):
    import torch

    cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda index: capability,
    }
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    assert multiplies_bfloat16() is is_fast
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not multiplies_bfloat16()


@pytest.mark.parametrize(
    "scores, best, kept",
    [
        ((0.5, 0.4), True, 0),
        ((0.4, 0.5), True, 1),
        ((0.5, 0.5), True, 0),
        ((None, 0.4), True, 1),
        ((0.5, 0.4), False, 1),
        ((0.5, None), False, None),
    ],
)
def test_the_weights_that_are_left_are_not_scored_again(
    scores, best, kept, tmp_path
):
    validation = validations.SlidingWindowValidation()
    weights = validations.BestWeights(tmp_path / "best.weights.h5")
    weights.on_train_begin()
    result = runs._Kept([validation, weights], best)
    for epoch, score in enumerate(scores):
        result.on_epoch_begin(epoch)
        validation.result = epoch
        if score is not None and weights._is_better(score):
            weights.best = score
        logs = {} if score is None else {"val_mean_iou": score}
        result.on_epoch_end(epoch, logs)
    assert result.result == kept


def test_a_result_that_is_known_is_not_computed(capsys):
    classes = types.SimpleNamespace(
        mean_iou=0.5, as_dict=lambda: {"mean_iou": 0.5}
    )
    run = types.SimpleNamespace(tests={"mean_iou": {}})
    assert runs.test(run, classes, brief=True) == {"mean_iou": 0.5}
    assert "50.00" in capsys.readouterr().out
