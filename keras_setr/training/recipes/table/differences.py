"""Where the paper, the authors' code and mmsegmentation disagree, in words."""

PRETRAINING = (
    "The paper names ImageNet-21k; the authors' configurations load the ViT "
    "that was then fine-tuned on ImageNet-1k."
)
MLA_DECODER = (
    "The text halves the encoder's channels at the first and third "
    "convolution and has 2-layer auxiliary heads on the encoder; the code has "
    "256 and 128 channels and auxiliary classifiers on its neck."
)
MLA_RATE = (
    "The paper's rate on Cityscapes is 0.01, that of the MLA configurations "
    "0.002."
)
NAIVE_RATE = (
    "The paper's rate is 0.001 here, that of the Naive configurations 0.01."
)
THREE_SCALES = (
    "The paper tests six scales; this configuration 0.5, 0.75 and 1, which "
    "all come out at the window's size."
)
README_FIGURE = (
    "The README's figures are shown first: they belong to the configurations "
    "and to the weights that were released."
)
NO_CONFIGURATION = "No configuration was released for this row."
SAME_DEPTH = (
    "The layers and the rate are those of the authors' DeiT configuration of "
    "the same depth and decoder, the pretraining that of their Naive-S."
)
SERVER = (
    "The paper does not say how many scales the test server's figure is from."
)
MMSEGMENTATION = (
    "The decoder is mmsegmentation's own, and so are its figures; the steps, "
    "the rates and the crops are the authors'. That it starts from the "
    "authors' encoder file is an assumption. Its scales multiply the image "
    "itself."
)
NO_LAST_AUXILIARY = "It has no auxiliary head on Z^24."
NO_DEIT_ROW = "The paper has no row with DeiT."
DEIT_PUP = (
    "The paper has no row with DeiT. The released configuration's heads expect "
    "1024 channels and cannot run on the encoder's 768; here they have the "
    "encoder's."
)
