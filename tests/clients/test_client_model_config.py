"""What a server is told to serve: refused here where no server would know what to do with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vitrine_client import InvalidInput
from vitrine_client.model_config import ModelConfig


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": ""}, "name=''"),
        ({"name": b"flowers"}, "name=b'flowers'"),
        ({"name": "\ud800"}, "name="),
        ({"base_path": ""}, "base_path=''"),
        ({"base_path": Path("/models")}, "base_path="),
        ({"platform": None}, "platform=None"),
        ({"latest": 0}, "latest=0"),
        ({"latest": 2**32}, "latest=4294967296"),
        ({"latest": True}, "latest=True"),
        ({"latest": 1.0}, "latest=1.0"),
        ({"specific": 3}, "specific=3"),
        ({"specific": "12"}, "specific='12'"),
        ({"specific": (1, -1)}, r"specific=\(1, -1\)"),
        ({"specific": [2**63]}, r"specific=\[9223372036854775808\]"),
        ({"all": 1}, "all=1"),
        ({"latest": 1, "all": True}, "latest=.*, specific=.* and all="),
        ({"latest": 1, "specific": (1,)}, "latest=.*, specific=.* and all="),
        ({"specific": (1,), "all": True}, "latest=.*, specific=.* and all="),
        ({"labels": ["stable"]}, r"labels=\['stable'\]"),
        ({"labels": {"": 1}}, "labels=''"),
        ({"labels": {1: 1}}, "labels=1"),
        ({"labels": {"stable": "1"}}, r"labels\['stable'\]='1'"),
        ({"labels": {"stable": -1}}, r"labels\['stable'\]=-1"),
    ],
    ids=str,
)
def test_what_no_server_knows_is_refused_by_name(values: dict[str, object], told: str):
    with pytest.raises(InvalidInput, match=rf"{told}.*: give "):
        ModelConfig(**{"name": "flowers", "base_path": "/models/flowers", **values})


def test_numbers_of_numpy_are_numbers():
    config = ModelConfig("flowers", "/models/flowers", latest=np.int64(2), labels={"stable": np.int32(1)})
    assert config.latest == 2


def test_it_cannot_be_changed():
    config = ModelConfig("flowers", "/models/flowers")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "dogs"
