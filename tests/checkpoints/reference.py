"""A vision transformer in NumPy, and its weights in every known naming.

Independent of the package: equations 1 to 3 of the paper, with weights in a
plain dict whose linear layers are `(in, out)`.
"""

import math

import numpy as np

GRID, PATCH, CHANNELS = (3, 3), 4, 3
DEPTH, DIM, HEADS, MLP_DIM = 2, 12, 3, 20


def random_weights(seed=0, special_tokens=1, layer_scale=False, registers=0):
    """`special_tokens`: 1 for a class token, 2 with a distillation token."""
    rng = np.random.default_rng(seed)

    def normal(*shape, around=0.0):
        return (around + 0.3 * rng.normal(size=shape)).astype("float32")

    weights = {
        "patches": normal(PATCH, PATCH, CHANNELS, DIM),
        "patches_bias": normal(DIM),
        "class_token": normal(1, 1, DIM),
        "positions": normal(1, special_tokens + math.prod(GRID), DIM),
        "final": (normal(DIM, around=1), normal(DIM)),
        "layers": [],
    }
    if special_tokens == 2:
        weights["distillation_token"] = normal(1, 1, DIM)
    if registers:
        weights["registers"] = normal(1, registers, DIM)
    for _ in range(DEPTH):
        layer = {
            "norm_1": (normal(DIM, around=1), normal(DIM)),
            "norm_2": (normal(DIM, around=1), normal(DIM)),
            "output": (normal(DIM, DIM), normal(DIM)),
            "fc1": (normal(DIM, MLP_DIM), normal(MLP_DIM)),
            "fc2": (normal(MLP_DIM, DIM), normal(DIM)),
        }
        for name in ("query", "key", "value"):
            layer[name] = (normal(DIM, DIM), normal(DIM))
        if layer_scale:
            layer["scales"] = (normal(DIM), normal(DIM))
        weights["layers"].append(layer)
    return weights


def _layer_norm(x, scale_and_shift, epsilon=1e-6):
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    scale, shift = scale_and_shift
    return (x - mean) / np.sqrt(variance + epsilon) * scale + shift


