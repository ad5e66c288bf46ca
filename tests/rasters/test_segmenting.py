"""Rasters by bands against the same arrays as a whole."""

import json
import pathlib
import shutil
import types

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.export.exported import ExportedSegmenter
from keras_setr.export.record import ExportRecord

pytestmark = pytest.mark.no_backend

SIZE = (37, 53)
NAMES = ("dark", "middle", "bright")


class Positional:
    """Scores of a window's pixels that depend on their place in it."""

    def __init__(self):
        self.windows = 0

    def run(self, images, names):
        self.windows += len(images)
        h, w = images.shape[1:3]
        place = np.arange(h, dtype=np.float32)[:, None] * 3 + np.arange(w)
        value = images.astype(np.float32)
        value[..., 0] -= place
        value[..., 2] = 90 + place
        return {"logits": value / 40}


def segmenter(session=None, **changes):
    options = {
        "model": "SETRNaive",
        "classes": ks.Classes(NAMES),
        "ignore_class": 255,
        "window_size": (8, 12),
        "stride": (5, 9),
        "channels": 3,
        "image_dtype": "uint8",
        "outputs": ("labels", "logits"),
        "dynamic": ("batch",),
        "backend": "torch",
        **changes,
    }
    path = pathlib.Path(__file__)  # of which a fingerprint is taken
    session = session or Positional()
    return ExportedSegmenter(path, session, ExportRecord(**options))


def raster(size=SIZE, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels)).astype(np.uint8)


def narrow(**options):
    """What holds a stripe of 20 columns, so that 53 are three."""
    options = {"stride": (5, 9), **options}
    return ks.rasters.plan_raster(SIZE, 3, (8, 12), **options).bytes_of(20)


class Chunked:
    """A sink that says in which chunks it keeps its values."""

    def __init__(self, shape, chunks, dtype="uint8"):
        self.values = np.full(shape, 99, dtype)
        self.shape, self.dtype, self.chunks = shape, np.dtype(dtype), chunks
        self.written = []

    def __setitem__(self, place, values):
        self.written.append(place)
        self.values[place] = values

    def __getitem__(self, place):
        return self.values[place]


@pytest.mark.parametrize("stripes", (1, 3))
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"flip": True},
        {"stride": (8, 12), "batch_size": 7},
        {"stride": (3, 4), "batch_size": 2},
        {"protocol": "mmsegmentation"},
    ),
)
def test_labels_are_those_of_the_whole(stripes, options):
    x, sink = raster(), np.zeros(SIZE, np.uint8)
    cut = {k: v for k, v in options.items() if k != "protocol"}
    memory = 10**9 if stripes == 1 else narrow(**cut)
    run = ks.segment_raster(
        segmenter(), x, sink, memory=memory, verbose=0, **options
    )
    expected = segmenter().segment(x, **options)
    np.testing.assert_array_equal(sink, expected)
    assert set(np.unique(sink)) == {0, 1, 2}
    assert run.complete and run.written == len(run.plan.all_bands())
    assert len(run.plan.stripes()) == stripes


@pytest.mark.parametrize("flip", (False, True))
@pytest.mark.parametrize("channels_first", (False, True))
def test_probabilities_and_entropy_are_of_8_bits(flip, channels_first):
    x = raster()
    whole, (_, entropy) = (
        segmenter().segment(x, "probabilities", flip=flip),
        segmenter().segment(x, entropy=True, flip=flip),
    )
    memory = narrow(flip=flip, output="probabilities")
    options = {"flip": flip, "verbose": 0, "memory": memory}
    if channels_first:
        x = x.transpose(2, 0, 1)
    sink = np.zeros((3, *SIZE) if channels_first else (*SIZE, 3), np.uint8)
    ks.segment_raster(segmenter(), x, sink, output="probabilities", **options)
    found = sink.transpose(1, 2, 0) if channels_first else sink
    np.testing.assert_allclose(found / 255, whole, atol=0.501 / 255)
    sink = np.zeros(SIZE, np.uint8)
    ks.segment_raster(segmenter(), x, sink, output="entropy", **options)
    share = entropy / np.log(3)
    np.testing.assert_allclose(sink / 254, share, atol=0.501 / 254)


def test_chunks_of_a_sink_are_written_once_each():
    sink = Chunked(SIZE, (16, 16))
    x = raster()
    memory = narrow(chunks=(16, 16))
    ks.segment_raster(segmenter(), x, sink, verbose=0, memory=memory)
    np.testing.assert_array_equal(sink.values, segmenter().segment(x))
    # 37 rows end at 16 and 37, as 5 more are not finished at 32; 53 columns
    # at 16, 32, 48 and 53.
    assert len(sink.written) == 2 * 4
    for rows, columns in sink.written:
        assert rows.start % 16 == 0 and columns.start % 16 == 0
        assert rows.stop % 16 == 0 or rows.stop == SIZE[0]


