"""Reads a SavedModel and brings its graph to life in a session, step by step as TensorFlow's C++ loader does.

The graph's own restore and initialization operations do the work, so a model that only works through
Python object tracking fails here exactly as it fails in production.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.saved_model import loader_impl

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument, not_found

_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_ASSETS_COLLECTION = "saved_model_assets"


def read_meta_graph(path: str, tags: Collection[str]) -> meta_graph_pb2.MetaGraphDef:
    """The graph of the SavedModel in directory `path` that has exactly these tags.

    Raises ServingError NOT_FOUND without a SavedModel or such a graph, DATA_LOSS for a broken file.
    """
    if not tf.saved_model.contains_saved_model(path):
        raise not_found(
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. Check that "
            "the directory exists and that you have the right permissions for accessing it."
        )
    try:
        saved_model = loader_impl.parse_saved_model(path)
    except OSError as error:
        raise ServingError(Code.DATA_LOSS, f"Can't parse {_model_file(path)}") from error
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    raise not_found(
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available "
        "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def _model_file(path: str) -> str:
    binary = tf.io.gfile.join(path, tf.saved_model.SAVED_MODEL_FILENAME_PB)
    if tf.io.gfile.exists(binary):
        return f"{binary} as binary proto"
    return f"{tf.io.gfile.join(path, tf.saved_model.SAVED_MODEL_FILENAME_PBTXT)} as text proto"


def load_graph(session: tf.compat.v1.Session, path: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, float]:
    """Import the graph into the session's, restore its variables and initialize it.

    Returns the seconds of each stage, by TensorFlow's names: `restore_graph` and `init_graph`. Raises
    ServingError for a contradiction in the SavedModel, and whatever TensorFlow does for a broken one.
    """
    started = time.perf_counter()
    known_ops = meta_graph.meta_info_def.stripped_op_list
    with session.graph.as_default():
        try:
            tf.graph_util.import_graph_def(meta_graph.graph_def, name="", producer_op_list=known_ops)
        except ValueError as error:
            # Python's name for what the session calls INVALID_ARGUMENT.
            raise invalid_argument(str(error)) from error
    assets = _asset_paths(path, meta_graph)
    variables = tf.io.gfile.join(path, "variables", "variables")
    # A SavedModel without the index has no variables, whatever its saver says.
    if tf.io.gfile.exists(f"{variables}.index"):
        saver = meta_graph.saver_def
        _run_once(session, saver.restore_op_name, {saver.filename_tensor_name: variables, **assets})
    restored = time.perf_counter()
    init_op = _init_op(path, meta_graph)
    if init_op:
        _run_once(session, init_op, assets)
    return {"restore_graph": restored - started, "init_graph": time.perf_counter() - restored}


def _asset_paths(path: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, str]:
    """Where each asset is, by the name of the tensor that takes its path."""
    definitions = list(meta_graph.asset_file_def)
    if not definitions:
        for packed in meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value:
            definition = meta_graph_pb2.AssetFileDef()
            packed.Unpack(definition)
            definitions.append(definition)
    return {asset.tensor_info.name: tf.io.gfile.join(path, "assets", asset.filename) for asset in definitions}


def _init_op(path: str, meta_graph: meta_graph_pb2.MetaGraphDef) -> str | None:
    if _INIT_SIGNATURE in meta_graph.signature_def:
        return meta_graph.signature_def[_INIT_SIGNATURE].outputs[_INIT_SIGNATURE].name
    for key in _INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            names = meta_graph.collection_def[key].node_list.value
            if len(names) != 1:
                raise ServingError(Code.FAILED_PRECONDITION, f"Expected exactly one main op in : {path}")
            return names[0]
    return None


def _run_once(session: tf.compat.v1.Session, target: str, feeds: Mapping[str, str]) -> None:
    # A callable is freed after its one run; `Session.run` would keep the graph's constants for good.
    options = config_pb2.CallableOptions(feed=feeds, target=[target])
    session._make_callable_from_options(options)(*[np.array(value.encode(), np.object_) for value in feeds.values()])
