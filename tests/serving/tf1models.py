"""SavedModels as TensorFlow 1 wrote them: classify and regress signatures, ref variables, tables, assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

v1 = tf.compat.v1


def signature(method: str, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor]):
    def described(tensors):
        return {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}

    return v1.saved_model.build_signature_def(
        described(inputs), described(outputs), f"tensorflow/serving/{method}" if method else ""
    )


def write_graph(
    version: Path,
    build: Callable[[], Mapping[str, object]],
    tags: tuple[str, ...] = ("serve",),
    as_text: bool = False,
    legacy_init: bool = False,
) -> Path:
    """Write the graph that `build` makes, with the signatures it returns.

    Tables are initialized by the main operation, or by what came before it.
    """
    builder = v1.saved_model.Builder(str(version))
    with v1.Session(graph=tf.Graph()) as session, session.graph.as_default():
        signatures = build()
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder.add_meta_graph_and_variables(
            session,
            list(tags),
            signature_def_map=signatures,
            main_op=None if legacy_init else v1.tables_initializer(),
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=v1.tables_initializer() if legacy_init else None,
        )
    builder.save(as_text=as_text)
    return version


def write_half_plus_two(version: Path, **how) -> Path:
    """y = x / 2 + 2 and y2 = x / 2 + 3, from `x` or from examples with a feature `x`; ref variables."""

    def build():
        half, two, three = (
            v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0))
        )
        serialized = v1.placeholder(tf.string, name="tf_example")
        features = {
            "x": tf.io.FixedLenFeature([1], tf.float32),
            "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        example = tf.io.parse_example(serialized, features)
        x = tf.identity(example["x"], name="x")
        y, y2, y3 = half * x + two, half * x + three, half * example["x2"] + three
        return {
            "serving_default": signature("predict", {"x": x}, {"y": y}),
            "regress_x_to_y": signature("regress", {"inputs": serialized}, {"outputs": y}),
            "regress_x_to_y2": signature("regress", {"inputs": serialized}, {"outputs": y2}),
            "regress_x2_to_y3": signature("regress", {"inputs": example["x2"]}, {"outputs": y3}),
            "classify_x_to_y": signature("classify", {"inputs": serialized}, {"scores": y}),
            "classify_both": signature(
                "classify", {"inputs": serialized}, {"classes": tf.strings.as_string(y, 1), "scores": y}
            ),
            "classify_labels": signature("classify", {"inputs": serialized}, {"classes": tf.strings.as_string(y, 1)}),
            "unnamed": signature("", {"inputs": serialized}, {"outputs": y}),
            "other_input": signature("regress", {"examples": serialized}, {"outputs": y}),
            "other_output": signature("classify", {"inputs": serialized}, {"labels": y}),
            "two_inputs": signature("classify", {"inputs": serialized, "x": x}, {"scores": y}),
            "flat_scores": signature("classify", {"inputs": serialized}, {"scores": y[:, 0]}),
            "double_scores": signature("classify", {"inputs": serialized}, {"scores": tf.cast(y, tf.float64)}),
            "short_scores": signature("classify", {"inputs": serialized}, {"scores": y[:1]}),
            "uneven": signature(
                "classify",
                {"inputs": serialized},
                {"classes": tf.tile(tf.strings.as_string(y), [1, 2]), "scores": y},
            ),
            "wide_values": signature("regress", {"inputs": serialized}, {"outputs": tf.tile(y, [1, 2])}),
            "short_values": signature("regress", {"inputs": serialized}, {"outputs": y[:1]}),
            "double_values": signature("regress", {"inputs": serialized}, {"outputs": tf.cast(y, tf.float64)}),
        }

    return write_graph(version, build, **how)


def write_table(version: Path, vocabulary: Path, **how) -> Path:
    """Word to number through a table that is filled from an asset when the model is loaded."""

    def build():
        lines = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        table = tf.lookup.StaticHashTable(lines, default_value=-1)
        words = v1.placeholder(tf.string, [None], name="words")
        return {"serving_default": signature("predict", {"words": words}, {"numbers": table.lookup(words)})}

    return write_graph(version, build, **how)
