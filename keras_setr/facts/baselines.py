"""mmsegmentation's FCN and Semantic FPN: what it trained, and its figures.

Of its model zoo (metafile.yaml of 1.2.2) those on ResNet-50 and ResNet-101,
on the data sets of the paper. FCN has output stride 8 there, or is of the kind
D6, which the paper does not use.
"""

from typing import Any
from typing import NamedTuple

FCN_D8: dict[str, int] = {"output_stride": 8, "dilation_rate": 1}
FCN_D6: dict[str, int] = {"output_stride": 16, "dilation_rate": 6}


class Baseline(NamedTuple):
    """One trained model.

    Attributes:
        decoder: `"fcn"` or `"semantic_fpn"`.
        depth: int. Of the ResNet.
        dataset: a key of `DATASETS`.
        crop: int, or `(H, W)`. Of the training; crops of 769 align corners.
        thousand_steps: int.
        stamp: str. How its file ends: date, time and the first digits of its
            hash.
        miou, miou_multi_scale: float, percent.
        is_d6: bool. Whether an FCN is `FCN_D6`.
    """

    decoder: str
    depth: int
    dataset: str
    crop: int | tuple[int, int]
    thousand_steps: int
    stamp: str
    miou: float
    miou_multi_scale: float
    is_d6: bool = False

    @property
    def crop_size(self) -> tuple[int, int]:
        """`crop` as `(H, W)`."""
        crop = self.crop
        return (crop, crop) if isinstance(crop, int) else crop

    @property
    def name(self) -> str:
        """Of the preset, and of its recipe."""
        height, width = self.crop_size
        size = height if height == width else f"{height}x{width}"
        kind = "_d6" if self.is_d6 else ""
        return (
            f"{self.decoder}{kind}_resnet{self.depth}_{self.dataset}_{size}_"
            f"{self.thousand_steps}k"
        )

    @property
    def file(self) -> str:
        """Its name, as mmsegmentation calls it."""
        kind = "fpn"
        if self.decoder == "fcn":
            kind = "fcn_d6" if self.is_d6 else "fcn"
        stride = {"fpn": "", "fcn": "-d8", "fcn_d6": "-d16"}[kind]
        height, width = self.crop_size
        return (
            f"{kind}_r{self.depth}{stride}_{height}x{width}_"
            f"{self.thousand_steps}k_{self.dataset}_{self.stamp}.pth"
        )

    @property
    def url(self) -> str:
        zoo = {"fcn": "fcn", "semantic_fpn": "sem_fpn"}[self.decoder]
        folder = self.file.rpartition("_20")[0]
        return (
            "https://download.openmmlab.com/mmsegmentation/v0.5/"
            f"{zoo}/{folder}/{self.file}"
        )

    @property
    def aligns_corners(self) -> bool:
        return self.crop == 769

    @property
    def arguments(self) -> dict[str, Any]:
        """What the model needs and no tensor of the file tells."""
        corners = {"align_corners": True} if self.aligns_corners else {}
        return corners | (FCN_D6 if self.is_d6 else {})


_WIDE = (512, 1024)
_FCN_ROWS = (
    (50, "cityscapes", _WIDE, 40, "20200604_192608-efe53f0d", 72.25, 73.36),
    (101, "cityscapes", _WIDE, 40, "20200604_181852-a883d3a1", 75.45, 76.58),
    (50, "cityscapes", _WIDE, 80, "20200606_113019-03aa804d", 73.61, 74.24),
    (101, "cityscapes", _WIDE, 80, "20200606_113038-3fb937eb", 75.13, 75.94),
    (50, "cityscapes", 769, 40, "20200606_113104-977b5d02", 71.47, 72.54),
    (101, "cityscapes", 769, 40, "20200606_113208-7d4ab69c", 73.93, 75.14),
    (50, "cityscapes", 769, 80, "20200606_195749-f5caeabc", 72.64, 73.32),
    (101, "cityscapes", 769, 80, "20200606_214354-45cbac68", 75.52, 76.61),
    (50, "ade20k", 512, 80, "20200614_144016-f8ac5082", 35.94, 37.94),
    (101, "ade20k", 512, 80, "20200615_014143-bc1809f7", 39.61, 40.83),
    (50, "ade20k", 512, 160, "20200615_100713-4edbc3b4", 36.10, 38.08),
    (101, "ade20k", 512, 160, "20200615_105816-fd192bd5", 39.91, 41.40),
    (101, "pascal_context", 480, 40, "20210421_154757-b5e97937", 44.43, 45.63),
    (101, "pascal_context", 480, 80, "20210421_163310-4711813f", 44.13, 45.26),
    (
        *(101, "pascal_context_59", 480, 40),
        *("20210415_230724-8cf83682", 48.42, 50.40),
    ),
    (
        *(101, "pascal_context_59", 480, 80),
        *("20210416_110804-9a6f2c94", 49.35, 51.38),
    ),
)
_FCN_D6_ROWS = (
    (50, "cityscapes", _WIDE, 40, "20210305_130133-98d5d1bc", 77.06, 78.85),
    (101, "cityscapes", _WIDE, 40, "20210305_130337-9cf2b450", 77.36, 79.18),
    (50, "cityscapes", _WIDE, 80, "20210306_115604-133c292f", 77.27, 78.88),
    (101, "cityscapes", _WIDE, 80, "20210308_102747-cb336445", 78.46, 80.42),
    (50, "cityscapes", 769, 40, "20210305_185744-1aab18ed", 76.82, 78.22),
    (101, "cityscapes", 769, 40, "20210308_102453-60b114e9", 77.28, 78.95),
    (50, "cityscapes", 769, 80, "20210305_200413-109d88eb", 77.04, 78.40),
    (101, "cityscapes", 769, 80, "20210306_120016-e33adc4f", 78.06, 79.58),
)
_FPN_ROWS = (
    (50, "cityscapes", _WIDE, 80, "20200717_021437-94018a0d", 74.52, 76.08),
    (101, "cityscapes", _WIDE, 80, "20200717_012416-c5800d4c", 75.80, 77.40),
    (50, "ade20k", 512, 160, "20200718_131734-5b5a6ab9", 37.49, 39.09),
    (101, "ade20k", 512, 160, "20200718_131734-306b5004", 39.35, 40.72),
)


def _baselines(decoder, rows, is_d6=False):
    return [Baseline(decoder, *row, is_d6) for row in rows]


BASELINES = (
    *_baselines("fcn", _FCN_ROWS),
    *_baselines("fcn", _FCN_D6_ROWS, is_d6=True),
    *_baselines("semantic_fpn", _FPN_ROWS),
)
