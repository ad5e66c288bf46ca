"""Several devices and workers, chosen by what is there."""
