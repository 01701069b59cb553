"""The pictures that both versions are asked about."""

from __future__ import annotations

from pathlib import Path

from vitrine_client.cli.picture_paths import picture_paths
from vitrine_client.errors import InvalidInput
from vitrine_client.images import ImageOptions, encode_image
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.version_store import Candidate

# More would only be memory: a step asks about one a second or so.
_MOST = 500


def sample_pictures(candidate: Candidate, folder: Path | None) -> list[bytes]:
    """The golden pictures, and those in `folder` and below it, as they are sent; 500 of a larger folder, spread evenly.

    Raises CommandError for a folder without pictures, or a picture that cannot be decoded.
    """
    golden = [picture.content for picture in candidate.golden]
    if folder is None:
        return golden
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder of samples; name one with pictures")
    try:
        paths = picture_paths([str(folder)])
        chosen = paths[:: -(-len(paths) // _MOST)]
        options = ImageOptions(max_side=2048, check="full")
        return golden + [encode_image(path, position, options) for position, path in enumerate(chosen)]
    except InvalidInput as error:
        raise CommandError(f"{folder}: samples that cannot be used: {error}; take them out or name another") from None
