"""The files that TensorFlow Serving and the embedded server are configured with: read, checked, written.

Nothing in here imports TensorFlow: it runs where only the clients' packages are installed.
"""

from vitrine_serving.config.batching import BatchingParameters, BatchingSettings
from vitrine_serving.config.checking import Finding, check_file
from vitrine_serving.config.errors import InvalidConfig
from vitrine_serving.config.flags import server_flags
from vitrine_serving.config.folder import ServingConfig, write_config
from vitrine_serving.config.models import PinnedModel, models_text, read_models
from vitrine_serving.config.pinning import pin_model

__all__ = [
    "BatchingParameters",
    "BatchingSettings",
    "Finding",
    "InvalidConfig",
    "PinnedModel",
    "ServingConfig",
    "check_file",
    "models_text",
    "pin_model",
    "read_models",
    "server_flags",
    "write_config",
]