def _gelu(x):
    erf = np.vectorize(math.erf)
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def forward(weights, images, final_norm=False, epsilon=1e-6):
    """Z^L of `(B, 12, 12, 3)` images as `(B, 3, 3, D)`, in float64."""
    batch = len(images)
    (rows, columns), p = GRID, PATCH
    x = images.astype("float64").reshape(batch, rows, p, columns, p, CHANNELS)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
    x = x @ weights["patches"].reshape(-1, DIM) + weights["patches_bias"]
    # The distillation token of DeiT, where there is one, is left out, as
    # the authors of SETR do: its row of the positions is skipped.
    positions = weights["positions"][0].astype("float64")
    x = x + positions[-rows * columns :]
    prefix = [np.repeat(weights["class_token"] + positions[:1], batch, 0)]
    if "registers" in weights:
        prefix.append(np.repeat(weights["registers"], batch, 0))
    x = np.concatenate([*prefix, x], axis=1)

    def heads(tokens, linear):
        y = tokens @ linear[0] + linear[1]
        return y.reshape(batch, -1, HEADS, DIM // HEADS).transpose(0, 2, 1, 3)

    for layer in weights["layers"]:
        y = _layer_norm(x, layer["norm_1"], epsilon)
        q, k, v = (heads(y, layer[n]) for n in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(DIM // HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        y = scores / scores.sum(-1, keepdims=True) @ v
        y = y.transpose(0, 2, 1, 3).reshape(batch, -1, DIM)
        y = y @ layer["output"][0] + layer["output"][1]
        scale_1, scale_2 = layer.get("scales", (1.0, 1.0))
        x = x + scale_1 * y
        y = _layer_norm(x, layer["norm_2"], epsilon)
        y = _gelu(y @ layer["fc1"][0] + layer["fc1"][1])
        x = x + scale_2 * (y @ layer["fc2"][0] + layer["fc2"][1])
    if final_norm:
        x = _layer_norm(x, weights["final"], epsilon)
    return x[:, -rows * columns :].reshape(batch, rows, columns, DIM)


# === The same weights under the names of others ===


def _linear(state, name, linear, transpose=True):
    kernel, bias = linear
    state[f"{name}.weight"] = np.ascontiguousarray(kernel.T)
    state[f"{name}.bias"] = bias


def _norm(state, name, norm):
    state[f"{name}.weight"], state[f"{name}.bias"] = norm


def _patches(state, name, weights):
    kernel = weights["patches"].transpose(3, 2, 0, 1)
    state[f"{name}.weight"] = np.ascontiguousarray(kernel)
    state[f"{name}.bias"] = weights["patches_bias"]


def _joined(layer):
    parts = [layer[name] for name in ("query", "key", "value")]
    return tuple(
        np.concatenate([part[i] for part in parts], axis=-1) for i in (0, 1)
    )


def as_timm(weights, head=True):
    state = {
        "cls_token": weights["class_token"],
        "pos_embed": weights["positions"],
    }
    if "distillation_token" in weights:
        state["dist_token"] = weights["distillation_token"]
    if "registers" in weights:
        state["reg_token"] = weights["registers"]
    _patches(state, "patch_embed.proj", weights)
    for index, layer in enumerate(weights["layers"]):
        block = f"blocks.{index}"
        _norm(state, f"{block}.norm1", layer["norm_1"])
        _norm(state, f"{block}.norm2", layer["norm_2"])
        _linear(state, f"{block}.attn.qkv", _joined(layer))
        _linear(state, f"{block}.attn.proj", layer["output"])
        _linear(state, f"{block}.mlp.fc1", layer["fc1"])
        _linear(state, f"{block}.mlp.fc2", layer["fc2"])
        if "scales" in layer:
            for branch, scale in enumerate(layer["scales"], start=1):
                state[f"{block}.ls{branch}.gamma"] = scale
    _norm(state, "norm", weights["final"])
    if head:
        state["head.weight"] = np.zeros((10, DIM), "float32")
        state["head.bias"] = np.zeros(10, "float32")
    return state


def as_hugging_face(weights, prefix, dinov2=False):
    """transformers' ViT and DeiT, or its DINOv2."""
    embeddings = f"{prefix}embeddings"
    state = {
        f"{embeddings}.cls_token": weights["class_token"],
        f"{embeddings}.position_embeddings": weights["positions"],
    }
    if dinov2:
        state[f"{embeddings}.mask_token"] = np.zeros((1, DIM), "float32")
    if "distillation_token" in weights:
        token = weights["distillation_token"]
        state[f"{embeddings}.distillation_token"] = token
    if "registers" in weights:
        state[f"{embeddings}.register_tokens"] = weights["registers"]
    _patches(state, f"{embeddings}.patch_embeddings.projection", weights)
    norms = (
        ("norm1", "norm2")
        if dinov2
        else (
            "layernorm_before",
            "layernorm_after",
        )
    )
    mlp = (
        ("mlp.fc1", "mlp.fc2")
        if dinov2
        else (
            "intermediate.dense",
            "output.dense",
        )
    )
    for index, layer in enumerate(weights["layers"]):
        block = f"{prefix}encoder.layer.{index}"
        for ours, theirs in zip(("norm_1", "norm_2"), norms):
            _norm(state, f"{block}.{theirs}", layer[ours])
        for name in ("query", "key", "value"):
            _linear(state, f"{block}.attention.attention.{name}", layer[name])
        _linear(state, f"{block}.attention.output.dense", layer["output"])
        for ours, theirs in zip(("fc1", "fc2"), mlp):
            _linear(state, f"{block}.{theirs}", layer[ours])
        if "scales" in layer:
            for branch, scale in enumerate(layer["scales"], start=1):
                state[f"{block}.layer_scale{branch}.lambda1"] = scale
    _norm(state, f"{prefix}layernorm", weights["final"])
    return state


def as_hugging_face_5(weights, prefix="vit."):
    """The names that transformers 5 holds in memory."""
    state = {}
    for name, value in as_hugging_face(weights, prefix).items():
        for old, new in (
            ("encoder.layer.", "layers."),
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(old, new)
        state[name] = value
    return state


def as_google(weights):
    head_dim = DIM // HEADS
    state = {
        "cls": weights["class_token"],
        "embedding/kernel": weights["patches"],
        "embedding/bias": weights["patches_bias"],
        "Transformer/posembed_input/pos_embedding": weights["positions"],
        "Transformer/encoder_norm/scale": weights["final"][0],
        "Transformer/encoder_norm/bias": weights["final"][1],
        "head/kernel": np.zeros((DIM, 10), "float32"),
        "head/bias": np.zeros(10, "float32"),
        "pre_logits/kernel": np.zeros((DIM, DIM), "float32"),
        "pre_logits/bias": np.zeros(DIM, "float32"),
    }
    for index, layer in enumerate(weights["layers"]):
        block = f"Transformer/encoderblock_{index}"
        for name, norm in (
            ("LayerNorm_0", "norm_1"),
            ("LayerNorm_2", "norm_2"),
        ):
            state[f"{block}/{name}/scale"] = layer[norm][0]
            state[f"{block}/{name}/bias"] = layer[norm][1]
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            kernel, bias = layer[name]
            state[f"{attention}/{name}/kernel"] = kernel.reshape(
                DIM, HEADS, head_dim
            )
            state[f"{attention}/{name}/bias"] = bias.reshape(HEADS, head_dim)
        kernel, bias = layer["output"]
        state[f"{attention}/out/kernel"] = kernel.reshape(HEADS, head_dim, DIM)
        state[f"{attention}/out/bias"] = bias
        for name, linear in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            kernel, bias = layer[linear]
            state[f"{block}/MlpBlock_3/{name}/kernel"] = kernel
            state[f"{block}/MlpBlock_3/{name}/bias"] = bias
    return state


def as_mmsegmentation(weights, prefix="backbone."):
    """The encoder of mmsegmentation 1.x and of its converted ViT files."""
    state = {}
    for name, value in as_timm(weights, head=False).items():
        if name.startswith("norm."):
            continue
        for old, new in (
            ("patch_embed.proj", "patch_embed.projection"),
            ("blocks.", "layers."),
            (".norm1.", ".ln1."),
            (".norm2.", ".ln2."),
            ("attn.qkv.", "attn.attn.in_proj_"),
            ("attn.proj.", "attn.attn.out_proj."),
            ("mlp.fc1.", "ffn.layers.0.0."),
            ("mlp.fc2.", "ffn.layers.1."),
        ):
            name = name.replace(old, new)
        state[prefix + name] = value
    return state


def fill_keras_hub_deit(backbone, weights):
    """Give a `keras_hub.models.DeiTBackbone` these weights."""
    head_dim = DIM // HEADS
    values = {
        "class_token": weights["class_token"],
        "distillation_token": weights["distillation_token"],
        "position_embedding": weights["positions"],
        "patch_embedding/kernel": weights["patches"],
        "patch_embedding/bias": weights["patches_bias"],
        "deit_encoder/ln/gamma": weights["final"][0],
        "deit_encoder/ln/beta": weights["final"][1],
    }
    for index, layer in enumerate(weights["layers"], start=1):
        block = f"transformer_block_{index}"
        for norm in ("1", "2"):
            values[f"{block}/ln_{norm}/gamma"] = layer[f"norm_{norm}"][0]
            values[f"{block}/ln_{norm}/beta"] = layer[f"norm_{norm}"][1]
        for name in ("query", "key", "value"):
            kernel, bias = layer[name]
            values[f"{block}/mha/{name}/kernel"] = kernel.reshape(
                DIM, HEADS, head_dim
            )
            values[f"{block}/mha/{name}/bias"] = bias.reshape(HEADS, head_dim)
        output = f"{block}/mha/attention_output"
        kernel, bias = layer["output"]
        values[f"{output}/kernel"] = kernel.reshape(HEADS, head_dim, DIM)
        values[f"{output}/bias"] = bias
        for name, linear in (
            ("mlp/dense", "fc1"),
            ("output_layer/output", "fc2"),
        ):
            values[f"{block}/{name}/kernel"] = layer[linear][0]
            values[f"{block}/{name}/bias"] = layer[linear][1]
    for name, value in values.items():
        (variable,) = [v for v in backbone.weights if v.path.endswith(name)]
        variable.assign(value)


def with_decoder_of_the_authors(weights, model, num_classes, seed=1):
    """The authors' whole file around an encoder of two layers."""
    rng = np.random.default_rng(seed)

    def normal(*shape, around=0.0):
        return (around + 0.3 * rng.normal(size=shape)).astype("float32")

    state = {
        f"backbone.{name}": value
        for name, value in as_timm(weights, head=False).items()
        if not name.startswith("norm.") and name != "dist_token"
    }

    def conv(name, out, into, kernel, bias=True):
        state[f"{name}.weight"] = normal(out, into, kernel, kernel)
        if bias:
            state[f"{name}.bias"] = normal(out)

    def norm(name, channels, batch=True):
        state[f"{name}.weight"] = normal(channels, around=1)
        state[f"{name}.bias"] = normal(channels)
        if batch:
            state[f"{name}.running_mean"] = normal(channels)
            state[f"{name}.running_var"] = np.exp(normal(channels))
            state[f"{name}.num_batches_tracked"] = np.array(7, "int64")

    def up_head(name, stages, kernel):
        norm(f"{name}.norm", DIM, batch=False)
        into = DIM
        for index in range(stages):
            conv(f"{name}.conv_{index}", 6, into, kernel)
            norm(f"{name}.syncbn_fc_{index}", 6)
            into = 6
        conv(f"{name}.conv_{stages}", num_classes, 6, 1)
        conv(f"{name}.conv_seg", num_classes, 512, 1)

    if model in ("naive", "pup"):
        kernel = 1 if model == "naive" else 3
        up_head("decode_head", 1 if model == "naive" else 4, kernel)
        up_head("auxiliary_head.0", 1, kernel)
        return state
    for level in range(2, 6):
        norm(f"backbone.norm_{level - 2}", DIM, batch=False)
        conv(f"backbone.mla.mla_p{level}_1x1.0", 8, DIM, 1, bias=False)
        norm(f"backbone.mla.mla_p{level}_1x1.1", 8)
        conv(f"backbone.mla.mla_p{level}.0", 8, 8, 3, bias=False)
        norm(f"backbone.mla.mla_p{level}.1", 8)
        head = f"decode_head.mlahead.head{level}"
        conv(f"{head}.0", 4, 8, 3, bias=False)
        norm(f"{head}.1", 4)
        conv(f"{head}.3", 4, 4, 3, bias=False)
        norm(f"{head}.4", 4)
        conv(f"auxiliary_head.{level - 2}.aux", num_classes, 8, 1, bias=False)
    conv("decode_head.cls", num_classes, 16, 3)
    return state


# === The authors' decoders in NumPy, after their code's description ===


def _convolve(x, kernel, bias=None):
    """`(B, h, w, C)` with torch's `(out, in, k, k)`, zero padded."""
    k = kernel.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    h, w = x.shape[1:3]
    y = sum(
        padded[:, i : i + h, j : j + w] @ kernel[:, :, i, j].T
        for i in range(k)
        for j in range(k)
    )
    return y if bias is None else y + bias


def _conv_bn_relu(state, x, conv, norm):
    y = _convolve(x, state[f"{conv}.weight"], state.get(f"{conv}.bias"))
    mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    y = (y - mean) / np.sqrt(var + 1e-5)
    return np.maximum(y * state[f"{norm}.weight"] + state[f"{norm}.bias"], 0)


def _weights_along(source, target, align_corners):
    matrix = np.zeros((target, source))
    for i in range(target):
        if align_corners:
            x = i * (source - 1) / (target - 1)
        else:
            x = min(max((i + 0.5) * source / target - 0.5, 0), source - 1)
        below = min(int(x), source - 1)
        above = min(below + 1, source - 1)
        matrix[i, below] += 1 - (x - below)
        matrix[i, above] += x - below
    return matrix


def _resize(x, size, align_corners=False):
    rows = _weights_along(x.shape[1], size[0], align_corners)
    columns = _weights_along(x.shape[2], size[1], align_corners)
    return np.einsum("Hh,bhwc,Ww->bHWc", rows, x, columns)


def _times(x, factor, align_corners=False):
    size = (x.shape[1] * factor, x.shape[2] * factor)
    return _resize(x, size, align_corners)


def _up_head(state, name, x, stages, scale):
    norm = (state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])
    x = _layer_norm(x, norm)
    for i in range(stages):
        x = _conv_bn_relu(state, x, f"{name}.conv_{i}", f"{name}.syncbn_fc_{i}")
        # PUP's last doubling follows the classifier, with which it commutes.
        if i < stages - 1 or stages == 1:
            x = _times(x, scale)
    conv = f"{name}.conv_{stages}"
    return _convolve(x, state[f"{conv}.weight"], state[f"{conv}.bias"])


def authors_decode(state, model, features, size):
    """Logits and auxiliary logits, `features[l]` being Z^l."""
    if model in ("naive", "pup"):
        naive = model == "naive"
        stages, scale = (1, 1) if naive else (4, 2)
        main = _up_head(state, "decode_head", features[2], stages, scale)
        first = _up_head(
            state, "auxiliary_head.0", features[1], 1, 1 if naive else 4
        )
        return _resize(main, size), [first]
    levels = []
    for level, layer in zip(range(2, 6), (1, 1, 2, 2)):
        norm = f"backbone.norm_{level - 2}"
        x = _layer_norm(
            features[layer], (state[f"{norm}.weight"], state[f"{norm}.bias"])
        )
        p = f"backbone.mla.mla_p{level}_1x1"
        levels.append(_conv_bn_relu(state, x, f"{p}.0", f"{p}.1"))
    for index in (2, 1, 0):
        levels[index] = levels[index] + levels[index + 1]
    auxiliary, streams = [], []
    for level in range(2, 6):
        p = f"backbone.mla.mla_p{level}"
        x = _conv_bn_relu(state, levels[level - 2], f"{p}.0", f"{p}.1")
        kernel = state[f"auxiliary_head.{level - 2}.aux.weight"]
        auxiliary.append(_convolve(x, kernel))
        head = f"decode_head.mlahead.head{level}"
        for i in (0, 3):
            x = _conv_bn_relu(state, x, f"{head}.{i}", f"{head}.{i + 1}")
        streams.append(_times(x, 4, align_corners=True))
    x = np.concatenate(streams, axis=-1)
    cls = "decode_head.cls"
    x = _convolve(x, state[f"{cls}.weight"], state[f"{cls}.bias"])
    return _resize(x, size), auxiliary