def test_pixels_without_data_are_marked_and_their_windows_left_out():
    x = raster()
    x[:, 20:] = 7
    x[30:, 50:] = 8
    empty = (x == 7).all(axis=-1)
    session = Positional()
    sink = np.zeros(SIZE, np.uint8)
    ks.segment_raster(segmenter(session), x, sink, nodata=7, verbose=0)
    expected = segmenter().segment(x)
    np.testing.assert_array_equal(sink[~empty], expected[~empty])
    assert (sink[empty] == 255).all()
    # Of 7 rows and 6 columns of windows the three first columns have data,
    # from 0, 9 and 18, and of the last one, from 41, those from 25 and 29.
    assert session.windows == 7 * 3 + 2
    sink = np.zeros((*SIZE, 3), np.uint8)
    ks.segment_raster(
        segmenter(), x, sink, output="probabilities", nodata=7, verbose=0
    )
    assert not sink[empty].any() and sink[~empty].any(axis=-1).all()


def test_nan_is_no_data_of_floats():
    x = raster().astype(np.float32)
    x[:10, :10] = np.nan
    with pytest.raises(OSError, match="rows 0..7,.*NaN.*nodata=.*0 of 6"):
        ks.segment_raster(segmenter(), x, np.zeros(SIZE, "uint8"), verbose=0)
    for value in (np.nan, -9999):
        x[:10, :10] = value
        sink = np.zeros(SIZE, np.uint8)
        ks.segment_raster(segmenter(), x, sink, nodata=value, verbose=0)
        assert (sink[:10, :10] == 255).all() and (sink[10:] < 3).all()


def test_what_an_array_masks_has_no_data():
    mask = np.zeros((*SIZE, 3), bool)
    mask[:10, :10] = True
    mask[20, 20, 1] = True  # the other channels are there
    x = np.ma.masked_array(raster(), mask)
    for source in (x, x.transpose(2, 0, 1)):
        sink = np.zeros(SIZE, np.uint8)
        ks.segment_raster(segmenter(), source, sink, verbose=0)
        np.testing.assert_array_equal(sink == 255, mask.all(axis=-1))


def test_several_workers_share_a_raster(tmp_path):
    x, target = raster(), tmp_path / "labels.npy"
    runs = [
        ks.segment_raster(
            segmenter(),
            x,
            target,
            shard=(worker, 3),
            memory=narrow(),
            verbose=0,
        )
        for worker in (2, 0, 1)
    ]
    assert [run.complete for run in runs] == [False, False, True]
    np.testing.assert_array_equal(np.load(target), segmenter().segment(x))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npy"]


# === Interruptions ===


class Ends:
    """A raster whose rows from one on cannot be read."""

    def __init__(self, array, end, shorter=False):
        self.array, self.end, self.shorter = array, end, shorter
        self.shape, self.dtype = array.shape, array.dtype
        self.rows = []

    def __getitem__(self, place):
        rows = place[0]
        self.rows.append((rows.start, rows.stop))
        if rows.stop > self.end:
            if self.shorter:
                return self.array[: self.end][place]
            raise KeyError("the tape is torn")
        return self.array[place]


@pytest.mark.parametrize("shorter", (False, True))
@pytest.mark.parametrize("memory", (10**9, narrow()))
def test_a_run_goes_on_with_the_band_it_broke_off_in(tmp_path, shorter, memory):
    x, target = raster(), tmp_path / "labels.npy"
    options = {"verbose": 0, "memory": memory}
    match = "ends early: " if shorter else "KeyError: 'the tape is torn'"
    with pytest.raises(OSError, match=f"{match}.*3 of .*same call goes on"):
        ks.segment_raster(segmenter(), Ends(x, 20, shorter), target, **options)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"labels.npy.part", "labels.npy.progress"}
    again = Ends(x, 37)
    run = ks.segment_raster(segmenter(), again, target, **options)
    assert run.kept == 3 and run.complete
    # Of the first row a fingerprint is taken. Bands end at rows 5, 10, 15, ..;
    # that from 15 on has windows from 10 on.
    assert again.rows[:2] == [(0, 1), (10, 18)]
    np.testing.assert_array_equal(np.load(target), segmenter().segment(x))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npy"]


@pytest.fixture
def broken_off(tmp_path):
    """`(sink, progress)` of a run that broke off after three bands."""
    sink, progress = np.zeros(SIZE, np.uint8), tmp_path / "progress"
    with pytest.raises(OSError):
        ks.segment_raster(
            segmenter(), Ends(raster(), 20), sink, resume=progress, verbose=0
        )
    assert json.loads(progress.read_text())["done"] == 3
    return sink, progress


