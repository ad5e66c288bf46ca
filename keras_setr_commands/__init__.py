"""The command line: `keras-setr train`, `evaluate`, `segment`, ..

A package of its own, as importing `keras_setr` takes many seconds: Keras finds
the classes of a saved model only where they have been imported. Here nothing
heavy is imported before the arguments are known to be right.
"""
