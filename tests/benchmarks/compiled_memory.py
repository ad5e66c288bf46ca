"""What XLA says that a training step needs, without running one.

    KERAS_BACKEND=jax python tests/benchmarks/compiled_memory.py \
        [--batch-size 1] [--policy mixed_bfloat16] [--crop 768]

Compiles the step of T-Large with PUP's decoder and all auxiliary heads, with
and without rematerialisation, and prints `compiled.memory_analysis()`: the
variables that the step takes and gives back, and what it holds in between.
The batch is that of one device; under data parallelism every device holds the
variables. The analysis is that of the device that JAX runs on.
"""

import argparse
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402
import keras  # noqa: E402

import keras_setr as ks  # noqa: E402


def analysis(args, rematerialize):
    keras.backend.clear_session()
    backbone = ks.SETRBackbone(
        **ks.T_LARGE,
        image_shape=(args.crop, args.crop, 3),
        rematerialize=rematerialize,
    )
    model = ks.SETRPUP(backbone, args.classes)
    model.compile(learning_rate=0.01, total_steps=80_000)
    model.optimizer.build(model.trainable_variables)
    size = (args.batch_size, args.crop, args.crop)
    batch = (
        jax.ShapeDtypeStruct((*size, 3), "float32"),
        jax.ShapeDtypeStruct(size, "int32"),
        None,
    )
    # Makes the variables of the metrics.
    model._symbolic_build(data_batch=batch)
    state = tuple(
        [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in group]
        for group in model._variables_of_a_step(model.optimizer.variables)
    )
    step = jax.jit(model.train_step, donate_argnums=0)
    return step.lower(state, batch).compile().memory_analysis()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--crop", type=int, default=768)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--policy", default="mixed_bfloat16")
    args = parser.parse_args()
    if keras.config.backend() != "jax":
        sys.exit("This asks XLA through JAX: set KERAS_BACKEND=jax.")
    keras.config.set_dtype_policy(args.policy)
    print(
        f"{args.policy}, batch of {args.batch_size}, crop {args.crop}, "
        f"compiled for {jax.default_backend()}"
    )
    print("| Rematerialised | Variables | In between | Together |")
    print("|---|---|---|---|")
    for rematerialize in (False, True):
        found = analysis(args, rematerialize)
        sizes = [found.argument_size_in_bytes, found.temp_size_in_bytes]
        cells = [f"{size / 1e9:.2f} GB" for size in (*sizes, sum(sizes))]
        row = ["yes" if rematerialize else "no", *cells]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