@pytest.mark.parametrize(
    "model, size, options, name",
    [
        ({}, SIZE, {"stride": (4, 9)}, "stride"),
        ({}, SIZE, {"flip": True}, "flip"),
        ({}, SIZE, {"nodata": 3}, "nodata"),
        ({}, (38, 53), {}, "source"),
        ({"window_size": (8, 10)}, SIZE, {}, "window_size"),
        ({}, SIZE, {"output": "entropy"}, "output"),
        ({}, SIZE, {"seed": 1}, "first row of the source"),
    ],
)
def test_a_run_with_other_settings_does_not_go_on(
    broken_off, model, size, options, name
):
    _, progress = broken_off
    sink, before = np.zeros(size, np.uint8), progress.read_text()
    source = raster(size, seed=options.pop("seed", 0))
    with pytest.raises(ValueError, match=f"another {name}: .*Received: "):
        ks.segment_raster(
            segmenter(**model),
            source,
            sink,
            resume=progress,
            verbose=0,
            **options,
        )
    assert not sink.any() and progress.read_text() == before


def test_a_sink_that_was_made_anew_is_found_out(broken_off):
    sink, progress = broken_off
    options = {"resume": progress, "verbose": 0}
    with pytest.raises(ValueError, match="holds something else there"):
        ks.segment_raster(segmenter(), raster(), sink * 0, **options)
    run = ks.segment_raster(segmenter(), raster(), sink, **options)
    assert run.kept == 3 and not progress.exists()
    np.testing.assert_array_equal(sink, segmenter().segment(raster()))


@pytest.mark.parametrize(
    "changes",
    [{"done": 999}, {"done": -2}, {"done": "all"}, {"settings": []}, None],
)
def test_a_damaged_progress_file_is_said(broken_off, changes):
    sink, progress = broken_off
    text = progress.read_text()
    text = (
        text[:9] if changes is None else json.dumps(json.loads(text) | changes)
    )
    progress.write_text(text)
    with pytest.raises(ValueError, match="must tell how far.*Remove it|model"):
        ks.segment_raster(
            segmenter(), raster(), sink, resume=progress, verbose=0
        )
    assert progress.read_text() == text


@pytest.mark.parametrize(
    "shard, options, match",
    [
        ((1, 3), {}, r"0-of-2 is of a run with another number of workers. Rec"),
        (None, {}, r"0-of-2 is of a run with another number of workers"),
        ((1, 2), {"flip": True}, "0-of-2 is of a run with another flip: False"),
    ],
)
def test_workers_that_share_a_raster_agree(tmp_path, shard, options, match):
    target = tmp_path / "labels.npy"
    options["verbose"] = 0
    ks.segment_raster(segmenter(), raster(), target, shard=(0, 2), verbose=0)
    with pytest.raises(ValueError, match=match):
        ks.segment_raster(segmenter(), raster(), target, shard=shard, **options)
    assert not target.exists()


# === One place for two things ===


