"""ADE20K, the 150 classes of SceneParse150."""

from keras_setr.data.published.builders.archives import open_archive
from keras_setr.data.published.builders.examples import PairBuilder

_ARCHIVE = "ADEChallengeData2016.zip"
_NAMES = (_ARCHIVE, _ARCHIVE.removesuffix(".zip"))
_SOURCE = "http://sceneparsing.csail.mit.edu"


class ADE20K(PairBuilder):
    """Images and class maps of the scene parsing benchmark (Zhou et al.,
    CVPR 2017).

    Labels are 0..149, and 255 for the pixels of other objects, which are 0 in
    the files. TFDS's own `scene_parse150` holds 100 classes of instances.
    """

    name = "ade20k"
    HOMEPAGE = _SOURCE
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put {_ARCHIVE} from {_SOURCE} into manual_dir, packed."
    )

    def _split_generators(self, dl_manager):
        manual_dir = dl_manager.manual_dir
        # Opened here, so that a missing file is told before any work.
        open_archive(manual_dir, _NAMES, _SOURCE).__exit__()
        return {
            "train": self._generate_examples(manual_dir, "train", "training"),
            "validation": self._generate_examples(
                manual_dir, "validation", "validation"
            ),
        }

    def _generate_examples(self, manual_dir, split, folder):
        with open_archive(manual_dir, _NAMES, _SOURCE) as archive:
            top = "" if archive.path.is_dir() else "ADEChallengeData2016/"
            yield from self._pairs(
                archive,
                f"{top}images/{folder}",
                f"{top}annotations/{folder}",
                split,
            )
