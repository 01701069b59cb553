"""The configuration folder of a rollout in one server: what is refused, and by whom it is held. No server is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine_serving.config import PinnedModel, ServingConfig, write_config
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.one_server.target import OneServerTarget, one_server
from vitrine_serving.rollout.state import Phase, RolloutState

HOLDING = """
import sys
from pathlib import Path
from vitrine_serving.rollout.one_server.lock import FolderLock
with FolderLock(Path(sys.argv[1])).held("rollout of version 2 by ann@desk"):
    print("held", flush=True)
    sys.stdin.read()
"""


def target(folder: Path, model: str | None = None) -> OneServerTarget:
    return one_server(folder, model, "127.0.0.1:1", "127.0.0.1:1")


def configure(folder: Path, *models: PinnedModel) -> Path:
    write_config(folder, ServingConfig(models))
    return folder


def pinned(name: str, *versions: int, **labels: int) -> PinnedModel:
    return PinnedModel(name, f"/models/{name}", versions, labels)


def test_a_second_command_is_refused_and_told_of_the_first(tmp_path) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, stable=1)))
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "rollout.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        refusal = r"another command: rollout of version 2 by ann@desk, since 20\d\d-"
        with pytest.raises(CommandError, match=refusal), here.held("bob@desk"):
            pass
        first.kill()
        first.wait()
        # The kernel has dropped what the killed process held.
        with here.held("bob@desk"):
            here.save(RolloutState(2, 1, Phase.STARTING))


def test_a_lock_that_was_taken_away_is_noticed_before_anything_is_changed(tmp_path) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, stable=1)))
    with here.held("ann@desk"):
        (tmp_path / "rollout.lock").unlink()
        with pytest.raises(CommandError, match="was removed while it was held"):
            here.save(RolloutState(2, 1, Phase.STARTING))
    assert here.state() is None


def test_each_model_has_a_rollout_of_its_own(tmp_path) -> None:
    configure(tmp_path, pinned("digits", 1, stable=1), pinned("flowers", 4, stable=4))
    state = RolloutState(2, 1, Phase.WAITING, by="ann@desk", reason="")
    target(tmp_path, "digits").save(state)
    target(tmp_path, "flowers").save(RolloutState(5, 4, Phase.PROMOTED))
    assert target(tmp_path, "digits").state() == state
    assert target(tmp_path, "flowers").state() == RolloutState(5, 4, Phase.PROMOTED)


def test_without_a_name_it_is_the_only_model(tmp_path) -> None:
    assert target(configure(tmp_path / "one", pinned("digits", 1, stable=1))).model == "digits"
    configure(tmp_path / "two", pinned("digits", 1, stable=1), pinned("flowers", 4, stable=4))
    with pytest.raises(CommandError, match="--model: digits, flowers"):
        target(tmp_path / "two")
    with pytest.raises(CommandError, match="no model pets; it has: digits, flowers"):
        target(tmp_path / "two", "pets")


@pytest.mark.parametrize(
    ("model", "version"),
    [
        (pinned("digits", 1, 2, stable=1, canary=2), 1),
        (pinned("digits", 3), 3),
        (pinned("digits", 3, production=3), 3),
    ],
)
def test_stable_is_what_the_label_says_or_the_only_version(tmp_path, model: PinnedModel, version: int) -> None:
    assert target(configure(tmp_path, model)).stable_version() == version


def test_versions_without_a_label_are_not_guessed_between(tmp_path) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, 2)))
    with pytest.raises(CommandError, match=r"versions 1, 2 and no label stable.*config write"):
        here.stable_version()


def test_a_file_that_serves_whatever_is_newest_is_refused_with_the_way_out(tmp_path) -> None:
    configure(tmp_path, pinned("digits", 1, stable=1))
    newest = 'model_config_list { config { name: "digits" base_path: "/m/digits" model_platform: "tensorflow" } }'
    (tmp_path / "models.config").write_text(newest)
    with pytest.raises(CommandError, match=r"not just pinned.*specific"):
        target(tmp_path)


def test_a_model_with_further_versions_is_not_rolled_out(tmp_path) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, 3, stable=1)))
    with pytest.raises(CommandError, match=r"further versions \(3\).*config write"):
        here.start_canary(2)


@pytest.mark.parametrize("text", ["", "[]", '{"digits": 1}', '{"digits": {"state": {"version": 1}}}'])
def test_a_record_that_nobody_wrote_is_told_of(tmp_path, text: str) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, stable=1)))
    (tmp_path / "rollout.json").write_text(text)
    with pytest.raises(CommandError, match=r"rollout\.json.*cannot be read"):
        here.state()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_told_of(tmp_path) -> None:
    here = target(configure(tmp_path, pinned("digits", 1, stable=1)))
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CommandError, match=r"cannot write .*rollout\.lock"), here.held("ann@desk"):
            pass
    finally:
        tmp_path.chmod(0o755)
