"""Do a version's servers give the answers that its manifest promises?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vitrine_client.blocking import Client
from vitrine_client.errors import BadResponse, DeadlineExceeded, Overloaded, Unavailable, VitrineError
from vitrine_serving.rollout.errors import NotAnswered
from vitrine_serving.rollout.evidence import Finding
from vitrine_serving.rollout.version_store import Candidate, GoldenPicture

CHECK = "golden pictures"
_SIGNATURE = "probabilities"
# Of a server that is not there, or not yet, or has too much to do: no answers.
_NO_ANSWER = (Unavailable, DeadlineExceeded, Overloaded, BadResponse)
# Few enough that a request with large photos stays below the limits of proxies on the way.
_BATCH = 4


def check_golden(clients: Sequence[Client], candidate: Candidate, tolerance: float) -> Finding:
    """Ask every server about every golden picture, and compare the probabilities with the manifest's.

    Args:
        clients: one for each of the version's servers; they stay open.
        tolerance: how far a probability may be off. Batches and other hardware sum in another order.

    Returns:
        What is told is the answer that is off most: its server, picture and label; or why nothing could be compared.

    Raises:
        NotAnswered: a server is not there, or does not answer in time.
    """
    if not candidate.golden:
        return _bad(f"version {candidate.version} has none, so its servers' answers cannot be checked; export it anew")
    if not clients:
        raise NotAnswered(f"no server of version {candidate.version} is there to be asked")
    worst, told, wrong = 0.0, "", set()
    for client in clients:
        for start in range(0, len(candidate.golden), _BATCH):
            batch = candidate.golden[start : start + _BATCH]
            expected = np.array([picture.probabilities for picture in batch])
            try:
                answer = client.predict({"image_bytes": [picture.content for picture in batch]}, _SIGNATURE)
            except _NO_ANSWER as error:
                raise NotAnswered(str(error)) from None
            except VitrineError as error:
                return _bad(f"{batch[0].name} and the next ones: {error}")
            got = answer.get(_SIGNATURE)
            if got is None or got.dtype.kind != "f" or got.shape != expected.shape:
                return _bad(f"{client!r} does not answer with probabilities {list(expected.shape)}")
            # What is not a number is as far off as can be.
            off = np.nan_to_num(np.abs(got - expected), nan=np.inf)
            wrong |= {picture.name for picture, row in zip(batch, off, strict=True) if row.max() > tolerance}
            if off.max() > max(worst, tolerance):
                worst, told = (
                    float(off.max()),
                    _difference(client, candidate, batch, got, off) + f" (at most {tolerance:g} off)",
                )
    asked = f"{len(candidate.golden)} pictures on {len(clients)} server{'s' if len(clients) > 1 else ''}"
    if not wrong:
        return Finding(CHECK, True, f"{CHECK}: {asked} answered as the manifest says")
    return _bad(f"{len(wrong)} of {asked} answered otherwise than the manifest says, most of all {told}")


def _difference(
    client: Client,
    candidate: Candidate,
    batch: Sequence[GoldenPicture],
    got: NDArray[np.float32],
    off: NDArray[np.float64],
) -> str:
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    picture = batch[int(row)]
    return (
        f"{picture.name}, label {candidate.labels[int(column)]!r}: {got[row, column]:.6f} where "
        f"{picture.probabilities[int(column)]:.6f} belongs, at {client!r}"
    )


def _bad(told: str) -> Finding:
    return Finding(CHECK, False, f"{CHECK}: {told}")
