"""The sections of a recipe that are about pictures, training and export. A field's text is its documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(Strict):
    """Shares of the pictures, by a hash of each file's content; they add up to 1."""

    train: float = Field(0.7, gt=0, lt=1)
    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.15, gt=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**32)
    """Another seed gives another split of the same shares. Not used where the layout says which picture is what."""

    @model_validator(mode="after")
    def _add_up(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must add up to 1, not {total:g}")
        return self


class DatasetConfig(Strict):
    """Where the pictures are, how they lie there, and which of them are used."""

    path: str | None = None
    """The folder; relative to the current directory."""
    source: Literal["digits", "flower_photos", "pet_images", "dog_images", "dog_breed_identification"] | None = None
    """Where the pictures come from if `path` does not exist yet: made (digits) or downloaded (all others)."""
    layout: Literal["auto", "folders", "csv", "splits"] = "auto"
    """`folders`: one folder per class. `csv`: labels.csv (id, label) beside train/. `splits`: class folders in train/,
    valid/ and test/. `auto` looks which of them it is."""
    split: Split = Split()
    balance: Literal["none", "undersample", "weights"] = "none"
    """Classes of unequal size: `undersample` leaves training pictures of the larger ones out, `weights` weighs the
    loss of each picture by the inverse of its class's share."""
    max_per_class: int | None = Field(None, ge=3)
    """At most so many pictures of each class, over all splits; which ones depends on their content and split.seed."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do with the same file in two splits or under two labels."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where decoded pictures are kept between epochs; `auto` is memory where they fit into 1 GiB, else disk."""


class EarlyStopping(Strict):
    patience: int = Field(5, ge=1)
    """Epochs without improvement after which training ends; the best epoch's weights are kept."""
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    min_delta: float = Field(0.0, ge=0)


class FineTune(Strict):
    """A second stage after the head is trained: the backbone learns too, slowly."""

    layers: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """How many of the backbone's last layers with weights learn. Batch normalisation keeps its ImageNet statistics."""
    epochs: int = Field(5, ge=1, le=10_000)
    learning_rate: float = Field(1e-5, gt=0, le=10)


class TrainingConfig(Strict):
    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(32, ge=1, le=65_536)
    """Pictures per step; with several GPUs or workers, over all of them."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """The rate at the start (after `warmup_epochs`)."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """`sgd` has Nesterov momentum 0.9."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """Of adamw and sgd, decoupled from the gradient."""
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    """`cosine` falls to zero over all epochs; `plateau` halves the rate after 3 epochs without a lower val_loss."""
    warmup_epochs: int = Field(0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    early_stopping: EarlyStopping | None = None
    mixed_precision: bool = False
    """Compute in 16 bits (float16 on GPUs, bfloat16 elsewhere), keep weights and logits in float32."""
    fine_tune: FineTune | None = None
    seed: int = Field(0, ge=0, lt=2**32)


class Choices(Strict):
    choices: list[bool | int | float | str] = Field(min_length=1)
    sets: list[str] = []
    """The recipe's keys that take the value; the name of the entry itself where none are given."""


class Range(Strict):
    low: float
    high: float
    log: bool = False
    """Draw on a logarithmic scale."""
    integer: bool = False
    sets: list[str] = []

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 where log is true")
        return self


def _kind_of_entry(entry: Any) -> str:
    return "range" if isinstance(entry, Range) or (isinstance(entry, dict) and "choices" not in entry) else "choices"


Entry = Annotated[Annotated[Choices, Tag("choices")] | Annotated[Range, Tag("range")], Discriminator(_kind_of_entry)]


class SearchConfig(Strict):
    """Hyperparameter search: what is tried before the winner is trained in full."""

    sampler: Literal["grid", "random", "tpe"] = "tpe"
    metric: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What decides: the best epoch's lowest loss or highest accuracy on the validation split."""
    trials: int | None = Field(None, ge=1)
    """How many; for `grid` the whole grid where none are given, else 20."""
    epochs: int | None = Field(None, ge=1)
    """Of each trial; `training.epochs` where none are given."""
    pruner: Literal["none", "median", "hyperband"] = "none"
    """Ends trials that are clearly behind the others at the same epoch."""
    jobs: int | None = Field(None, ge=1)
    """Trials at a time, each in a process of its own; as many as cores and memory allow where none are given."""
    seed: int = Field(0, ge=0, lt=2**32)
    space: dict[str, Entry] = Field(min_length=1)


class BatchingConfig(Strict):
    """The in-graph batch round the network. A request with more pictures than the largest size is split."""

    allowed_batch_sizes: list[Annotated[int, Field(ge=1, le=4096)]] = Field([1, 2, 4, 8, 16, 32], min_length=1)
    batch_padding_policy: Literal["BATCH_DOWN", "PAD_UP"] = "BATCH_DOWN"
    """What becomes of 7 requests' waiting pictures where batches of 4 and 8 are allowed. BATCH_DOWN: 4 run, 3 wait for
    the next batch; only the pictures of one request stay together, and are filled up. PAD_UP: all run, filled up to 8;
    for a GPU, where that costs little."""
    batch_timeout_micros: int = Field(0, ge=0, le=1_000_000)
    """How long a batch waits for more pictures, in microseconds; 0 batches what is waiting anyway."""
    num_batch_threads: int = Field(4, ge=1, le=256)
    max_enqueued_batches: int = Field(1000, ge=1)

    @field_validator("allowed_batch_sizes")
    @classmethod
    def _increasing(cls, sizes: list[int]) -> list[int]:
        if sizes != sorted(set(sizes)):
            raise ValueError("must increase from one size to the next")
        return sizes


class ExportConfig(Strict):
    top_k: int = Field(5, ge=1, le=1000)
    """How many labels `serving_default` answers with; never more than there are classes."""
    golden_pictures: int = Field(16, ge=1, le=256)
    """Test pictures kept in every version with the network's answers, for later checks."""
    temperature_scaling: bool = False
    """Divide the logits by a temperature fitted on the validation split, so that scores are honest probabilities
    (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""
    batching: BatchingConfig = BatchingConfig()
