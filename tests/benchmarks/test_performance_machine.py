"""What the document says about the machine, and what nvidia-smi says about its GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.performance import gpu, machine
from benchmarks.performance.section import Bench, NotHere

# Made by hand in the format of `nvidia-smi --query-gpu=index,utilization.gpu,memory.used,memory.total
# --format=csv,noheader,nounits -lms=200`: no machine with a GPU was at hand to record one.
_LINES = """\
0, 87, 14210, 15360
1, 3, 412, 15360
0, 91, 14226, 15360
1, 5, 412, 15360
0, [N/A], 14226, 15360
Unable to determine the device handle for GPU 0000:00:1E.0
"""
_CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\n"


def test_lines_of_nvidia_smi_without_figures_are_left_out() -> None:
    samples = gpu.parse(_LINES)
    assert len(samples) == 4
    assert samples[0] == gpu.Sample(index=0, utilisation=87, used=14210, total=15360)


def test_utilisation_is_that_of_the_busiest_gpu() -> None:
    samples = gpu.Samples(gpu.parse(_LINES))
    assert samples.utilisation() == pytest.approx(89)
    assert samples.used() == 14226


def test_without_samples_there_is_no_utilisation() -> None:
    assert gpu.Samples().utilisation() is None
    assert gpu.Samples().used() is None


def test_a_program_called_nvidia_smi_is_sampled_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, 50, 100, 200'\ntouch \"$0.said\"\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    from processes import wait_until

    with gpu.watching() as samples:
        wait_until((tmp_path / "nvidia-smi.said").exists, "nvidia-smi said something")
    assert samples.taken == [gpu.Sample(0, 50, 100, 200)]


def test_without_nvidia_smi_the_section_says_that_it_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHere, match="not run here: this machine has no nvidia-smi"):
        gpu.SECTION.run(Bench(None, tmp_path, 1, 1.0, 2))
    with gpu.watching() as samples:
        pass
    assert samples.taken == []


def test_cores_that_decode_for_a_gpu() -> None:
    assert gpu.decode_cores(decode_seconds=0.002, pictures_per_second=3000) == pytest.approx(6)


def test_the_cpu_has_its_model_where_linux_knows_it() -> None:
    assert machine.cpu_model(_CPUINFO) == "Intel(R) Xeon(R) CPU @ 2.20GHz"
    assert machine.cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n")


def test_memory_is_in_gigabytes() -> None:
    assert machine.memory_gigabytes("MemTotal:        8000000 kB\nMemFree: 1 kB\n") == pytest.approx(8.192)


def test_a_machine_at_work_is_warned_of() -> None:
    assert machine.warning(0.1, cores=2) is None
    warned = machine.warning(1.5, cores=2)
    assert warned is not None
    assert "1.50 of 2 cores were busy" in warned


def test_a_process_at_work_is_a_busy_core() -> None:
    endless = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", endless], stdout=subprocess.PIPE) as worker:
        try:
            assert worker.stdout is not None
            worker.stdout.readline()
            busy = machine.busy_cores(1.0)
        finally:
            worker.kill()
    # Others may be at work, too, and take from it.
    assert busy > 0.3


def test_facts_are_plain_words_that_a_json_file_takes() -> None:
    facts = machine.facts()
    assert facts["tensorflow"].startswith("2.20")
    assert json.loads(json.dumps(facts)) == facts
