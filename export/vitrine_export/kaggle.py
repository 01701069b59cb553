"""Kaggle, through its own client kagglehub: what keeps that from hanging, and its errors in our words."""

from __future__ import annotations

import contextlib
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from vitrine_export.fetching import TIMEOUTS, FetchError, Unreachable, reason_of


def from_kaggle(page: str, download: Callable[[Any], str], *, account: bool) -> Path:
    """The folder that `download`, given the module kagglehub, has put its files into.

    `page` is what messages name. With `account`, credentials must be there before anything is sent. Raises
    Unreachable or another FetchError.
    """
    # kagglehub speaks to standard output, which belongs to the command's own result.
    with contextlib.redirect_stdout(sys.stderr):
        import kagglehub
        from kagglehub import config, exceptions
        from kagglesdk.kaggle_env import get_endpoint, get_env

        try:
            if account and config.get_kaggle_credentials() is None:
                raise FetchError(
                    page,
                    "needs a Kaggle account: set KAGGLE_USERNAME and KAGGLE_KEY, or put the API token that "
                    "https://www.kaggle.com/settings creates into ~/.kaggle/kaggle.json",
                )
            # kagglehub's own requests have no timeout: where a firewall swallows them, they would wait for ever.
            _require_reachable(get_endpoint(get_env()))
            return Path(download(kagglehub))
        except requests.HTTPError as error:
            # Its texts are a sentence per line.
            raise Unreachable(page, " ".join(str(error).split())) from None
        except requests.RequestException as error:
            raise Unreachable(page, reason_of(error)) from None
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            # kagglehub keeps what it cannot unpack, and would take it for the whole download the next time.
            kept = config.get_cache_folder()
            raise FetchError(page, f"what came is damaged ({error}); remove it from {kept} and try again") from None
        except (
            OSError,
            ValueError,
            exceptions.BackendError,
            exceptions.CredentialError,
            exceptions.DataCorruptionError,
            exceptions.NotFoundError,
            exceptions.UnauthenticatedError,
        ) as error:
            raise FetchError(page, " ".join(str(error).split())) from None


def _require_reachable(url: str) -> None:
    """Raise Unreachable where no server answers at `url`; whatever it answers is fine."""
    try:
        requests.head(url, timeout=TIMEOUTS).close()
    except requests.RequestException as error:
        raise Unreachable(url, reason_of(error)) from None
