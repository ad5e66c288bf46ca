"""SETR (CVPR 2021) semantic segmentation for Keras 3."""
