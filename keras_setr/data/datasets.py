"""Facts about the published datasets: class names and colours.

Label values are the positions in the tables, after the mapping to training
labels: trainIds for Cityscapes, 1 to 150 less one for ADE20K, and for Pascal
Context the order in which its own converter numbers the classes.
"""

import dataclasses

from keras_setr.classes import Classes

_CITYSCAPES = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

_ADE20K = (
    ("wall", (120, 120, 120)),
    ("building", (180, 120, 120)),
    ("sky", (6, 230, 230)),
    ("floor", (80, 50, 50)),
    ("tree", (4, 200, 3)),
    ("ceiling", (120, 120, 80)),
    ("road", (140, 140, 140)),
    ("bed", (204, 5, 255)),
    ("windowpane", (230, 230, 230)),
    ("grass", (4, 250, 7)),
    ("cabinet", (224, 5, 255)),
    ("sidewalk", (235, 255, 7)),
    ("person", (150, 5, 61)),
    ("earth", (120, 120, 70)),
    ("door", (8, 255, 51)),
    ("table", (255, 6, 82)),
    ("mountain", (143, 255, 140)),
    ("plant", (204, 255, 4)),
    ("curtain", (255, 51, 7)),
    ("chair", (204, 70, 3)),
    ("car", (0, 102, 200)),
    ("water", (61, 230, 250)),
    ("painting", (255, 6, 51)),
    ("sofa", (11, 102, 255)),
    ("shelf", (255, 7, 71)),
    ("house", (255, 9, 224)),
    ("sea", (9, 7, 230)),
    ("mirror", (220, 220, 220)),
    ("rug", (255, 9, 92)),
    ("field", (112, 9, 255)),
    ("armchair", (8, 255, 214)),
    ("seat", (7, 255, 224)),
    ("fence", (255, 184, 6)),
    ("desk", (10, 255, 71)),
    ("rock", (255, 41, 10)),
    ("wardrobe", (7, 255, 255)),
    ("lamp", (224, 255, 8)),
    ("bathtub", (102, 8, 255)),
    ("railing", (255, 61, 6)),
    ("cushion", (255, 194, 7)),
    ("base", (255, 122, 8)),
    ("box", (0, 255, 20)),
    ("column", (255, 8, 41)),
    ("signboard", (255, 5, 153)),
    ("chest of drawers", (6, 51, 255)),
    ("counter", (235, 12, 255)),
    ("sand", (160, 150, 20)),
    ("sink", (0, 163, 255)),
    ("skyscraper", (140, 140, 140)),
    ("fireplace", (250, 10, 15)),
    ("refrigerator", (20, 255, 0)),
    ("grandstand", (31, 255, 0)),
    ("path", (255, 31, 0)),
    ("stairs", (255, 224, 0)),
    ("runway", (153, 255, 0)),
    ("case", (0, 0, 255)),
    ("pool table", (255, 71, 0)),
    ("pillow", (0, 235, 255)),
    ("screen door", (0, 173, 255)),
    ("stairway", (31, 0, 255)),
    ("river", (11, 200, 200)),
    ("bridge", (255, 82, 0)),
    ("bookcase", (0, 255, 245)),
    ("blind", (0, 61, 255)),
    ("coffee table", (0, 255, 112)),
    ("toilet", (0, 255, 133)),
    ("flower", (255, 0, 0)),
    ("book", (255, 163, 0)),
    ("hill", (255, 102, 0)),
    ("bench", (194, 255, 0)),
    ("countertop", (0, 143, 255)),
    ("stove", (51, 255, 0)),
    ("palm", (0, 82, 255)),
    ("kitchen island", (0, 255, 41)),
    ("computer", (0, 255, 173)),
    ("swivel chair", (10, 0, 255)),
    ("boat", (173, 255, 0)),
    ("bar", (0, 255, 153)),
    ("arcade machine", (255, 92, 0)),
    ("hovel", (255, 0, 255)),
    ("bus", (255, 0, 245)),
    ("towel", (255, 0, 102)),
    ("light", (255, 173, 0)),
    ("truck", (255, 0, 20)),
    ("tower", (255, 184, 184)),
    ("chandelier", (0, 31, 255)),
    ("awning", (0, 255, 61)),
    ("streetlight", (0, 71, 255)),
    ("booth", (255, 0, 204)),
    ("television receiver", (0, 255, 194)),
    ("airplane", (0, 255, 82)),
    ("dirt track", (0, 10, 255)),
    ("apparel", (0, 112, 255)),
    ("pole", (51, 0, 255)),
    ("land", (0, 194, 255)),
    ("bannister", (0, 122, 255)),
    ("escalator", (0, 255, 163)),
    ("ottoman", (255, 153, 0)),
    ("bottle", (0, 255, 10)),
    ("buffet", (255, 112, 0)),
    ("poster", (143, 255, 0)),
    ("stage", (82, 0, 255)),
    ("van", (163, 255, 0)),
    ("ship", (255, 235, 0)),
    ("fountain", (8, 184, 170)),
    ("conveyer belt", (133, 0, 255)),
    ("canopy", (0, 255, 92)),
    ("washer", (184, 0, 255)),
    ("plaything", (255, 0, 31)),
    ("swimming pool", (0, 184, 255)),
    ("stool", (0, 214, 255)),
    ("barrel", (255, 0, 112)),
    ("basket", (92, 255, 0)),
    ("waterfall", (0, 224, 255)),
    ("tent", (112, 224, 255)),
    ("bag", (70, 184, 160)),
    ("minibike", (163, 0, 255)),
    ("cradle", (153, 0, 255)),
    ("oven", (71, 255, 0)),
    ("ball", (255, 0, 163)),
    ("food", (255, 204, 0)),
    ("step", (255, 0, 143)),
    ("tank", (0, 255, 235)),
    ("trade name", (133, 255, 0)),
    ("microwave", (255, 0, 235)),
    ("pot", (245, 0, 255)),
    ("animal", (255, 0, 122)),
    ("bicycle", (255, 245, 0)),
    ("lake", (10, 190, 212)),
    ("dishwasher", (214, 255, 0)),
    ("screen", (0, 204, 255)),
    ("blanket", (20, 0, 255)),
    ("sculpture", (255, 255, 0)),
    ("hood", (0, 153, 255)),
    ("sconce", (0, 41, 255)),
    ("vase", (0, 255, 204)),
    ("traffic light", (41, 0, 255)),
    ("tray", (41, 255, 0)),
    ("ashcan", (173, 0, 255)),
    ("fan", (0, 245, 255)),
    ("pier", (71, 0, 255)),
    ("crt screen", (122, 0, 255)),
    ("plate", (0, 255, 184)),
    ("monitor", (0, 92, 255)),
    ("bulletin board", (184, 255, 0)),
    ("shower", (0, 133, 255)),
    ("radiator", (255, 214, 0)),
    ("glass", (25, 194, 194)),
    ("clock", (102, 255, 0)),
    ("flag", (92, 0, 255)),
)

