"""Speed as ratios: what is compared runs side by side on one machine."""

import os

# TensorFlow's remarks on missing GPUs would stand between the figures.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