def test_a_source_is_not_written_over(tmp_path):
    path, array = tmp_path / "a.npy", raster(channels=1)[..., 0]
    np.save(path, array)
    model = segmenter(channels=1)
    for source, sink in (
        (path, path),
        (np.load(path, mmap_mode="r"), path),
        (path, np.load(path, mmap_mode="r+")),
        (array, array),
    ):
        with pytest.raises(ValueError, match="sink must be another place"):
            ks.segment_raster(model, source, sink, verbose=0)
    np.testing.assert_array_equal(np.load(path), array)
    with pytest.raises(ValueError, match="resume must be another file than"):
        ks.segment_raster(
            segmenter(),
            raster(),
            tmp_path / "b.npy",
            resume=tmp_path / "b.npy",
            verbose=0,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


class Full(Chunked):
    """A sink that takes one band."""

    def __setitem__(self, place, values):
        if self.written:
            raise OSError(28, "No space left on device")
        super().__setitem__(place, values)


def test_a_sink_that_cannot_be_written_keeps_what_it_has(tmp_path):
    sink = Full(SIZE, None)
    with pytest.raises(
        OSError, match="sink, rows 5..9, cannot be written: .*No space.*1 of"
    ):
        ks.segment_raster(
            segmenter(), raster(), sink, resume=tmp_path / "p", verbose=0
        )
    assert json.loads((tmp_path / "p").read_text())["done"] == 1
    assert (sink.values[5:] == 99).all()


# === What does not fit ===


@pytest.mark.parametrize(
    "source, sink, options, match",
    [
        (raster(), (36, 53), {}, r"shape \(37, 53\). Received: ndarray of"),
        (raster(), (*SIZE, 3), {}, r"shape \(37, 53\). Received"),
        (
            raster(),
            SIZE,
            {"output": "probabilities"},
            r"\(37, 53, 3\) or \(3, 37, 53\)",
        ),
        (raster(channels=4), SIZE, {}, r"\(height, width, 3\) or \(3, height"),
        (raster()[..., 0], SIZE, {}, "the channels are last. Received"),
        (raster()[:0], (0, 53), {}, r"source is empty: its size is \(0, 53\)"),
        (raster() > 3, SIZE, {}, "integers or floats. Received: dtype bool"),
        (3, SIZE, {}, "source must be a path, an array, or a dataset"),
        (raster(), SIZE, {"nodata": -1}, "0..255 in uint8. Received: -1"),
        (raster(), SIZE, {"nodata": 1.5}, "0..255 in uint8. Received: 1.5"),
        (raster(), SIZE, {"nodata": np.nan}, "in uint8. Received: nan"),
        (raster(), SIZE, {"output": "logits"}, "output must be 'labels'"),
        (raster(), SIZE, {"scales": (0.5, 1.0)}, "Leave scales"),
        (raster(), SIZE, {"memory": 2000}, "memory must be at least"),
        (raster(), SIZE, {"shard": (1, 1)}, "shard must be"),
        (raster(), SIZE, {"bands": (1, 2, 3)}, "bands go with a rasterio"),
        (raster((6, 53)), (6, 53), {}, "at least that of a window"),
        (raster(), SIZE, {"blend": "device"}, "blended on the host"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_run(
    source, sink, options, match
):
    session, sink = Positional(), np.zeros(sink, np.uint8)
    with pytest.raises(ValueError, match=match):
        ks.segment_raster(
            segmenter(session), source, sink, verbose=0, **options
        )
    assert not session.windows


def test_sinks_of_another_dtype_or_not_to_be_written_to():
    read_only = np.zeros(SIZE, np.uint8)
    read_only.flags.writeable = False
    of_zarr = Chunked(SIZE, (16, 16))
    of_zarr.read_only = True
    no_slices = type("Dataset", (), {"shape": SIZE})()
    for sink, match in (
        (of_zarr, "must be writeable. Received: a read-only Chunked"),
        (no_slices, r"take slices.*Received: Dataset of shape \(37, 53\)"),
        (np.zeros(SIZE, "float32"), "integers up to 2, .*dtype float32"),
        (read_only, "must be writeable"),
        ("labels.png", "must end in .tif, .tiff, .npy. Received: labels.png"),
        (None, "sink must be a path or take slices"),
    ):
        with pytest.raises(ValueError, match=match):
            ks.segment_raster(segmenter(), raster(), sink, verbose=0)
    with pytest.raises(ValueError, match="integers up to 255, .*dtype int8"):
        ks.segment_raster(
            segmenter(), raster(), np.zeros(SIZE, "int8"), nodata=0, verbose=0
        )


def test_paths_that_are_not_there_or_cannot_be(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.tif does not exist"):
        ks.segment_raster(segmenter(), tmp_path / "a.tif", tmp_path / "b.npy")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01")
    with pytest.raises(ValueError, match="a.npy cannot be read"):
        ks.segment_raster(segmenter(), tmp_path / "a.npy", tmp_path / "b.npy")
    for dry_run in (False, True):
        with pytest.raises(NotADirectoryError, match="a.npy is a file; "):
            ks.segment_raster(
                segmenter(),
                raster(),
                tmp_path / "a.npy" / "b.npy",
                dry_run=dry_run,
                verbose=0,
            )
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_file_that_may_not_grow_is_named(tmp_path, monkeypatch):
    from keras_setr.rasters import paths

    def truncate(descriptor, size):
        raise OSError(27, "File too large")

    monkeypatch.setattr(paths.os, "truncate", truncate)
    with pytest.raises(OSError, match="File too large: .*a.npy.part"):
        ks.segment_raster(segmenter(), raster(), tmp_path / "a.npy", verbose=0)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_said_at_once(tmp_path, monkeypatch):
    usage = types.SimpleNamespace(total=2000, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="are needed and 0.0 MB are free"):
        ks.segment_raster(segmenter(), raster(), tmp_path / "a.npy", verbose=0)
    assert not list(tmp_path.iterdir())


def test_a_file_of_labels_alone_is_refused():
    with pytest.raises(ValueError, match="Export with outputs="):
        ks.segment_raster(
            segmenter(outputs=("labels",)), raster(), np.zeros(SIZE, "uint8")
        )


def test_the_plan_and_the_progress_are_printed(capsys):
    ks.segment_raster(segmenter(), raster(), np.zeros(SIZE, "uint8"))
    shown = capsys.readouterr().out
    assert shown.startswith("37 x 53 x 3: 6 bands in 1 of 1 stripes, 42 wind")
    assert "42/42" in shown and "windows_per_second" in shown
