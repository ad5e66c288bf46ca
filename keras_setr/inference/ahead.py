"""Reading ahead: the next items while the present one is computed."""

import queue
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

_END = object()


def ahead(items: Iterable[Any], count: int) -> Iterator[Any]:
    """The items, read by a thread of their own.

    Args:
        items: iterable. What it raises is raised here, in its turn.
        count: int. Items that are held, besides the one being read.
    """
    ready: queue.Queue = queue.Queue(count)
    stopped = threading.Event()

    def put(item, error):
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                pass

    def read():
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
        except BaseException as error:
            put(None, error)
        else:
            put(_END, None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
