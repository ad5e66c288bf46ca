"""Files of preset folders and handles: all that is used of KerasHub's inside.

KerasHub exports nothing that fetches one file of a preset. Seen with
keras_hub 0.32.0; `pyproject.toml` bounds the version.
"""

import json

from keras_hub.src.utils import preset_utils


def fetch(source, name):
    """The local path of one file of a preset folder or handle.

    Args:
        source: str. A folder, or a handle (`hf://`, `kaggle://`, `gs://`,
            `modelscope://`), of which the file is downloaded.
        name: str.

    Raises:
        FileNotFoundError: the source has no such file.
        ValueError: there is no such source.
    """
    return preset_utils.get_file(source, name)


def exists(source, name):
    """Whether a preset folder or handle has a file. It is fetched."""
    return preset_utils.check_file_exists(source, name)


def read_json(source, name):
    """The content of a JSON file, as `fetch` finds it.

    Raises:
        ValueError: it holds no JSON object; the message names the file.
    """
    path = fetch(source, name)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no complete JSON file ({error}); copy or download it "
            "again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold a JSON object. Received: "
            f"{type(content).__name__}."
        )
    return content


def read_weight_map(source, name):
    """Which files hold which tensors, of the JSON file that says so.

    Returns:
        dict from a tensor's name to that of a file, or a list of these.

    Raises:
        ValueError: as of `read_json`, or it holds no such dict.
    """
    weight_map = read_json(source, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(
            f'{name} of {source} must hold a "weight_map" of names and '
            f"files. Received: {weight_map!r}; copy or download it again."
        )
    return weight_map
