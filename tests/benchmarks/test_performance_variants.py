"""Exports of one network: that they answer the same, and how what is measured of them becomes a table."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import models
from benchmarks.performance import variants
from benchmarks.performance.section import Bench
from benchmarks.performance.variants import OURS, PLAIN, Block, Variant
from vitrine_export.models import FEATURES, LOGITS
from vitrine_serving.embedded.inference.batching_parameters import read_batching_parameters
from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model

EXPORTS = (Variant(OURS), Variant(PLAIN, plain=True), Variant("frozen", frozen=True))
NEVER = Variant("hexadecimal", "float16", needs=frozenset({"hex_fp4"}))


def small_network(classes: int) -> keras.Model:
    """In place of `models.mobilenet`, which takes seconds to export."""
    keras.utils.set_random_seed(0)
    images = keras.Input((models.PICTURE_SIDE, models.PICTURE_SIDE, 3))
    pooled = keras.layers.Identity(name=FEATURES)(keras.layers.GlobalAveragePooling2D()(images))
    return keras.Model(images, keras.layers.Dense(classes, name=LOGITS)(pooled))


def test_a_cpu_is_asked_by_its_own_flags():
    cpuinfo = "processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    assert variants.cpu_flags(cpuinfo) == {"fpu", "avx2", "avx512_bf16"}
    assert variants.cpu_flags("Features\t: fp asimd\n") == frozenset()


def test_a_type_of_16_bits_is_measured_where_the_cpu_has_it_else_the_row_says_why_not():
    either = Variant("bfloat16", "bfloat16", needs=frozenset({"avx512_bf16", "amx_bf16"}))
    assert either.missing(frozenset({"fpu", "amx_bf16"})) == ""
    assert either.missing(frozenset({"fpu"})) == "not measured: this CPU has no amx_bf16 or avx512_bf16"
    assert Variant("frozen", frozen=True).missing(frozenset()) == ""


def test_agreement_is_of_first_labels_and_the_largest_change_of_any_probability():
    expected = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5], [0.8, 0.2]], np.float32)
    found = np.array([[0.7, 0.3], [0.1, 0.9], [0.25, 0.75], [0.8, 0.2]], np.float32)
    agreed = variants.agreement(found, expected)
    assert agreed.labels == 0.75
    assert agreed.difference == pytest.approx(0.25)


def test_the_ratio_is_the_median_of_the_rounds_not_that_of_the_medians():
    blocks = {
        OURS: [Block(rate, 10, 20, 5) for rate in (100, 50, 10)],
        PLAIN: [Block(rate, 20, 40, 8) for rate in (50, 40, 20)],
    }
    found = variants.summary(blocks)
    assert found[OURS]["ratio"] == 1
    assert found[PLAIN]["ratio"] == 0.8
    assert found[PLAIN]["requests a second"] == 40


def test_the_plain_export_is_batched_by_parameters_that_the_server_takes(tmp_path: Path):
    file = tmp_path / "batching.config"
    file.write_text(variants.batching_parameters(cores=3))
    parameters = read_batching_parameters(str(file))
    assert parameters.num_batch_threads == 3
    assert parameters.allowed_batch_sizes[-1] == parameters.max_batch_size == 32
    assert parameters.max_enqueued_batches == 1000


def test_a_dtype_policy_is_that_of_one_network_and_its_answers_stay_float32():
    before = keras.config.dtype_policy().name
    network = models.mobilenet(3, "mixed_bfloat16")
    assert keras.config.dtype_policy().name == before
    assert {"bfloat16"} == {layer.compute_dtype for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert network.output.dtype == "float32"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark's folder with exports of one network, where the section looks for them."""
    folder = tmp_path_factory.mktemp("work")
    network = small_network(4)
    for variant in EXPORTS:
        variant.write(network, exported(folder, variant))
    return folder


def exported(work: Path, variant: Variant) -> Path:
    return Bench(None, work, 1, 1.0, 1).models / "variants" / "random" / variant.name / "1"


def test_frozen_and_plain_exports_answer_as_ours_does(work: Path):
    pictures = models.photos(3)
    answers = []
    for variant in EXPORTS:
        model = load_saved_model(str(exported(work, variant)), SessionOptions(1, 1))
        outputs = model.run(variant.signature, {"image_bytes": np.array(pictures, np.object_)})
        answers.append(outputs["probabilities"])
    assert answers[0].shape == (3, 4)
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-5)
    variables = {variant.name: (exported(work, variant) / "variables").glob("*.data-*") for variant in EXPORTS}
    sizes = {name: sum(file.stat().st_size for file in files) for name, files in variables.items()}
    assert sizes["frozen"] < sizes[OURS], "a frozen export has no variables left"


def test_a_section_has_a_row_for_each_variant_measured_or_not(work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(variants, "VARIANTS", (*EXPORTS[:2], NEVER))
    monkeypatch.setattr(variants, "_PICTURES", 12)
    monkeypatch.setattr(variants, "_CLIENTS", 2)
    bench = Bench(data=None, work=work, rounds=1, seconds=0.5, cores=1)
    findings = variants.SECTION.run(bench)
    [table] = findings.tables
    assert {len(row) for row in table.rows} == {len(table.header)}
    ours, plain, never = table.rows
    assert (ours[0], ours[2], ours[6]) == (OURS, "1.00", "100.0%")
    assert (plain[0], plain[6]) == (PLAIN, "100.0%")
    assert never[:2] == ["hexadecimal", "not measured: this CPU has no hex_fp4"]
    assert findings.figures["variants"][PLAIN]["requests a second"] > 0
    assert "random weights" in table.caption


def test_exports_are_kept_between_runs_and_made_anew_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[str] = []

    def write(variant: Variant, network: object, version: Path) -> None:
        written.append(variant.name)
        version.mkdir(parents=True)

    monkeypatch.setattr(Variant, "write", write)
    monkeypatch.setattr(models, "mobilenet", small_network)
    bench = Bench(data=None, work=tmp_path, rounds=1, seconds=0.5, cores=1)
    ours, frozen = Variant(OURS), Variant("frozen", frozen=True)
    folder, trained = variants._exports(bench, [ours])
    assert (folder / OURS / "1").is_dir()
    assert not trained
    variants._exports(bench, [ours])
    assert written == [OURS]
    variants._exports(bench, [ours, frozen])
    assert written == [OURS, OURS, "frozen"]
