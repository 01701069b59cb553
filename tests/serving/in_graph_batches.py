"""A model with a batch in its graph, as vitrine-export makes them, that tells how many rows ran together."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

SIZES = (4, 8)


class Exported(tf.Module):
    """Two signatures share one batch, which splits requests and has allowed sizes, or has all of that by default.

    Both answer with x / 2 + 1 and how many rows ran together.
    """

    def __init__(self, splits: bool, policy: str, enqueued: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.half = tf.Variable(0.5)
        self._splits, self._policy, self._enqueued, self._sizes = splits, policy, enqueued, sizes

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        def network(x):
            return self.half * x + 1, tf.fill(tf.shape(x), tf.size(x))

        self.network = network.get_concrete_function()
        for name in ("one", "other"):
            spec = tf.TensorSpec([None], tf.float32, name="x")
            setattr(self, name, tf.function(self._answer, [spec], autograph=False))

    def _answer(self, x):
        options = {
            "allowed_batch_sizes": self._sizes,
            "enable_large_batch_splitting": True,
            "max_enqueued_batches": self._enqueued,
            "batch_padding_policy": self._policy,
        }
        y, rows = tf.raw_ops.BatchFunction(
            in_tensors=[x],
            captured_tensors=self.network.captured_inputs,
            f=self.network,
            Tout=[tf.float32, tf.int32],
            num_batch_threads=4,
            max_batch_size=64 if self._splits else 8,
            batch_timeout_micros=0,
            shared_name=f"rows_{id(self)}",
            **(options if self._splits else {}),
        )
        return {"y": y, "rows": rows}


def exported(
    folder: Path, splits: bool = True, policy: str = "PAD_UP", enqueued: int = 1000, sizes: tuple[int, ...] = SIZES
) -> Path:
    module = Exported(splits, policy, enqueued, sizes)
    tf.saved_model.save(module, str(folder), signatures={"one": module.one, "other": module.other})
    return folder
