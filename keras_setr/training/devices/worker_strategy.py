"""TensorFlow's strategy for several workers, as Keras' `fit` needs it."""


def worker_strategy():
    """A `MultiWorkerMirroredStrategy` under which Keras 3 trains.

    As shipped it does not: it would cut each worker's batches once more, by
    the files or rows of the dataset; and Keras averages its logs, which are
    scalars, over their first axis. Seen with Keras 3.15.1 and TensorFlow
    2.21.0; there is no public way to say either.
    """
    import tensorflow as tf

    class WorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
        def experimental_distribute_dataset(self, dataset, options=None):
            replicas = len(self.extended.worker_devices)

            def divided(*batch):
                return tf.data.Dataset.from_tensor_slices(
                    tf.nest.map_structure(
                        lambda part: tf.stack(tf.split(part, replicas)), batch
                    )
                )

            # A worker's batches are its part of the global ones already.
            if replicas > 1:
                dataset = dataset.flat_map(divided)
            return self.distribute_datasets_from_function(
                lambda context: dataset, options
            )

        def reduce(self, reduce_op, value, axis):
            if self.experimental_local_results(value)[0].shape.rank == 0:
                axis = None
            return super().reduce(reduce_op, value, axis)

    return WorkerStrategy()
