"""Random changes to training pictures: each step changes what it says, in its range, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from vitrine_export.augmentation import AUGMENTATIONS, Augmentation
from vitrine_export.errors import RecipeError
from vitrine_export.preprocessing import PreprocessingError
from vitrine_export.recipe import load_recipe

MANY = 200
EVERY = (
    "flip|flip_vertical|rotate(30)|zoom(0.2)|shift(0.1)|crop(0.7)|brightness(0.2)|contrast(0.2)|saturation(0.3)"
    "|rgb_shift(0.1)|cutout(0.4)"
)


def seeds(count: int = MANY) -> tf.Tensor:
    return tf.stack([tf.fill([count], 3), tf.range(count)], axis=1)


def changed(spec: str, image: np.ndarray, count: int = MANY) -> np.ndarray:
    """`image` [H, W, C] changed with `count` seeds: [count, H, W, C]."""
    images = tf.repeat(tf.constant(image, tf.float32)[tf.newaxis], count, axis=0)
    return Augmentation(spec).batch(images, seeds(count)).numpy()


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth, without symmetry, in [40, 200]; rows are 24, columns 32."""
    y, x = np.mgrid[0:24, 0:32] / 32.0
    waves = [np.sin(3 * x + y + 0.3), np.cos(2 * x - 4 * y), np.sin(5 * x * y + 1)]
    return (120 + 80 * np.stack(waves, axis=-1)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", [*EVERY.split("|"), EVERY])
def test_shape_dtype_and_range_hold_and_the_seed_decides(picture, spec: str, channels: int) -> None:
    image = picture[..., :channels]
    images = changed(spec, image, 30)
    assert images.shape == (30, 24, 32, channels)
    assert images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 255
    np.testing.assert_array_equal(changed(spec, image, 30), images)
    one = Augmentation(spec)(tf.constant(image), tf.constant([3, 7], tf.int64))
    np.testing.assert_allclose(one, images[7], atol=1e-3)
    different = len(np.unique(images, axis=0))
    expected = 1 if channels == 1 and spec.startswith(("saturation", "rgb_shift")) else 2
    assert different >= expected if "(" not in spec else expected == 1 or different > 20


def test_every_step_is_tested() -> None:
    assert {part.partition("(")[0] for part in EVERY.split("|")} == set(AUGMENTATIONS)


def test_flips_are_exact_and_happen_half_the_time(picture) -> None:
    for spec, flipped in (("flip", picture[:, ::-1]), ("flip_vertical", picture[::-1])):
        kinds = [np.array_equal(image, flipped) for image in changed(spec, picture)]
        assert 70 < sum(kinds) < 130
        assert sum(np.array_equal(image, picture) for image in changed(spec, picture)) == MANY - sum(kinds)


def dot(x: int, y: int) -> np.ndarray:
    """A soft white dot on black, so that its centre can be found again."""
    rows, columns = np.mgrid[0:65, 0:65]
    return (255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18.0))[..., np.newaxis].astype(np.float32)


def centres(images: np.ndarray) -> np.ndarray:
    """Where the dots are, (x, y) from the middle of the picture: [N, 2]."""
    rows, columns = np.mgrid[0:65, 0:65] - 32
    weights = images[..., 0] / images[..., 0].sum(axis=(1, 2), keepdims=True)
    return np.stack([(weights * columns).sum((1, 2)), (weights * rows).sum((1, 2))], axis=1)


def test_rotation_turns_round_the_centre_by_up_to_its_degrees() -> None:
    found = centres(changed("rotate(20)", dot(52, 32)))
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    np.testing.assert_allclose(np.hypot(*found.T), 20, atol=0.3)
    assert -20.5 < angles.min() < -15 and 15 < angles.max() < 20.5


def test_zoom_scales_both_ways_from_the_centre() -> None:
    found = centres(changed("zoom(0.2)", dot(42, 27)))
    factors = found[:, 0] / 10
    np.testing.assert_allclose(found[:, 1] / -5, factors, atol=0.06)
    assert 0.78 < factors.min() < 0.85 and 1.15 < factors.max() < 1.22


def test_shift_moves_each_way_by_up_to_its_share() -> None:
    found = centres(changed("shift(0.2)", dot(32, 32)))
    for axis in (0, 1):
        assert -13.2 < found[:, axis].min() < -11 and 11 < found[:, axis].max() < 13.2
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.3


