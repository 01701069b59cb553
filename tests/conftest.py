"""What tests of all rooms share: pictures, a trained run, and a store with a published version."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos and broken files, see README; the test is skipped where they are not on this machine."""
    folder = Path(os.environ.get("VITRINE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real pictures in {folder} (or VITRINE_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode a random picture, or the pixels given: encode("RGB", "JPEG"), encode("I;16", "PNG")."""

    def encode(
        mode: str = "RGB", format: str = "PNG", size: tuple[int, int] = (37, 23), seed: int = 0, **options: object
    ) -> bytes:
        random = np.random.default_rng(seed)
        if mode == "I;16":
            picture = Image.fromarray(random.integers(0, 65536, size[::-1], np.uint16))
        else:
            pixels = random.integers(0, 256, (*size[::-1], 3), np.uint8)
            picture = Image.fromarray(pixels).convert(mode)
        file = io.BytesIO()
        picture.save(file, format, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All scanned digits as PNG files in class folders."""
    from vitrine_export.datasets.digits import write_digits

    folder = tmp_path_factory.mktemp("pictures") / "digits"
    write_digits(folder)
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path):
    """The digits recipe trained for a few epochs: enough for answers that differ from picture to picture."""
    from vitrine_export.recipe import load_recipe
    from vitrine_export.training import train

    recipe = load_recipe(REPOSITORY / "recipes" / "digits.yaml", data=digits_folder)
    quick = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 3})})
    return train(quick, tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def blessed_candidate(digits_run) -> Path:
    """An export of `digits_run` that has been blessed. Read only: copy it before changing it."""
    from vitrine_export.blessing import bless
    from vitrine_export.exporting import export

    candidate = export(digits_run)
    bless(candidate)
    return candidate


@pytest.fixture
def candidate(blessed_candidate: Path, tmp_path: Path) -> Path:
    """A blessed export of the test's own, to be changed at will."""
    return Path(shutil.copytree(blessed_candidate, tmp_path / "run" / "candidate"))


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory, blessed_candidate: Path) -> Path:
    """A model store with version 1 of `digits`. Read only."""
    from vitrine_export.store import publish

    models = tmp_path_factory.mktemp("models")
    publish(blessed_candidate, models)
    return models
