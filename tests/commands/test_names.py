"""The names that commands know by heart are those of the package."""

import pytest

import keras_setr as ks
from keras_setr.checkpoints.tensors import SUFFIXES
from keras_setr.data.folder.image_files import IMAGE_EXTENSIONS
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import OUTPUTS
from keras_setr.export.quantizing import FLOAT_PARTS
from keras_setr.losses.sums import NAMES as LOSSES
from keras_setr.rasters.paths import SUFFIXES as RASTER_SUFFIXES
from keras_setr.rasters.plan import OUTPUTS as RASTER_OUTPUTS
from keras_setr.submission import TEST_SERVERS
from keras_setr_commands import names

pytestmark = pytest.mark.no_backend


def test_names_are_those_of_the_package():
    tested = {
        name
        for name, dataset in ks.data.DATASETS.items()
        if "window_size" in dataset.test_options
    }
    assert set(names.RECIPES) == set(ks.recipes)
    assert set(names.PRESETS) == set(ks.checkpoints.PRESETS)
    for kind, encoders in (
        ("SETRBackbone", names.ENCODERS),
        ("ResNetBackbone", names.RESNETS),
    ):
        assert set(encoders) == {
            name
            for name, preset in ks.checkpoints.PRESETS.items()
            if (preset.model_class, preset.backbone_class) == (None, kind)
        }
    assert set(names.DATASETS) == tested
    assert names.TEST_SERVERS == {
        name: len(server.values) for name, server in TEST_SERVERS.items()
    }
    assert set(names.LOSSES) == set(LOSSES)
    classes = {n: c.__name__ for n, c in ks.models.MODELS.items()}
    assert names.MODELS == classes
    assert set(names.IMAGE_SUFFIXES) == set(IMAGE_EXTENSIONS)
    assert set(names.WEIGHT_SUFFIXES) == set(SUFFIXES)
    assert names.FORMATS == {f.name: f.suffix for f in FORMATS.values()}
    assert names.EXPORT_OUTPUTS == OUTPUTS
    assert names.FLOAT_PARTS == FLOAT_PARTS
    assert names.INT8_SUFFIXES == tuple(
        f.suffix for f in FORMATS.values() if f.quantizer
    )
    assert names.RASTER_SUFFIXES == RASTER_SUFFIXES
    assert names.RASTER_OUTPUTS == RASTER_OUTPUTS
