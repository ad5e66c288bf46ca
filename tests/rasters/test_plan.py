"""How rasters are cut, by arithmetic that is written out."""

import itertools

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.rasters import plan_raster

pytestmark = pytest.mark.no_backend


def test_the_raster_of_100_000_fits_into_a_gigabyte():
    plan = plan_raster((100_000, 100_000), 19, 512)
    # Windows every 341: (100,000 - 512) / 341 = 291.8, so 293 of them.
    assert plan.windows() >= 293**2
    assert len(plan.rows()) == 292  # the last two rows of windows are one
    (first, *_) = plan.stripes()
    assert plan.bytes_of(first[1] - first[0]) <= 2**30
    text = str(plan)
    assert "reads 30.0 GB, writes 10.0 GB of labels" in text
    assert "windows of 512x512 every 341x341" in text


@pytest.mark.parametrize("chunks", ((1, 1), (16, 24), (40, 7)))
@pytest.mark.parametrize("flip", (False, True))
@pytest.mark.parametrize("num_workers", (1, 3))
def test_bands_cover_every_pixel_once(chunks, flip, num_workers):
    covered = np.zeros((75, 131), int)
    options = {"stride": (5, 9), "flip": flip, "chunks": chunks}
    least = plan_raster((75, 131), 3, (8, 12), **options).bytes_of(25)
    for worker in range(num_workers):
        plan = plan_raster(
            (75, 131),
            3,
            (8, 12),
            **options,
            memory=least,
            shard=(worker, num_workers),
        )
        for band in plan.bands():
            covered[slice(*band.rows), slice(*band.columns)] += 1
            for (first, end), chunk, length in zip(
                (band.rows, band.columns), chunks, (75, 131)
            ):
                assert first % chunk == 0
                assert end % chunk == 0 or end == length
    assert (covered == 1).all()


def test_a_part_has_all_windows_over_its_bands_and_no_others():
    plan = plan_raster((75, 131), 3, (8, 12), (5, 9), memory=40_000)
    (view,) = plan.views
    (run, *_) = plan.runs(done=4)
    part = plan.part(view, run)
    rows, columns = (run[0].rows[0], run[-1].rows[1]), run[0].columns
    expected = [
        (top, left)
        for top, left in itertools.product(view.tops(), view.lefts())
        if top < rows[1]
        and top + 8 > rows[0]
        and left < columns[1]
        and left + 12 > columns[0]
    ]
    found = [
        (part.top + top, part.left + left)
        for top in part.tops()
        for left in part.lefts()
    ]
    assert found == expected


def test_windows_are_run_again_only_where_a_worker_begins():
    options = {"memory": 2**20}
    whole = plan_raster((75, 131), 3, (8, 12), (5, 12), **options)
    # (75 - 8) / 5 = 13.4: 15 rows of (131 - 12) / 12 = 9.9: 11 columns.
    assert whole.windows() == 15 * 11
    shares = [
        plan_raster((75, 131), 3, (8, 12), (5, 12), **options, shard=(i, 2))
        for i in range(2)
    ]
    assert sum(s.windows() for s in shares) == 15 * 11 + 11


def test_more_classes_make_narrower_stripes():
    few, many = (
        plan_raster((9000, 50_000), k, 512, memory=2**30) for k in (19, 150)
    )
    assert len(few.stripes()) < len(many.stripes())
    assert plan_raster((600, 700), 19, 512).stripes() == [(0, 700)]


@pytest.mark.parametrize(
    "options, match",
    [
        ({"memory": 1000}, "memory must be at least .* Received: 1000"),
        ({"shard": (2, 2)}, r"worker in 0..num_workers-1.*Received: \(2, 2\)"),
        ({"output": "label"}, "output must be .*Did you mean 'labels'"),
        ({"stride": 600}, "stride must be at most the window"),
    ],
)
def test_plans_that_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        plan_raster((9000, 50_000), 19, 512, **options)


def test_a_raster_smaller_than_a_window_is_for_segment():
    with pytest.raises(ValueError, match="at least that of a window.*segment"):
        ks.rasters.plan_raster((300, 2000), 19, 512)
