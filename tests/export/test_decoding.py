"""Scaled decoding: as large as the resize needs, the same wherever it runs, with the limits of plain decoding."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from served_pixels import served_pixels

from vitrine_export.decoding import Decoder
from vitrine_export.preprocessing import Preprocessing, PreprocessingError

SPEC = "decode(scaled=True)|resize(16,12,antialias=True)|value_range(-1,1)"
PLAIN = SPEC.replace("(scaled=True)", "")


def photo(width: int, height: int, mode: str = "RGB", format: str = "JPEG", **options: object) -> bytes:
    """A smooth picture, as photos are: noise would look different at every scale."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * a + y / height * b) for a, b in ((5, 2), (3, 7), (9, 4))]
    picture = Image.fromarray(((np.stack(waves, -1) + 1) * 127).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (96, 128, 8),
        (95, 128, 8),
        (88, 128, 4),
        (96, 120, 4),
        (48, 64, 4),
        (47, 65, 4),
        (24, 32, 2),
        (500, 30, 1),
        (9, 9, 1),
    ],
)
def test_both_sides_stay_as_large_as_the_resize_needs(width: int, height: int, ratio: int) -> None:
    decoded = Decoder(target=(16, 12))(tf.constant(photo(width, height)))
    assert decoded.shape == (-(-height // ratio), -(-width // ratio), 3)
    assert decoded.dtype == tf.uint8


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": "4:4:4"}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
    ],
)
def test_it_shows_what_plain_decoding_shows(mode: str, format: str, options: dict[str, object]) -> None:
    data = tf.constant(photo(256, 192, mode, format, **options))
    plain, scaled = (Preprocessing(spec).geometry(data).numpy() for spec in (PLAIN, SPEC))
    if format == "JPEG":
        assert not np.array_equal(scaled, plain)
        np.testing.assert_allclose(scaled, plain, atol=6)
    else:
        np.testing.assert_array_equal(scaled, plain)


@pytest.mark.parametrize("picture", ["large", "CMYK", "PNG", "flower"])
def test_parity_eager_tf_data_decoded_before_and_served_signature(saved, request, picture: str) -> None:
    if picture == "flower":
        [path, *_] = sorted(request.getfixturevalue("shared_data").glob("flowers/*/*.jpg"))
        data = path.read_bytes()
    else:
        data = photo(640, 480, *{"large": (), "CMYK": ("CMYK",), "PNG": ("RGB", "PNG")}[picture])
    preprocessing = Preprocessing(SPEC)
    eager = preprocessing.from_bytes(tf.constant(data)).numpy()
    [in_data] = tf.data.Dataset.from_tensors(data).map(preprocessing.from_bytes).as_numpy_iterator()
    again = preprocessing.values(
        preprocessing.geometry(tf.constant(data), decoded_before="PNG" if picture == "PNG" else "JPEG")
    ).numpy()
    served = saved.run("features", {"image_bytes": np.array([data, data], object)})["features"].reshape(2, 16, 12, 3)
    for other in (in_data, again, served[0], served[1]):
        np.testing.assert_allclose(other, eager, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """A model exported with scaled decoding whose `features` are the preprocessed pixels, as the server loads it."""
    with served_pixels(SPEC, tmp_path_factory.mktemp("scaled")) as model:
        yield model


def test_the_limit_is_on_the_full_size() -> None:
    spec = "decode(max_pixels=30000,scaled=True)|resize(10)"
    assert Preprocessing(spec).from_bytes(photo(200, 150)).shape == (10, 10, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"too large.*\[30200\].*\[30000\]"):
        Preprocessing(spec).from_bytes(photo(200, 151))


def test_broken_files_are_refused_as_by_plain_decoding(shared_data) -> None:
    paths = [path for path in (shared_data / "cats_vs_dogs" / "corrupt_and_odd").rglob("*") if path.is_file()]
    plain, scaled = Preprocessing(PLAIN), Preprocessing(SPEC)

    def outcome(preprocessing: Preprocessing, data: bytes) -> str:
        try:
            return str(preprocessing.from_bytes(data).shape)
        except tf.errors.InvalidArgumentError:
            return "refused"

    outcomes = {path.name: (outcome(plain, path.read_bytes()), outcome(scaled, path.read_bytes())) for path in paths}
    assert all(one == other for one, other in outcomes.values()), outcomes
    assert len({one for one, _ in outcomes.values()}) == 2


def test_a_truncated_photo_is_refused() -> None:
    data = photo(640, 480)
    for spec in (SPEC, PLAIN):
        with pytest.raises(tf.errors.InvalidArgumentError):
            Preprocessing(spec).from_bytes(data[: len(data) // 2])


def test_a_square_from_the_middle_stays_large_enough_too() -> None:
    spec = "decode(scaled=True)|central_square|resize(16,12)"
    wide = Preprocessing(spec).geometry(photo(640, 100)).numpy()
    expected = Preprocessing(spec.replace("(scaled=True)", "")).geometry(photo(640, 100)).numpy()
    np.testing.assert_allclose(wide, expected, atol=8)
    assert Preprocessing(spec)._parsed[0].target == (16, 16)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("decode(scaled=True)|grayscale", "add a step resize"),
        ("decode(scaled=1)|resize(8)", "scaled must be True or False, not 1"),
        ("decode(scale=True)|resize(8)", "step decode: got an unexpected keyword argument 'scale'"),
        ("decode(max_pixels=0)|resize(8)", "max_pixels must be a whole number above 0, not 0"),
        ("decode(scaled=True)|value_range(0,1)|resize(8)", "put resize before the steps that scale pixel values"),
    ],
)
def test_a_recipe_that_makes_no_sense(spec: str, message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        Preprocessing(spec)


def test_plain_decoding_gives_the_pixels_of_tensorflows_decoder(shared_data) -> None:
    for path in sorted((shared_data / "flowers").glob("*/*.jpg"))[::80]:
        expected = tf.io.decode_jpeg(path.read_bytes(), channels=3)
        np.testing.assert_array_equal(Decoder()(tf.constant(path.read_bytes())), expected)
