"""What trains: one device, several of this machine, or several machines."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from vitrine_export.errors import RunError
from vitrine_export.training.cluster import Cluster, read_cluster

_T = TypeVar("_T")


@dataclass(frozen=True)
class Devices:
    """The devices that train together, all on the same weights."""

    strategy: Any
    """tf.distribute.Strategy."""
    cluster: Cluster | None = None

    @property
    def workers(self) -> int:
        return len(self.cluster.addresses) if self.cluster else 1

    @property
    def number(self) -> int:
        """Of this worker."""
        return self.cluster.number if self.cluster else 0

    @property
    def replicas(self) -> int:
        """Devices of this worker."""
        return self.strategy.num_replicas_in_sync // self.workers

    @property
    def chief(self) -> bool:
        """Whether this worker writes the run, its checkpoints and its logs."""
        return self.number == 0

    def batch_size(self, batch_size: int) -> int:
        """This worker's part of a batch over all workers; at least one picture for each of its devices."""
        return max(self.replicas, -(-batch_size // self.workers))

    def share(self, items: Sequence[_T]) -> list[_T]:
        """This worker's share of what is trained on.

        All shares are of one length, so that all workers take the same number of steps: where the items do not divide
        evenly, some are in two shares.
        """
        length = -(-len(items) // self.workers)
        return [items[(self.number + i * self.workers) % len(items)] for i in range(length)]

    def part(self, items: Sequence[_T]) -> list[_T]:
        """This worker's part of what is measured: every item is in one part only."""
        return list(items[self.number :: self.workers])

    def total(self, values: Any) -> Any:
        """The sum of `values`, a numpy array of the same shape on every worker, over all workers."""
        if self.workers == 1:
            return values
        # The sum is over devices too: one of this worker's has the values, the others have none.
        replicas = self.replicas

        def of_replica(context: Any) -> Any:
            first = context.replica_id_in_sync_group % replicas == 0
            return tf.constant(values if first else np.zeros_like(values))

        distributed = self.strategy.experimental_distribute_values_from_function(of_replica)
        return self.strategy.reduce("SUM", distributed, axis=None).numpy()

    def from_chief(self, data: bytes) -> bytes:
        """The chief's `data`, on every worker."""
        if self.workers == 1:
            return data
        length = int(self.total(np.array(len(data) if self.chief else 0, np.int64)))
        # As whole numbers, which add up to themselves where all workers but one have zeros.
        words = np.zeros(-(-length // 4), np.int32)
        if self.chief:
            words.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        return self.total(words).tobytes()[:length] if length else b""


@functools.cache
def devices() -> Devices:
    """The devices of this process: TF_CONFIG's cluster, or all GPUs, or whatever TensorFlow takes by itself.

    With TF_CONFIG this must be called before TensorFlow has computed anything, and waits for all workers. Raises
    RunError for a TF_CONFIG that cannot work.
    """
    cluster = read_cluster(os.environ)
    _grow_gpu_memory()
    if cluster is not None:
        return Devices(_join(cluster), cluster)
    # Several CPUs only where somebody has configured them.
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) > 1:
        return Devices(tf.distribute.MirroredStrategy([device.name for device in found]))
    return Devices(tf.distribute.get_strategy())


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def _join(cluster: Cluster) -> Any:
    sys.stderr.write(f"worker {cluster.number}: waiting for {', '.join(cluster.addresses)}\n")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RunError(f"TF_CONFIG: cannot join the other workers: {' '.join(str(error).split())}") from None
    except tf.errors.OpError as error:
        raise RunError(f"TF_CONFIG: cannot join the other workers: {' '.join(error.message.split())[:300]}") from None


def _grow_gpu_memory() -> None:
    """Take GPU memory as it is needed and not all at once, so that others can use the GPU too."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # TensorFlow is running already, with what TF_FORCE_GPU_ALLOW_GROWTH said when it started.
            return
