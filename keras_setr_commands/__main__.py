"""`python -m keras_setr_commands`: the command without an installed script."""

import sys

from keras_setr_commands.main import main

if __name__ == "__main__":
    sys.exit(main(name="python -m keras_setr_commands"))
