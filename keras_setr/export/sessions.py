"""Exported files in their own runtimes, without Keras.

A session gives the `text` of the file's record, or None, and `run(images,
names)`, the outputs of some names as a dict of arrays.
"""

import json
import os
import pathlib
import zipfile

from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import SUFFIXES
from keras_setr.export.formats import format_of
from keras_setr.export.record import FILE
from keras_setr.export.record import KEY
from keras_setr.export.record import ExportRecord
from keras_setr.files.decoding import check_regular
from keras_setr.tables import brief


def _zipped_text(path):
    """The record in the archive that a file is or ends with."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(FILE)]
            return archive.read(names[0]).decode() if names else None
    except (zipfile.BadZipFile, OSError):
        return None


class Onnx:
    def __init__(self, path):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            str(path), providers=onnxruntime.get_available_providers()
        )
        found = self._session.get_modelmeta().custom_metadata_map
        self.text = found.get(KEY)

    def run(self, images, names):
        (first,) = self._session.get_inputs()
        results = self._session.run(list(names), {first.name: images})
        return dict(zip(names, results))


class OpenVino:
    def __init__(self, path):
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        self.text = None
        if model.has_rt_info([KEY]):
            self.text = model.get_rt_info([KEY]).astype(str)
        # Otherwise newer processors compute in bfloat16.
        hints = {"EXECUTION_MODE_HINT": "ACCURACY"}
        self._model = core.compile_model(model, "CPU", hints)

    def run(self, images, names):
        results = self._model(images)
        return {name: results[name] for name in names}


class LiteRt:
    def __init__(self, path):
        self._interpreter = _interpreter(path)
        self.text = _zipped_text(path)
        self._runner = None
        if self.text is not None:
            self._runner = self._interpreter.get_signature_runner()

    def run(self, images, names):
        results = self._runner(images=images)
        return {name: results[name] for name in names}


def _interpreter(path):
    # TensorFlow's own ends the process at a truncated file.
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=os.cpu_count())


class SavedModel:
    def __init__(self, path):
        import tensorflow as tf

        self._model = tf.saved_model.load(str(path))
        file = pathlib.Path(path) / FILE
        self.text = file.read_text("utf-8") if file.is_file() else None

    def run(self, images, names):
        results = self._model.serve(images)
        return {name: results[name].numpy() for name in names}


class Torch:
    def __init__(self, path):
        import torch

        program = torch.export.load(path)
        self.text = _zipped_text(path)
        self._module = program.module()
        self._names = json.loads(self.text)["outputs"] if self.text else ()
        self._torch = torch

    def run(self, images, names):
        with self._torch.inference_mode():
            results = self._module(self._torch.from_numpy(images))
        return {
            name: result.cpu().numpy()
            for name, result in zip(self._names, results)
            if name in names
        }


_SESSIONS = {
    "onnx": Onnx,
    "openvino": OpenVino,
    "litert": LiteRt,
    "tf_saved_model": SavedModel,
    "torch": Torch,
}


def open_session(path):
    """`(session, record)` of an exported file.

    Args:
        path: of the file, or of the folder of a SavedModel.

    Raises:
        FileNotFoundError: there is nothing.
        IsADirectoryError: a folder under a file's name.
        ImportError: the format's runtime is not installed.
        ValueError: the file is damaged, or of another exporter.
    """
    path = pathlib.Path(path)
    format = FORMATS[format_of(path)]
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; it should be an exported model "
            f"({SUFFIXES})."
        )
    if format.suffix:
        check_regular(path)
    elif not (path / "saved_model.pb").is_file():
        raise ValueError(
            f"{path} is no exported model: those are {SUFFIXES} files, and "
            "folders with saved_model.pb. A preset is read by from_preset, "
            "and made into one of these by keras-setr export."
        )
    try:
        session = _SESSIONS[format.name](path)
    except ImportError as error:
        raise ImportError(
            f"{format.title} files need {format.runtime}: pip install "
            f"{format.runtime.replace('_', '-')}. Received: {error}."
        ) from error
    # Each runtime has errors of its own.
    except Exception as error:
        raise ValueError(
            f"{path} is no {format.title} model that {format.runtime} reads, "
            f"damaged or incomplete. Export it again. Received: {brief(error)}"
        ) from error
    if session.text is None:
        raise ValueError(
            f"{path} has no record of keras_setr: another program exported "
            "it, or it is incomplete. Write it by model.export(path) or "
            "keras-setr export."
        )
    return session, ExportRecord.from_json(session.text, path)
