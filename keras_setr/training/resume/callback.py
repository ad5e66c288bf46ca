"""Exact resume: a callback that saves all of a training and goes on."""

import os
import pathlib

import keras
import numpy as np

from keras_setr import workers
from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import folder
from keras_setr.arguments import integer
from keras_setr.files.lock import only_process
from keras_setr.tables import counted
from keras_setr.training.callbacks.stopping import not_finite_error
from keras_setr.training.resume import state
from keras_setr.training.resume.checkpoint_folder import CheckpointFolder


class Checkpoints(keras.callbacks.Callback):
    """Saves the training at its start, every so many steps and each epoch.

    The same `fit` called again, by the same command after the process was
    killed, say, goes on where the newest checkpoint was written, and ends with
    the weights of a run that was never interrupted; with more epochs than
    before it goes on beyond them. A checkpoint holds the
    weights, the optimizer, the metrics of the epoch so far, all random
    generators, the position in the data and the state of the other callbacks
    that have `get_state() -> dict` and `set_state(dict)`.

    Batches of `keras_setr.data` are continued in the middle of an epoch. Other
    data (arrays, your own `tf.data`) has no position, so checkpoints are then
    written at the ends of epochs only, and an interrupted epoch begins anew.

    A checkpoint is written whole or not at all, and the newest two are kept.
    As long as it trains, `training.lock` keeps every other process from
    training in the directory; that of a killed one holds nobody up.
    Among several workers one writes and all of them read; they need a folder
    that all of them see.

    Args:
        directory: path. Of the run; files lie in its folder `checkpoints`.
        every: int. Steps between two checkpoints within an epoch.
        resume: bool. False asks for a directory without a run.

    Raises:
        ValueError: from `fit`, where the directory holds a run of another
            model, optimizer or data, whose differences are named; where it
            holds one at all and `resume=False`; where another process trains
            there; or where the number of steps in an epoch is not known.
        FloatingPointError: a weight turned NaN or infinite.
    """

    @checked(directory=folder(), every=integer(1), resume=flag())
    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: int = 500,
        resume: bool = True,
    ) -> None:
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.every = every
        self.resume = resume
        self._folder = CheckpointFolder(self.directory / "checkpoints")

    def on_train_begin(self, logs=None):
        run = self._run = self.model.run
        if workers.is_chief():
            # Until the fit ends, and with it at the latest the process.
            run.at_end.enter_context(
                only_process(
                    self.directory / "training.lock",
                    f"trains in {self.directory}",
                )
            )
        if run.steps_per_epoch is None:
            raise ValueError(
                "Checkpoints need to know how many steps an epoch has, but "
                "this dataset has no length. Pass fit(steps_per_epoch=...)."
            )
        self._pending = None
        self._stopped = False
        self._seed = state.seed_of_torch()
        self._description = state.describe(
            self.model,
            steps_per_epoch=run.steps_per_epoch,
            batches=run.batch_settings,
        )
        # A run is the same whatever was read of its batches before.
        run.start_at(self.model, run.epoch, 0, 0)
        newest = self._folder.newest()
        if newest is not None:
            self._restore(*newest)
        if not run.starts_within_epochs:
            workers.say(
                "These batches cannot be started in the middle of an epoch, "
                "as those of keras_setr.data can: checkpoints are written at "
                "the end of each epoch, and an interrupted one begins anew."
            )

    def _restore(self, path, record, arrays):
        run = self._run
        if not self.resume:
            raise ValueError(
                f"{self.directory} holds a run already, and resume=False asks "
                "for a new one. Name another directory, or remove this one."
            )
        differences = state.differences(
            record["description"],
            self._description,
            state.defaults(self.model),
        )
        if differences:
            raise ValueError(
                f"{self.directory} holds a run with other settings:\n  "
                + "\n  ".join(differences[:8])
                + "\nStart with the settings of before to go on, or name "
                "another directory to start anew."
            )
        state.restore_variables(self.model, arrays)
        state.restore_decay_span(self.model, record["decay_span"])
        run.last_checkpoint = path
        self._seed = record["seed"]
        epoch, step = record["epoch"], record["step"]
        longer = run.epochs > record["epochs"]
        done = f"epoch {epoch} of {run.epochs}"
        if epoch >= run.epochs or (record["stopped"] and not longer):
            workers.say(
                f"The run in {self.directory} is finished "
                f"{'early, ' if record['stopped'] else ''}after {done}; its "
                "weights are loaded and nothing is trained."
            )
            run.start_at(self.model, max(epoch, run.epochs), 0, record["steps"])
            return
        run.start_at(self.model, epoch, step, record["steps"])
        self._pending = record, arrays
        workers.say(
            f"Going on from {path}: {done} done, then {step} of "
            f"{counted(run.steps_per_epoch, 'step')}."
        )
        if run.epochs != record["epochs"]:
            workers.say(
                f"The run has {counted(run.epochs, 'epoch')} now and had "
                f"{record['epochs']} before: the learning rate decays over "
                "the new length."
            )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._offset = self._run.step if epoch == self._run.epoch else 0
        self._done = self._offset
        if self._pending is not None:
            states = self._pending[0]["callbacks"]
            for name, callback in self._stateful_callbacks().items():
                if name in states:
                    callback.set_state(states[name])
            if not self._offset:
                self._restore_moment()
        elif epoch == self._run.epoch:
            # So that a restart begins with the same weights, seed or not.
            self._save(epoch, 0)
        state.reseed_torch(self._seed, epoch)

    def on_train_batch_begin(self, batch, logs=None):
        if self._pending is not None:
            self._restore_moment()
        step = self._offset + batch
        if step >= self._run.steps_per_epoch:
            # A shorter first epoch. Keras would run into the end of the data,
            # and TensorFlow's step has drawn random numbers by then.
            raise StopIteration
        due = step // self.every > self._done // self.every
        self._done = step
        if due and self._run.starts_within_epochs:
            self._save(self._epoch, step)

    def _restore_moment(self):
        """What Keras has touched since: metrics and random generators.

        It is set at the moment of the step at which it was read. Torch's
        loader, for one, draws a random number as each epoch begins.
        """
        _, arrays = self._pending
        if self._offset:
            state.restore_metrics(self.model, arrays)
        state.restore_generators(self.model, arrays)
        self._pending = None

    def on_epoch_end(self, epoch, logs=None):
        last = self._run.steps_per_epoch - self.model.steps_per_execution
        if self._done < last:
            # Another callback broke the epoch off; validation has since
            # cleared its metrics, so the checkpoint before stays the last.
            return
        self._stopped = any(
            getattr(c, "stopped_epoch", 0) for c in self._others()
        )
        self._save(epoch + 1, 0)

    def _save(self, epoch, step):
        run, model = self._run, self.model
        steps = run.steps_before(epoch) + step
        record = {
            "epoch": epoch,
            "step": step,
            "steps": steps,
            "stopped": self._stopped,
            "epochs": run.epochs,
            "seed": self._seed,
            "description": self._description,
            "decay_span": state.decay_span(model),
            "callbacks": {
                name: callback.get_state()
                for name, callback in self._stateful_callbacks().items()
            },
        }
        arrays = self._finite(state.iterate_arrays(model), epoch, step)
        if workers.is_chief():
            run.last_checkpoint = self._folder.write(steps, record, arrays)
            return
        for _ in arrays:
            # To read a variable may take every worker.
            pass

    def _finite(self, arrays, epoch, step):
        """Passes on the arrays, but never a weight that is not a number."""
        for name, array in arrays:
            if name.startswith(("model/", "optimizer/")):
                # bfloat16 is no float to NumPy.
                if (
                    array.dtype.kind in "fV"
                    and not np.isfinite(array.astype("float32")).all()
                ):
                    raise not_finite_error("A weight", self._run, epoch, step)
            yield name, array

    def _others(self):
        return [c for c in self._run.callbacks if c is not self]

    def _stateful_callbacks(self):
        found = [c for c in self._others() if hasattr(c, "get_state")]
        return {
            f"{index} {type(callback).__name__}": callback
            for index, callback in enumerate(found)
        }
