"""What is handed to fit: each kind of data knows itself."""

import keras
import numpy as np
import pytest

from keras_setr.models.verbs import feeding
from keras_setr.models.verbs.inputs import Expected
from tests import tiny
from tests.models.verbs.test_verbs import KINDS
from tests.models.verbs.test_verbs import X
from tests.models.verbs.test_verbs import Y

pytestmark = pytest.mark.no_backend
# (batches, whether Keras may take them in any order)
KNOWN = {
    "PyDataset": (3, True),
    "generator": (None, False),
    "iterator": (None, False),
    "DataLoader": (3, False),
    "tf.data": (3, False),
    "dicts": (3, False),
    "grain": (3, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_knows_its_length_and_its_order(kind):
    data = feeding.resolve(KINDS[kind]())
    assert (data.num_batches, data.keras_shuffles) == KNOWN[kind]


def test_arrays_have_the_order_of_the_epoch_that_they_go_on_in():
    def orders(first_epoch):
        keras.utils.set_random_seed(3)
        data = feeding.resolve(X, Y)
        data.set_batch_size(4, shuffle=True)
        data.seek(first_epoch, steps=0)
        fed = data.feed(lambda x, *rest, expected: x[:, 0, 0, 0].tolist())
        for _ in range(2):
            fed.on_epoch_begin()
            # 6 images are 4 and 2.
            yield fed[0] + fed[1]

    (first, second), (again, _) = orders(0), orders(1)
    assert second == again != first


def test_a_set_of_ignored_pixels_alone_is_an_error():
    expected = Expected(tiny.smallest(), needs_labels=True)
    data = feeding.resolve(X, np.full_like(Y, 255))
    with pytest.raises(ValueError, match="validation y must hold a class.*255"):
        data.check(expected, "validation ")
    feeding.resolve(X, Y).check(expected)
