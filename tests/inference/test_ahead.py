"""Reading ahead gives the same items, in their order, with their errors."""

import threading

import pytest

from keras_setr.inference import ahead

pytestmark = pytest.mark.no_backend


def test_items_come_in_order_from_another_thread():
    threads = set()

    def items():
        for item in range(5):
            threads.add(threading.get_ident())
            yield item

    assert list(ahead(items(), 2)) == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in threads


def test_an_error_is_raised_in_its_turn():
    def items():
        yield 1
        raise KeyError("second")

    reading = ahead(items(), 3)
    assert next(reading) == 1
    with pytest.raises(KeyError, match="second"):
        next(reading)


def test_no_more_is_read_than_is_held_ahead():
    read = []
    third = threading.Event()

    def items():
        for item in range(100):
            read.append(item)
            if item == 2:
                third.set()
            yield item

    reading = ahead(items(), 1)
    assert next(reading) == 0
    assert third.wait(10)
    reading.close()
    # One was used, one is held, one waits for its place.
    assert read == [0, 1, 2]
