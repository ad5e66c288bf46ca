"""Where in a training the reading of its batches stands."""

import threading

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import integer


class Position:
    """The plan of some batches, who reads them, and which of them come next.

    What every reader returns has it as its attribute `position`; `map`,
    `take` and the like of tf.data give datasets without one.

    A pass is what one iterator gives. It counts once its second batch was
    taken, or its only one: an iterator that was left before only looked, as
    Keras does on JAX and torch before it trains, and the next one gets the
    same batches.

    Args:
        plan: `BatchPlan`.
        reader: str. See `segmentation_batches`.
        step: int. The number of the first batch.

    Attributes:
        plan, reader: as given.
        step: int. The number of the batch that the next iterator begins with.
            It ends with the pass that this batch lies in, which may thus be a
            short one.
    """

    def __init__(self, plan, reader, step):
        self.plan = plan
        self.reader = reader
        self.step = step
        # Readers take batches in threads of their own.
        self._lock = threading.Lock()

    def __reduce__(self):
        return Position, (self.plan, self.reader, self.step)

    @checked(step=integer(0))
    def seek(self, step):
        """Let the next iterator begin with batch `step`.

        Those that were begun before go on, and no longer count.
        """
        with self._lock:
            self.step = step

    def next_pass(self):
        """Range of the numbers of the batches of the next iterator."""
        size = self.plan.num_batches
        return range(self.step, (self.step // size + 1) * size)

    def next_pairs(self):
        """The pairs of the next pass, in order.

        Returns:
            `(steps, epochs, indices)`, int64 arrays with an entry for each
            pair: the number of its batch, and see `BatchPlan.pairs_to_read`.
        """
        steps = self.next_pass()
        epochs, indices = self.plan.pairs_to_read(steps)
        place = np.arange(len(indices)) // self.plan.batch_size
        return steps.start + place, epochs, indices

    def mark_taken(self, step):
        """Take note that batch `step` was taken from an iterator."""
        with self._lock:
            steps = self.next_pass()
            looked_only = step == steps.start and len(steps) > 1
            if step in steps and not looked_only:
                self.step = steps.stop