_PASCAL_CONTEXT = (
    ("background", (120, 120, 120)),
    ("aeroplane", (180, 120, 120)),
    ("bag", (6, 230, 230)),
    ("bed", (80, 50, 50)),
    ("bedclothes", (4, 200, 3)),
    ("bench", (120, 120, 80)),
    ("bicycle", (140, 140, 140)),
    ("bird", (204, 5, 255)),
    ("boat", (230, 230, 230)),
    ("book", (4, 250, 7)),
    ("bottle", (224, 5, 255)),
    ("building", (235, 255, 7)),
    ("bus", (150, 5, 61)),
    ("cabinet", (120, 120, 70)),
    ("car", (8, 255, 51)),
    ("cat", (255, 6, 82)),
    ("ceiling", (143, 255, 140)),
    ("chair", (204, 255, 4)),
    ("cloth", (255, 51, 7)),
    ("computer", (204, 70, 3)),
    ("cow", (0, 102, 200)),
    ("cup", (61, 230, 250)),
    ("curtain", (255, 6, 51)),
    ("dog", (11, 102, 255)),
    ("door", (255, 7, 71)),
    ("fence", (255, 9, 224)),
    ("floor", (9, 7, 230)),
    ("flower", (220, 220, 220)),
    ("food", (255, 9, 92)),
    ("grass", (112, 9, 255)),
    ("ground", (8, 255, 214)),
    ("horse", (7, 255, 224)),
    ("keyboard", (255, 184, 6)),
    ("light", (10, 255, 71)),
    ("motorbike", (255, 41, 10)),
    ("mountain", (7, 255, 255)),
    ("mouse", (224, 255, 8)),
    ("person", (102, 8, 255)),
    ("plate", (255, 61, 6)),
    ("platform", (255, 194, 7)),
    ("pottedplant", (255, 122, 8)),
    ("road", (0, 255, 20)),
    ("rock", (255, 8, 41)),
    ("sheep", (255, 5, 153)),
    ("shelves", (6, 51, 255)),
    ("sidewalk", (235, 12, 255)),
    ("sign", (160, 150, 20)),
    ("sky", (0, 163, 255)),
    ("snow", (140, 140, 140)),
    ("sofa", (250, 10, 15)),
    ("table", (20, 255, 0)),
    ("track", (31, 255, 0)),
    ("train", (255, 31, 0)),
    ("tree", (255, 224, 0)),
    ("truck", (153, 255, 0)),
    ("tvmonitor", (0, 0, 255)),
    ("wall", (255, 71, 0)),
    ("water", (0, 235, 255)),
    ("window", (0, 173, 255)),
    ("wood", (31, 0, 255)),
)

_CAMVID = (
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (60, 40, 222)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A published dataset.

    Attributes:
        name: str.
        classes: `Classes`, in the order of the training labels.
        crop_size: `(h, w)` of the published crops and test windows, or None.
        stride: `(int, int)` of the windows, or None.
        base_scale: the two sides into which test images are fitted, or None.
    """

    name: str
    classes: Classes
    crop_size: tuple | None = None
    stride: tuple | None = None
    base_scale: tuple | None = None

    @property
    def num_classes(self):
        return len(self.classes)


def _dataset(name, table, **test):
    names, palette = zip(*table)
    return Dataset(name, Classes(names, palette), **test)


def _test(crop, stride, base_scale):
    """The published test of one dataset (the authors' configs/SETR)."""
    return {
        "crop_size": (crop, crop),
        "stride": (stride, stride),
        "base_scale": base_scale,
    }


DATASETS = {
    dataset.name: dataset
    for dataset in (
        _dataset("cityscapes", _CITYSCAPES, **_test(768, 512, (1025, 2049))),
        _dataset("ade20k", _ADE20K, **_test(512, 341, (512, 2048))),
        _dataset(
            "pascal_context", _PASCAL_CONTEXT, **_test(480, 320, (520, 520))
        ),
        # The 59-class protocol leaves the background out.
        _dataset(
            "pascal_context_59",
            _PASCAL_CONTEXT[1:],
            **_test(480, 320, (520, 520)),
        ),
        _dataset("camvid", _CAMVID),
    )
}