def test_crop_shows_a_part_of_the_picture_at_full_size() -> None:
    ramp = np.broadcast_to(np.arange(65, dtype=np.float32)[None, :, None], (65, 65, 1))
    parts = changed("crop(0.6)", ramp)
    shares = (parts[:, 32, -1, 0] - parts[:, 32, 0, 0]) / 64
    assert 0.58 < shares.min() < 0.65 and 0.95 < shares.max() <= 1
    # Beyond the middle of the outermost pixel, their mirror image begins.
    assert (np.diff(parts[:, 32, 1:-1, 0], axis=1) > 0).all()


def test_what_comes_in_is_the_mirror_image() -> None:
    ramp = np.broadcast_to(np.arange(40, 105, dtype=np.float32)[:, None], (65, 65, 1))
    assert changed("shift(0.5)|rotate(90)", ramp).min() >= 40


def test_brightness_adds_the_same_everywhere(picture) -> None:
    difference = changed("brightness(0.1)", picture) - picture
    np.testing.assert_allclose(difference.std(axis=(1, 2, 3)), 0, atol=1e-3)
    added = difference.mean(axis=(1, 2, 3))
    assert -25.5 <= added.min() < -20 and 20 < added.max() <= 25.5


def test_contrast_keeps_the_mean(picture) -> None:
    images = changed("contrast(0.25)", picture)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), picture.mean(), atol=0.05)
    factors = images.std(axis=(1, 2, 3)) / picture.std()
    assert 0.74 < factors.min() < 0.8 and 1.2 < factors.max() < 1.26


def test_saturation_keeps_the_grey_of_each_pixel(picture) -> None:
    images = changed("saturation(0.2)", picture)
    grey = tf.image.rgb_to_grayscale(picture).numpy()
    np.testing.assert_allclose(tf.image.rgb_to_grayscale(images).numpy(), np.repeat(grey[None], MANY, 0), atol=0.1)
    factors = np.abs(images - grey).mean(axis=(1, 2, 3)) / np.abs(picture - grey).mean()
    assert 0.79 < factors.min() < 0.85 and 1.15 < factors.max() < 1.21


def test_rgb_shift_moves_each_colour_by_its_own(picture) -> None:
    difference = changed("rgb_shift(0.1)", picture) - picture
    np.testing.assert_allclose(difference.std(axis=(1, 2)), 0, atol=1e-3)
    added = difference.mean(axis=(1, 2))
    assert np.abs(added).max() <= 25.5
    assert (np.ptp(added, axis=1) > 1).mean() > 0.9


def test_cutout_hides_one_rectangle_and_leaves_the_rest(picture) -> None:
    images = changed("cutout(0.5)", picture)
    mean = picture.mean(axis=(0, 1))
    for image in images:
        hidden = (image != picture).any(axis=-1)
        np.testing.assert_allclose(image[hidden], np.broadcast_to(mean, (hidden.sum(), 3)), atol=0.01)
        assert hidden.any(axis=1).sum() <= 13 and hidden.any(axis=0).sum() <= 17
        assert hidden.sum() == hidden.any(axis=1).sum() * hidden.any(axis=0).sum()
    assert max((image != picture).any(axis=-1).mean() for image in images) > 0.15


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flop", "unknown step 'flop'; accepted: flip, flip_vertical, rotate"),
        ("flip|rotate", "step rotate: missing 1 required positional argument: 'degrees'"),
        ("flip(2)", "step flip: takes 0 positional arguments but 1 was given"),
        ("rotate(200)", r"rotate\(200\): give a number above 0 and up to 180"),
        ("zoom('a bit')", r"zoom\('a bit'\): give a number above 0 and up to 0.9"),
        ("crop(nan)", "cannot read the step 'crop"),
        ("brightness(True)", r"brightness\(True\): give a number"),
        ("flip||rotate(3)", "cannot read the step ''"),
        ("__import__('os')", "unknown step"),
    ],
)
def test_a_mistake_is_told_in_the_recipes_words(spec: str, message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        Augmentation(spec)


def test_a_recipe_with_a_mistake_is_refused(tmp_path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: a\npreprocessing: decode|resize(32)|grayscale\naugmentation: flip|spin(3)\nmodel: {name: lenet}\n"
    )
    with pytest.raises(RecipeError, match="unknown step 'spin'"):
        load_recipe(recipe)
