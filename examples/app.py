"""`keras-setr app` as a script: keras_setr_commands/app.py."""

import sys

from keras_setr_commands.main import run

if __name__ == "__main__":
    sys.exit(run("app"))
