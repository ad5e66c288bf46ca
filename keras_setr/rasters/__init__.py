"""Rasters larger than the memory: aerial images, satellite scenes, slides.

- `plan`: how a raster is cut into bands, and what they take;
- `adapters`, `paths`: what is read and written, of other libraries and files;
- `progress`: how far a run has come;
- `segmenting`: the call with a model and what it checks;
- `run`, `bands`: what it does then, from windows read to bands written.

Keras is not needed: models of `load_exported` segment rasters, too.
"""

from keras_setr.rasters.adapters import SlideLevel
from keras_setr.rasters.plan import RasterPlan
from keras_setr.rasters.plan import plan_raster
from keras_setr.rasters.run import RasterRun
from keras_setr.rasters.segmenting import segment_raster

__all__ = [
    "RasterPlan",
    "RasterRun",
    "SlideLevel",
    "plan_raster",
    "segment_raster",
]


def __dir__():
    return __all__
