"""What loads, how it runs and what is refused, as TensorFlow Serving's loader and session do it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tf1models
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.saved_model import SessionOptions, check_method_name, load_saved_model
from vitrine_serving.embedded.inference.tensors import fill_proto

ONE = np.ones(1, np.float32)


def refusal(ask) -> tuple[str, str]:
    with pytest.raises(ServingError) as raised:
        ask()
    return raised.value.code.name, raised.value.message


@pytest.fixture
def load():
    models = []

    def load(path, *args, **options):
        models.append(load_saved_model(str(path), *args, **options))
        return models[-1]

    yield load
    for model in models:
        model.close()


@pytest.mark.parametrize("as_text", [False, True])
def test_a_tensorflow_1_model_with_ref_variables(load, tmp_path, as_text):
    model = load(tf1models.write_half_plus_two(tmp_path / "1", as_text=as_text))
    # The placeholder's shape is [None, 1]; TensorFlow Serving does not mind.
    np.testing.assert_array_equal(model.run("", {"x": np.arange(3, dtype=np.float32)})["y"], [2, 2.5, 3])


@pytest.mark.parametrize("legacy_init", [False, True])
def test_a_table_is_filled_from_the_models_own_asset(load, tmp_path, legacy_init):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("zero\none\ntwo\n")
    written = tf1models.write_table(tmp_path / "1", vocabulary, legacy_init=legacy_init)
    vocabulary.unlink()
    model = load(shutil.move(written, tmp_path / "moved"))
    words = np.array([b"two", b"none", b"zero"], np.object_)
    assert model.run("", {"words": words})["numbers"].tolist() == [2, -1, 0]


def test_the_graph_with_exactly_the_tags_asked_for(load, tmp_path):
    path = tf1models.write_half_plus_two(tmp_path / "1", tags=("serve", "gpu"))
    assert load(path, tags=("gpu", "serve")).run("", {"x": ONE})["y"] == 2.5
    code, message = refusal(lambda: load(path))
    assert (code, "matching supplied tags: { serve }" in message) == ("NOT_FOUND", True), message


def test_a_directory_without_a_model(load, tmp_path):
    code, message = refusal(lambda: load(tmp_path / "none"))
    assert (code, "Could not find SavedModel .pb or .pbtxt" in message) == ("NOT_FOUND", True)


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_files_that_are_no_model(load, tmp_path, name):
    (tmp_path / name).write_bytes(b"no model")
    code, message = refusal(lambda: load(tmp_path))
    assert (code, name in message) == ("DATA_LOSS", True), message


def test_a_model_whose_variables_are_not_there_fails_its_requests(load, tmp_path):
    path = tf1models.write_half_plus_two(tmp_path / "1")
    shutil.rmtree(path / "variables")
    model = load(path)
    code, message = refusal(lambda: model.run("", {"x": ONE}))
    assert (code, "uninitialized" in message) == ("FAILED_PRECONDITION", True), message


def test_several_initializations_are_a_contradiction(load, tmp_path):
    path = tf1models.write_half_plus_two(tmp_path / "1")
    edit(path, lambda graph: graph.collection_def["saved_model_main_op"].node_list.value.append("init"))
    code, message = refusal(lambda: load(path))
    assert (code, "Expected exactly one main op" in message) == ("FAILED_PRECONDITION", True)


@pytest.mark.parametrize(
    ("op", "given", "code", "phrase"),
    [
        ("NoSuchOp", [], "NOT_FOUND", "Op type not registered 'NoSuchOp'"),
        ("NoOp", ["^nowhere"], "INVALID_ARGUMENT", "nowhere"),
    ],
)
def test_a_graph_that_cannot_be_built(load, tmp_path, op, given, code, phrase):
    path = tf1models.write_half_plus_two(tmp_path / "1")
    edit(path, lambda graph: graph.graph_def.node.add(name="wrong", op=op, input=given))
    got, message = refusal(lambda: load(path))
    assert (got, phrase in message) == (code, True), message


def test_inputs_with_default_values_may_be_left_out(load, written_models, tmp_path):
    path = shutil.copytree(written_models / "showcase", tmp_path / "1")
    edit(path, lambda graph: fill_proto(graph.signature_def["several"].defaults["b"], np.array([5], np.int64)))
    model = load(path)
    a = np.ones((1, 2), np.float32)
    assert model.run("several", {"a": a})["sum"].tolist() == [7]
    assert model.run("several", {"a": a, "b": np.array([1])})["sum"].tolist() == [3]
    code, message = refusal(lambda: model.run("several", {"b": np.array([1])}))
    assert (code, "Signature input alias: a(feed name: " in message) == ("INVALID_ARGUMENT", True)
    assert "no default value provided" in message
    code, message = refusal(lambda: model.run("several", {"a": a, "c": a}))
    assert (code, "Inputs contains invalid name" in message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("inputs", "phrase"),
    [
        ({"a": np.array([[b"x", b"y"]], np.object_), "b": np.ones(1, np.int64)}, "arg[0] to be float but string is"),
        ({"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int32)}, "arg[1] to be int64 but int32 is provided"),
        ({"a": np.ones((1, 2), np.float16), "b": ONE}, "arg[0] to be float but half is provided"),
        ({"a": np.ones((1, 2), np.float32), "c": ONE}, "input tensor alias not found in signature: c. Inputs expected"),
    ],
)
def test_inputs_of_another_type_or_name(load, written_models, inputs, phrase):
    code, message = refusal(lambda: load(written_models / "showcase").run("several", inputs))
    assert (code, phrase in message) == ("INVALID_ARGUMENT", True), message


def test_the_method_names_that_can_predict(load, tmp_path):
    signatures = load(tf1models.write_half_plus_two(tmp_path / "1")).signatures
    for name in ("serving_default", "classify_x_to_y", "regress_x_to_y"):
        check_method_name(signatures[name])
    code, message = refusal(lambda: check_method_name(signatures["unnamed"]))
    assert code == "INTERNAL"
    assert "Expected prediction signature method_name to be one of {tensorflow/serving/predict, " in message


def test_tensors_of_the_graph_by_name(load, tmp_path):
    model = load(tf1models.write_half_plus_two(tmp_path / "1"))
    x, y = (
        model.signatures["serving_default"].inputs["x"].name,
        model.signatures["serving_default"].outputs["y"].name,
    )
    y2 = model.signatures["regress_x_to_y2"].outputs["outputs"].name
    fetched = model.run_tensors({x: ONE}, [y2, y, y2])
    assert [array.tolist() for array in fetched] == [[3.5], [2.5], [3.5]]
    assert refusal(lambda: model.run_tensors({x: ONE}, ["none:0"]))[0] == "INVALID_ARGUMENT"
    assert refusal(lambda: model.run_tensors({}, [y]))[0] == "INVALID_ARGUMENT"


def test_more_sets_of_outputs_than_are_kept_prepared(load, tmp_path):
    def build():
        x = tf.compat.v1.placeholder(tf.float32, name="x")
        outputs = {f"plus_{number}": x + number for number in range(7)}
        return {"serving_default": tf1models.signature("predict", {"x": x}, outputs)}

    model = load(tf1models.write_graph(tmp_path / "1", build))
    tensors = {name: info.name for name, info in model.signatures["serving_default"].outputs.items()}
    for chosen in range(1, 2**7):
        names = [f"plus_{number}" for number in range(7) if chosen >> number & 1]
        answer = model.run("", {"x": ONE}, names)
        by_name = model.run_tensors({"x:0": ONE}, [tensors[name] for name in names])
        assert {name: array.item() for name, array in answer.items()} == {name: int(name[-1]) + 1 for name in names}
        assert [array.item() for array in by_name] == [int(name[-1]) + 1 for name in names]


@pytest.mark.parametrize("dtype", [tf.qint8, tf.quint16, tf.complex128, tf.bfloat16, tf.half, tf.string, tf.bool])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_every_type_goes_through_a_model_and_keeps_its_name(load, tmp_path, dtype, shape):
    def build():
        x = tf.compat.v1.placeholder(dtype, name="x")
        return {"serving_default": tf1models.signature("predict", {"x": x}, {"y": tf.identity(x)})}

    array = np.ones(shape, np.uint8).astype(bytes if dtype == tf.string else np.uint8)
    plain = np.dtype(dtype.as_numpy_dtype)
    array = array.astype(plain[0]).view(plain) if plain.names else array.astype(plain)
    answer = load(tf1models.write_graph(tmp_path / "1", build)).run("", {"x": array})["y"]
    assert answer.tolist() == array.tolist()
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, answer)
    assert (proto.dtype, len(proto.tensor_shape.dim)) == (dtype.as_datatype_enum, len(shape))


@pytest.mark.parametrize("in_caller_thread", [False, True])
def test_loops_tables_and_batches_answer_many_callers(load, written_models, encode, in_caller_thread):
    options = SessionOptions(intra_op_parallelism=1, run_in_caller_thread=in_caller_thread)
    model = load(written_models / "showcase", options)
    pictures = np.array([encode()] * 3, np.object_)
    calls = [lambda: model.run("pictures", {"image_bytes": pictures})["labels"][:, 0].tolist()] * 8
    calls += [lambda: model.run("batched", {"x": ONE})["size"].tolist()] * 8
    with ThreadPoolExecutor(16) as pool:
        answers = [call.result() for call in [pool.submit(call) for call in calls]]
    assert len({tuple(answer) for answer in answers[:8]}) == 1
    assert max(size for [size] in answers[8:]) > 1


def test_a_deep_graph_runs_on_a_small_stack(load, tmp_path):
    def build():
        x = y = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        for _ in range(5000):
            y = tf.raw_ops.Neg(x=y)
        return {"serving_default": tf1models.signature("predict", {"x": x}, {"y": y})}

    config = config_pb2.ConfigProto()
    # Which would leave nothing of so simple a chain.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    model = load(tf1models.write_graph(tmp_path / "1", build), SessionOptions(config=config))
    answers = []
    before = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(target=lambda: answers.append(model.run("", {"x": ONE})["y"].item()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert answers == [1]


def test_the_session_is_made_of_the_config_and_what_is_laid_over_it():
    given = text_format.Parse("inter_op_parallelism_threads: 3 use_per_session_threads: true", config_pb2.ConfigProto())
    options = SessionOptions(intra_op_parallelism=2, config=given, per_process_gpu_memory_fraction=0.5)
    assert options.session_config() == text_format.Parse(
        """inter_op_parallelism_threads: 3 intra_op_parallelism_threads: 2 use_per_session_threads: true
        gpu_options { per_process_gpu_memory_fraction: 0.5 }""",
        config_pb2.ConfigProto(),
    )
    assert SessionOptions(inter_op_parallelism=1).session_config().allow_soft_placement


def test_compiled_signatures_fail_once_the_compiler_is_off(tmp_path):
    class Compiled(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")], jit_compile=True)
        def double(self, x):
            return {"y": 2 * x}

    compiled = Compiled()
    tf.saved_model.save(compiled, str(tmp_path / "1"), signatures=compiled.double)
    # Off is off for the whole process.
    program = f"""
import numpy as np
from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.inference.saved_model import load_saved_model
from vitrine_serving.embedded.inference.xla import disable_compilation
assert disable_compilation()
try:
    load_saved_model({str(tmp_path / "1")!r}).run("", {{"x": np.ones(1, np.float32)}})
except ServingError as error:
    print(error.code.name, error.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{Code.INTERNAL.name} XLA compilation disabled"), done.stderr


def edit(path, change) -> None:
    """Change the one graph of the SavedModel in directory `path`."""
    file = path / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved_model.meta_graphs[0])
    file.write_bytes(saved_model.SerializeToString())
