import numpy as np
import pytest

from keras_setr.facts.datasets import DATASETS

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    "name, classes, train",
    [
        ("cityscapes", 19, 2_975),
        ("cityscapes_coarse", 19, 2_975),
        ("ade20k", 150, 20_210),
        ("pascal_context", 60, 4_998),
        ("pascal_context_59", 59, 4_998),
        ("camvid", 11, 367),
    ],
)
def test_every_label_is_reached_once_and_nothing_else(name, classes, train):
    dataset = DATASETS[name]
    assert dataset.num_classes == len(dataset.classes) == classes
    assert sorted(dataset.label_map.values()) == list(range(classes))
    assert not set(dataset.ignored) & set(dataset.label_map)
    assert dataset.splits["train"] == train


def test_a_label_knows_its_value_on_disk():
    # cityscapesScripts, labels.py: road 7, motorcycle 32, bicycle 33.
    values = DATASETS["cityscapes"].label_values
    assert (values[0], *values[17:]) == (7, 32, 33) and len(values) == 19
    # 0 is "other objects".
    assert DATASETS["ade20k"].label_values == tuple(range(1, 151))


def test_the_published_test_is_there_as_arguments():
    assert DATASETS["cityscapes"].test_options == {
        "window_size": (768, 768),
        "stride": (512, 512),
        "base_scale": (1025, 2049),
    }
    assert DATASETS["camvid"].test_options == {}


@pytest.mark.parametrize(
    "name, values, labels",
    [
        # Unlabelled 0, road 7, trailer 30, motorcycle 32, bicycle 33.
        ("cityscapes", [0, 7, 30, 32, 33, 255], [255, 0, 255, 17, 18, 255]),
        ("ade20k", [0, 1, 150], [255, 0, 149]),
        # 0 is a class of its own with 60 classes and void with 59.
        ("pascal_context", [0, 1, 59, 255], [0, 1, 59, 255]),
        ("pascal_context_59", [0, 1, 59, 255], [255, 0, 58, 255]),
        ("camvid", [0, 10, 11], [0, 10, 255]),
    ],
)
def test_label_values_by_hand(name, values, labels):
    dataset = DATASETS[name]
    mask = np.array([values], "uint8")
    applied = dataset.label_rule.apply(mask, dataset.num_classes)
    assert applied.tolist() == [labels]


@pytest.mark.parametrize(
    "name, value", [("cityscapes", 34), ("ade20k", 151), ("camvid", 12)]
)
def test_a_value_that_the_dataset_lacks_is_wrong(name, value):
    dataset = DATASETS[name]
    mask = np.array([[1, value]], "uint8")
    assert dataset.label_rule.apply(mask, dataset.num_classes) is None
