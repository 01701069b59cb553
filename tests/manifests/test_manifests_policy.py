"""What a policy linter says of the manifests. `make test` installs it beside .venv."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rendered import REPOSITORY, everything

# What is left aside, and why.
EVERYWHERE = {
    "CKV_K8S_11": "CPU limits throttle servers in the middle of a request; requests keep their share",
    "CKV_K8S_15": "images have fixed tags; Always makes each start depend on the registry",
    "CKV_K8S_43": "digests are for whoever mirrors the images: kustomize's `images` sets them",
}
SINGLE = {
    ("CKV_K8S_8", "Deployment.vitrine.vitrine-load-workers"): "locust's workers listen on no port",
    ("CKV_K8S_9", "Deployment.vitrine.vitrine-load-workers"): "locust's workers listen on no port",
    ("CKV_K8S_38", "Job.vitrine.vitrine-rollout"): "it speaks to the API server: that is what it is for",
    ("CKV2_K8S_6", "vitrine-rollout"): "the NetworkPolicy is components/rollout's, which the Job takes",
    ("CKV2_K8S_6", "vitrine-train"): "the NetworkPolicy is components/train's, which the Jobs take",
}


def checkov() -> str:
    beside = REPOSITORY / ".venv-policy" / "bin" / "checkov"
    found = str(beside) if beside.is_file() else shutil.which("checkov")
    if found is None:
        pytest.skip("needs checkov, see requirements/policy.in")
    return found


def test_the_policy_linter_finds_nothing_without_a_written_reason(tmp_path: Path) -> None:
    program = checkov()
    for name, objects in everything().items():
        (tmp_path / f"{name.replace('/', '-')}.yaml").write_text(yaml.safe_dump_all(objects))
    done = subprocess.run(
        [program, "--directory", tmp_path, "--framework", "kubernetes", "--skip-download", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    failed = {
        (check["check_id"], check["resource"]): check["check_name"] for check in report["results"]["failed_checks"]
    }
    assert EVERYWHERE.keys() <= {check for check, _ in failed}, "a reason without a finding"
    assert {key: told for key, told in failed.items() if not _left_aside(*key)} == {}


def _left_aside(check: str, resource: str) -> bool:
    # CKV2 checks name a pod by its Deployment or Job and its labels.
    return check in EVERYWHERE or any(check == one and part in resource for one, part in SINGLE)
