"""A version appears in the store whole or not at all, whatever happens to its publisher."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitrine_export import manifest
from vitrine_export.errors import RunError, StoreError
from vitrine_export.staging import staging_folder
from vitrine_export.store import publish
from vitrine_serving.model_store import local_versions


def in_child(act: Callable[[], object]) -> int:
    """Run `act` in a forked process; returns its exit code, 0 if `act` returned, or minus a signal's number."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            act()
            code = 0
        except StoreError as error:
            os.write(2, f"{error}\n".encode())
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def whole(models: Path, name: str = "digits") -> list[int]:
    """The versions in the store, each checked to be complete."""
    found = list(local_versions(models / name))
    for version in found:
        folder = models / name / str(version)
        assert manifest.verify(folder, manifest.read(folder)) == []
    return found


def leftovers(models: Path) -> list[str]:
    return [entry.name for entry in (models / "digits").iterdir() if not entry.name.isdigit()]


def test_versions_count_up_and_hold_what_was_exported(candidate: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert [publish(candidate, models).name for _ in range(3)] == ["1", "2", "3"]
    assert whole(models) == [1, 2, 3]
    assert leftovers(models) == []
    assert (models / "digits" / "3" / "saved_model.pb").stat().st_mode & 0o444 == 0o444


def test_numbers_go_on_from_the_highest_whatever_else_lies_there(candidate: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("7", "notes", "rejected-1", "²"):
        (models / "digits" / name).mkdir(parents=True)
    assert publish(candidate, models).name == "8"


def test_killed_at_any_moment(candidate: Path, tmp_path: Path) -> None:
    """SIGKILL at each file operation of a publish in turn, until one gets through."""
    models, step, before = tmp_path / "models", 0, []
    while True:
        step += 1

        def publish_until(step: int = step) -> None:
            countdown = step

            def hook(event: str, arguments: object) -> None:
                nonlocal countdown
                if event.startswith(("open", "os.", "shutil.", "tempfile.", "fcntl.")):
                    countdown -= 1
                    if countdown == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            publish(candidate, models)

        code = in_child(publish_until)
        now = whole(models) if (models / "digits").is_dir() else []
        assert now in (before, [*before, len(before) + 1])
        if code == 0:
            break
        assert code == -signal.SIGKILL
        before = now
    assert step > 50
    assert leftovers(models) == []


def test_two_publishers_at_once_get_two_numbers(candidate: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    ready, go = os.pipe()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                os.close(go)
                os.read(ready, 1)
                publish(candidate, models)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    os.close(go)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    os.close(ready)
    assert whole(models) == [1, 2, 3, 4]
    assert leftovers(models) == []


def test_a_living_publishers_work_is_left_alone(candidate: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with staging_folder(models / "digits") as other:
        (other / "half").write_text("half a version")
        assert in_child(lambda: publish(candidate, models)) == 0
        assert (other / "half").exists()


def test_a_file_size_limit_while_publishing(candidate: Path, tmp_path: Path, capfd) -> None:
    models = tmp_path / "models"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        publish(candidate, models)

    assert in_child(limited) == 1
    assert "cannot publish to" in capfd.readouterr().err
    assert whole(models) == []
    assert leftovers(models) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 200 kB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", mounted], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs: {mount.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def test_a_full_disk_while_publishing(candidate: Path, small_disk: Path) -> None:
    with pytest.raises(StoreError, match=os.strerror(errno.ENOSPC)):
        publish(candidate, small_disk)
    assert whole(small_disk) == []
    assert leftovers(small_disk) == []


def test_a_store_that_is_a_file(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot publish to .*file/digits"):
        publish(candidate, tmp_path / "file")


def test_a_store_on_a_read_only_disk(candidate: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match=os.strerror(errno.EROFS)):
        publish(candidate, small_disk)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_permission(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(StoreError, match=os.strerror(errno.EACCES)):
        publish(candidate, tmp_path / "locked")


def test_only_a_blessed_and_undamaged_export_is_published(candidate: Path, tmp_path: Path) -> None:
    described = manifest.read(candidate)
    with (candidate / "variables" / "variables.index").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match=r"differs from its manifest: variables/variables.index: content changed"):
        publish(candidate, tmp_path / "models")
    manifest.write(candidate, {**described, "blessing": None})
    with pytest.raises(StoreError, match="not blessed"):
        publish(candidate, tmp_path / "models")
    with pytest.raises(RunError, match="no export there"):
        publish(tmp_path, tmp_path / "models")
    assert local_versions(tmp_path / "models" / "digits") == {}
