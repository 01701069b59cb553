"""The networks that a recipe's `model` section can name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from vitrine_export.recipe.sections import Strict


class LeNet(Strict):
    """LeNet-5 (LeCun et al., 1998), with ReLU and max pooling."""

    name: Literal["lenet"]
    dropout: float = Field(0.0, ge=0, lt=1)


class Cnn(Strict):
    """Blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling, then dense layers."""

    name: Literal["cnn"]
    filters: list[Annotated[int, Field(ge=1, le=2048)]] | Annotated[int, Field(ge=1, le=2048)] = [32, 64, 128]
    """Of each block; a single number for all of `blocks`."""
    blocks: int | None = Field(None, ge=1, le=8)
    """How many blocks, where `filters` is a single number."""
    dense: int = Field(128, ge=1, le=8192)
    dense_layers: int = Field(1, ge=0, le=4)
    dropout: float = Field(0.3, ge=0, lt=1)
    batch_normalization: bool = True

    @field_validator("blocks")
    @classmethod
    def _filters_are_of_all_blocks(cls, blocks: int | None, info: ValidationInfo) -> int | None:
        if blocks is not None and isinstance(info.data.get("filters"), list):
            raise ValueError("takes `filters` as a single number; a list of them has one for each block")
        return blocks


class Transfer(Strict):
    """A network trained on other pictures (the backbone), with a new classifier (the head)."""

    name: Literal["transfer"]
    backbone: str = Field(min_length=1)
    """`keras.applications/NAME` (such as keras.applications/MobileNetV2), or a TensorFlow Hub feature vector: a URL, a
    Kaggle Models handle (OWNER/MODEL/FRAMEWORK/VARIATION/VERSION) or a local folder."""
    weights: str | None = "imagenet"
    """Of a keras.applications network: `imagenet`, a file, or null for random ones."""
    arguments: dict[str, Any] = {}
    """More arguments of a keras.applications network, such as {alpha: 0.35}."""
    input: Literal["auto", "zero_one", "minus_one_one", "caffe", "torch", "raw"] = "auto"
    """Pixel values that the backbone was trained on: [0, 1], [-1, 1], BGR less ImageNet's mean, RGB standardised by
    ImageNet's mean and deviation, or [0, 255]. `auto`: what keras.applications documents, [0, 1] for TensorFlow Hub."""
    pooling: Literal["avg", "max"] = "avg"
    """Over the last feature map of a keras.applications network."""
    features: bool = True
    """Compute the frozen backbone's output for every picture once, keep it on disk and train the head on that."""
    augmented_views: int = Field(0, ge=0, le=1000)
    """With `features`: so many augmented copies of each training picture beside the picture itself."""
    dense: int = Field(0, ge=0, le=8192)
    """Units of a hidden layer in the head; 0 for none."""
    dropout: float = Field(0.2, ge=0, lt=1)
    batch_normalization: bool = False
    """Standardise the features before the head."""
