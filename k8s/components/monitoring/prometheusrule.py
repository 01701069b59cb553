"""Writes prometheusrule.yaml from monitoring/prometheus/rules, comments and all:

python k8s/components/monitoring/prometheusrule.py
"""

from __future__ import annotations

from pathlib import Path

RULES = Path(__file__).parents[3] / "monitoring" / "prometheus" / "rules"
RESULT = Path(__file__).with_name("prometheusrule.yaml")
_HEAD = """\
# yamllint disable-file
# Made from monitoring/prometheus/rules by prometheusrule.py: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vitrine
  labels:
    app.kubernetes.io/name: vitrine
spec:
  groups:
"""


def manifest(rules: Path = RULES) -> str:
    """All files' groups as one object."""
    return _HEAD + "\n".join(_groups(path.read_text()) for path in sorted(rules.glob("*.yml")))


def _groups(text: str) -> str:
    before, after = text.split("groups:\n")
    lines = (before + after).splitlines()
    return "".join(f"  {line}\n" if line else "\n" for line in lines)


if __name__ == "__main__":
    RESULT.write_text(manifest())
