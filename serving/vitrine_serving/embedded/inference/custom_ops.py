"""Operations from outside TensorFlow that TensorFlow Serving's binary has built in."""

from __future__ import annotations

import importlib
import importlib.util
import logging

logger = logging.getLogger(__name__)

# Importing a package registers its operations.
_PACKAGES = ("tensorflow_text", "tensorflow_decision_forests")


def register_installed() -> None:
    """Make the operations of those packages that are installed known to TensorFlow."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            continue
        try:
            importlib.import_module(package)
        except Exception as error:
            logger.warning("%s is installed but cannot be imported: %s", package, error)
        else:
            logger.info("Operations of %s are available", package)
