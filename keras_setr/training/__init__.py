"""Around `fit`: recipes, several devices, checkpoints and callbacks."""
