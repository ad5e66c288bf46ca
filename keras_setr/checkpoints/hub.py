"""Files of preset folders and handles: all that is used of KerasHub's inside.

KerasHub exports nothing that fetches one file of a preset. Seen with
keras_hub 0.32.0; `pyproject.toml` bounds the version.
"""

import json

from keras_hub.src.utils import preset_utils

from keras_setr.files.decoding import check_regular

_HUGGING_FACE = "hf://"
# How long a hub may take to answer.
_SECONDS = 5


def check_reached(source, name):
    """Raise `ConnectionError` where a hub does not answer.

    Asked for a file, Hugging Face's client tries six times in 23 seconds, and
    KerasHub takes what it then says for a file that is missing.

    Args:
        source: str. A handle. Those of other hubs are not looked at, as their
            clients tell by themselves.
        name: str. Of a file, which may lie in the client's cache.
    """
    if not source.startswith(_HUGGING_FACE):
        return
    import huggingface_hub
    from huggingface_hub import errors

    repository = source.removeprefix(_HUGGING_FACE)
    try:
        if huggingface_hub.try_to_load_from_cache(repository, name) is None:
            url = huggingface_hub.hf_hub_url(repository, name)
            huggingface_hub.get_hf_file_metadata(url, timeout=_SECONDS)
    except (errors.HfHubHTTPError, errors.FileMetadataError, ValueError):
        return  # It answers, or the handle is none, as `fetch` will say.
    except Exception as error:  # of whichever HTTP library the client has
        raise ConnectionError(
            f"{huggingface_hub.constants.ENDPOINT} cannot be reached: {error}"
        ) from error


def fetch(source, name):
    """The local path of one file of a preset folder or handle.

    Args:
        source: str. A folder, or a handle (`hf://`, `kaggle://`, `gs://`,
            `modelscope://`), of which the file is downloaded.
        name: str.

    Raises:
        FileNotFoundError: the source has no such file.
        ValueError: there is no such source, or the file is a pipe.
    """
    path = preset_utils.get_file(source, name)
    check_regular(path)
    return path


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


def read_parts(source, name):
    """The files that hold tensors, of the JSON file that says which do.

    Returns:
        Sorted list of names.

    Raises:
        ValueError: as of `read_json`, or it holds no such dict.
    """
    weight_map = read_json(source, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(
            f'{name} of {source} must hold a "weight_map" of names and '
            f"files. Received: {weight_map!r}; copy or download it again."
        )
    # A tensor may lie in several.
    parts = (p if isinstance(p, list) else [p] for p in weight_map.values())
    return sorted({str(name) for names in parts for name in names})
