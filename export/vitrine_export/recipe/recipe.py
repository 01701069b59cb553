"""The recipe as a whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from vitrine_export.recipe.backbones import value_step
from vitrine_export.recipe.networks import Cnn, LeNet, Transfer
from vitrine_export.recipe.sections import (
    DatasetConfig,
    ExportConfig,
    SearchConfig,
    Strict,
    TrainingConfig,
)

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Recipe(Strict):
    name: str = Field(pattern=MODEL_NAME)
    """The model's name in the model store and in every request."""
    description: str = ""
    dataset: DatasetConfig = DatasetConfig()
    preprocessing: str = Field(min_length=1)
    """From bytes to the network's input; see `pipeline`."""
    augmentation: str = ""
    """Random changes to training pictures, between the geometry and the pixel values of `preprocessing`."""
    model: Annotated[LeNet | Cnn | Transfer, Field(discriminator="name")]
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig | None = None
    export: ExportConfig = ExportConfig()

    @property
    def pipeline(self) -> str:
        """`preprocessing`, with the pixel values that the backbone expects where the recipe leaves them out."""
        step = value_step(self.model) if isinstance(self.model, Transfer) else ""
        return f"{self.preprocessing}|{step}" if step and step not in self._steps() else self.preprocessing

    @field_validator("preprocessing")
    @classmethod
    def _preprocessing_composes(cls, spec: str) -> str:
        # Here, because importing TensorFlow takes seconds that a mistyped key should not cost.
        from vitrine_export.preprocessing import Preprocessing

        Preprocessing(spec)
        return spec

    @field_validator("augmentation")
    @classmethod
    def _augmentation_composes(cls, spec: str) -> str:
        if spec:
            from vitrine_export.augmentation import Augmentation

            Augmentation(spec)
        return spec

    @model_validator(mode="after")
    def _values_are_the_backbones(self) -> Recipe:
        if isinstance(self.model, Transfer):
            step = value_step(self.model)
            given = [part for part in self._steps() if part.startswith(("value_range", "caffe", "torch"))]
            if given and given != [step]:
                raise ValueError(
                    f"preprocessing: {'|'.join(given)} is not what {self.model.backbone} expects, which is "
                    f"{step or 'pixel values from 0 to 255'}; leave it out or say otherwise in model.input"
                )
        return self

    def _steps(self) -> list[str]:
        return ["".join(part.split()) for part in self.preprocessing.split("|")]
