"""What a backbone expects of pixel values: part of the model, and yet a step of the preprocessing."""

from __future__ import annotations

from vitrine_export.recipe.networks import Transfer

APPLICATIONS = "keras.applications/"

_STEPS = {
    "zero_one": "value_range(0,1)",
    "minus_one_one": "value_range(-1,1)",
    "caffe": "caffe",
    "torch": "torch",
    "raw": "",
}
# By the start of the name, the longest that fits; source: `preprocess_input` of each module in keras.applications.
_DOCUMENTED = {
    "ConvNeXt": "raw",
    "DenseNet": "torch",
    "EfficientNet": "raw",
    "InceptionResNetV2": "minus_one_one",
    "InceptionV3": "minus_one_one",
    "MobileNet": "minus_one_one",
    "MobileNetV3": "raw",
    "NASNet": "minus_one_one",
    "ResNet": "caffe",
    "ResNet50V2": "minus_one_one",
    "ResNet101V2": "minus_one_one",
    "ResNet152V2": "minus_one_one",
    "VGG": "caffe",
    "Xception": "minus_one_one",
}


def value_step(config: Transfer) -> str:
    """The step of a preprocessing string that gives the backbone the pixel values it was trained on; may be empty.

    Raises ValueError where `input` is `auto` and nothing is known about the backbone.
    """
    if config.input != "auto":
        return _STEPS[config.input]
    if not config.backbone.startswith(APPLICATIONS):
        # tensorflow.org/hub/common_signatures/images: "expected to have values in the range [0,1]".
        return _STEPS["zero_one"]
    name = config.backbone.removeprefix(APPLICATIONS)
    fitting = [start for start in _DOCUMENTED if name.startswith(start)]
    known = _DOCUMENTED[max(fitting, key=len)] if fitting else None
    if known is None or (known == "raw" and config.arguments.get("include_preprocessing") is False):
        raise ValueError(f"the pixel values that {config.backbone} expects are not known; give model.input")
    return _STEPS[known]
