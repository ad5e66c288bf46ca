"""Images, masks and arrays between disk and NumPy, whole or not at all."""
