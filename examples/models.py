"""`keras-setr models` as a script: keras_setr_commands/models.py."""

import sys

from keras_setr_commands.main import run

if __name__ == "__main__":
    sys.exit(run("models"))
