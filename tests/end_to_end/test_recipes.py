"""Every recipe from pictures to a published version that a server answers, on a few real pictures and few epochs."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from hub_module import write_module
from processes import free_port
from training_runs import RECIPES, few_pictures

from vitrine_client import GrpcClient
from vitrine_export.blessing import bless
from vitrine_export.exporting import export
from vitrine_export.recipe import load_recipe
from vitrine_export.runs import Run
from vitrine_export.store import publish
from vitrine_serving.engines import ServerOptions, choose
from vitrine_serving.server_process import running_server


def _kaggle(source: Path, target: Path, breeds: int) -> Path:
    with (source / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = sorted({row["breed"] for row in rows})[:breeds]
    (target / "train").mkdir(parents=True)
    with (target / "labels.csv").open("w") as file:
        file.write("id,breed\n")
        for row in rows:
            if row["breed"] in kept:
                file.write(f"{row['id']},{row['breed']}\n")
                shutil.copy(source / "train" / f"{row['id']}.jpg", target / "train")
    return target


@pytest.fixture(scope="module")
def pictures(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few real pictures in each of the layouts, by the name of the recipe's source."""
    folder = tmp_path_factory.mktemp("few")
    return {
        "flower_photos": few_pictures(shared_data / "flowers", folder / "flowers", 12),
        "pet_images": few_pictures(shared_data / "cats_vs_dogs" / "PetImages", folder / "PetImages", 30),
        "dog_breed_identification": _kaggle(shared_data / "dog_breeds" / "kaggle", folder / "kaggle", 5),
        "dog_images": shared_data / "dog_breeds" / "dogImages",
    }


@pytest.fixture(scope="module")
def backbones(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real one for one recipe; for the others a small one, which is loaded and saved in a moment."""
    small = write_module(tmp_path_factory.mktemp("module") / "small")
    real = shared_data / "weights" / "hub" / "mobilenet_v2_035_224_feature_vector"
    return {path.stem: real if path.stem == "flowers_transfer" else small for path in RECIPES.glob("*.yaml")}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_becomes_a_version_that_answers(
    path: Path, pictures: dict[str, Path], backbones: dict[str, Path], digits_folder: Path, tmp_path: Path
) -> None:
    from vitrine_export.search import search
    from vitrine_export.training import train

    as_written = load_recipe(path, data=tmp_path)
    values: dict[str, object] = {
        "training.epochs": 2,
        "export.golden_pictures": 2,
        "export.batching.allowed_batch_sizes": [1, 2],
    }
    if as_written.model.name == "transfer":
        # The module at hand takes 224 pixels, whatever the recipe's takes.
        values |= {
            "model.backbone": str(backbones[path.stem]),
            "preprocessing": re.sub(r"resize\(\d+", "resize(224", as_written.preprocessing),
        }
    if as_written.search is not None:
        # A small one in place of the grid's three sizes, one epoch each: 9 runs instead of 27.
        values |= {"search.epochs": 1, "search.jobs": 1, "search.space.layer_size.choices": [8]}
    source = load_recipe(path).dataset.source
    data = {"digits": digits_folder, **pictures}[source or ""]
    recipe = load_recipe(path, data=data, values=values)
    if recipe.search is not None:
        recipe = search(recipe, tmp_path / "runs" / "search", cache=tmp_path / "cache").winner
    run = train(recipe, tmp_path / "runs" / recipe.name, cache=tmp_path / "cache", logs=tmp_path / "logs")
    assert isinstance(run, Run)
    candidate = export(run)
    bless(candidate)
    version = publish(candidate, tmp_path / "models")

    picture = run.dataset().file(run.dataset().split("test")[0])
    options = ServerOptions(recipe.name, version.parent, free_port(), free_port())
    with (
        running_server(choose("embedded"), options),
        GrpcClient(f"localhost:{options.grpc_port}", model=recipe.name) as client,
    ):
        [prediction] = client.classify([picture])
    assert prediction.label in run.dataset().labels
    assert sum(score for _, score in prediction.top) <= 1.0 + 1e-5
    assert len(prediction.top) == min(5, len(run.dataset().labels))
