"""What is known about both versions when the canary is judged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """Requests to one track in the time that is judged; times in seconds, None where there were no requests.

    Attributes:
        p50_at_least, p99_at_least: what the percentile is beyond doubt, where requests are so few that it is a guess.
            None: there are many.
    """

    requests: int
    errors: int
    p50: float | None
    p99: float | None
    p50_at_least: float | None = None
    p99_at_least: float | None = None


@dataclass(frozen=True)
class Evidence:
    """Both tracks side by side.

    Attributes:
        source: `prometheus` or `probing`: who counted and timed.
        compared, disagreements: pictures both were asked about, and those they gave another best label to.
    """

    source: str
    stable: Traffic
    canary: Traffic
    compared: int
    disagreements: int


@dataclass(frozen=True)
class Finding:
    """One judgement: `ok`, and one line that says what was seen against what is allowed."""

    check: str
    ok: bool
    told: str


@dataclass(frozen=True)
class Verdict:
    """All judgements; `ok` where none is against the canary."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    @property
    def reason(self) -> str:
        """What speaks against the canary, in one line; empty if nothing does."""
        return "; ".join(finding.told for finding in self.findings if not finding.ok)
