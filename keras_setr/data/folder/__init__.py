"""A folder of images and masks: found, read, checked and reported."""
