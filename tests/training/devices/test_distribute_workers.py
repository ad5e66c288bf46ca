"""Two worker processes on loopback, TensorFlow and JAX."""

import numpy as np
import pytest

import keras_setr as ks
from tests.training import worker


@pytest.mark.backends("tensorflow", "jax")  # Keras has no others
def test_two_workers_train_as_one_process_does(tmp_path):
    together = worker.start_job(tmp_path / "two")
    alone = worker.train(
        ks.distribute(1, verbose=False), tmp_path / "one", epochs=2
    )
    first, second = worker.reports(together)
    assert (first["worker"], second["worker"]) == (0, 1)
    for key in ("history", "evaluated", "labels", "weights"):
        assert first[key] == second[key], key
    for name, values in alone["history"].items():
        np.testing.assert_allclose(
            first["history"][name], values, rtol=1e-5, err_msg=name
        )
    for name, value in alone["evaluated"].items():
        assert first["evaluated"][name] == pytest.approx(value, rel=1e-5)
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-5)
    assert first["labels"] == alone["labels"]
    # Of each batch of 4, each has read 2 images.
    assert set(first["read"]) | set(second["read"]) == set(alone["read"])
    assert len(first["read"]) < len(alone["read"])
    files = {
        folder: sorted(p.name for p in (tmp_path / folder).rglob("*"))
        for folder in ("one", "two")
    }
    assert files["two"] == files["one"]
