"""The encoder's matrices, which LoRA may adapt and int8 may replace."""

import keras
from keras import ops

from keras_setr.layers.on_cpu import product


class Projection(keras.layers.Dense):
    """`keras.layers.Dense` whose LoRA and int8 values survive a file.

    Keras writes the kernel with its LoRA in it and reads it back with both
    LoRA matrices at zero, from where no gradient leads away; and it reads
    int8 only where the layer was quantised before.
    """

    def call(self, inputs, training=None):
        x = product(inputs, self.kernel)
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def load_own_variables(self, store):
        kernel_is_int8 = "0" in store.keys() and "int8" in str(store["0"].dtype)
        if kernel_is_int8 and self.quantization_mode is None:
            self.quantize("int8", type_check=False)
        super().load_own_variables(store)
        if self.lora_enabled:
            # As `enable_lora` leaves them: the second at zero.
            first = self.lora_kernel_a
            initializer = keras.initializers.HeUniform()
            first.assign(initializer(first.shape, first.dtype))
