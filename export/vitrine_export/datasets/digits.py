"""Scikit-learn's scanned digits as PNG files in class folders: pictures for whoever has none at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from vitrine_export.errors import DatasetError
from vitrine_export.staging import replacing


def write_digits(folder: Path) -> int:
    """Write the 1,797 digits (grey, 8x8 pixels) as `folder`/<digit>/<number>.png; returns how many.

    The folder appears whole or not at all. Source: UCI "Optical Recognition of Handwritten Digits" (Alpaydin and
    Kaynak, 1998), in sklearn.datasets.load_digits. Raises DatasetError where `folder` cannot be written.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    try:
        with replacing(folder) as fresh:
            numbered = enumerate(zip(bunch.images, bunch.target, strict=True))
            for number, (pixels, digit) in tqdm(numbered, "writing digits", len(bunch.target), unit="picture"):
                path = fresh / str(digit) / f"{number:04}.png"
                path.parent.mkdir(exist_ok=True)
                # Ink counts from 0 to 16 per pixel become grey values from 0 to 255.
                Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(path)
    except OSError as error:
        raise DatasetError(f"cannot write the digits to {folder}: {error.strerror or error}") from None
    return len(bunch.target)
