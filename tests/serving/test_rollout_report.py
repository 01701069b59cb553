"""What a rollout and `status` show to people."""

from __future__ import annotations

import io

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.evidence import Finding
from vitrine_serving.rollout.report import Report
from vitrine_serving.rollout.state import Phase, RolloutState
from vitrine_serving.rollout.target import TargetStatus, Track, TrackStatus
from vitrine_serving.rollout.view import status_table

STATE = RolloutState(7, 6, Phase.SHARING, 1, (5, 25), "ada@laptop", "then", "now")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_for_each_phase_and_finding_and_few_for_waiting() -> None:
    log = io.StringIO()
    report = Report(log, lambda: "not for logs")
    report.phase(STATE)
    for ready in range(100):
        report.progress(f"{ready} of 100 ready")
    report.finding(Finding("errors", False, "errors: 3 % against stable's 0 %"))
    report.phase(STATE.at(Phase.ROLLED_BACK, reason="errors\x1b[2J"))
    assert log.getvalue().splitlines() == [
        "phase: sharing (version 7, 25 % of the traffic, step 2 of 2)",
        "  0 of 100 ready",
        "  BAD: errors: 3 % against stable's 0 %",
        "phase: rolled-back (version 7 to 6: errors\N{REPLACEMENT CHARACTER}[2J)",
    ]


def test_on_a_terminal_the_view_stands_below_the_lines_and_is_drawn_over() -> None:
    terminal = Terminal()
    report = Report(terminal, lambda: "TRACK\nstable")
    report.progress("0 of 2 ready")
    report.say("phase: checking")
    assert terminal.getvalue() == "TRACK\nstable\n  0 of 2 ready\n\x1b[3F\x1b[Jphase: checking\n"


def test_a_view_that_cannot_be_had_does_not_end_the_rollout() -> None:
    def view() -> str:
        raise CommandError("the API server is away")

    terminal = Terminal()
    Report(terminal, view).progress("waiting")
    assert terminal.getvalue() == "the API server is away\n  waiting\n"


def test_the_table_says_what_is_served_who_is_at_work_and_how_the_last_one_ended() -> None:
    tracks = (
        TrackStatus(Track.STABLE, 6, 10, 9, 0.75, "starting", "pod x is not ready yet"),
        TrackStatus(Track.CANARY, None, 0, 0, None, "none"),
    )
    ended = STATE.at(Phase.ROLLED_BACK, reason="too slow")
    lines = status_table(TargetStatus("prod/vitrine", "flowers", tracks, ended, "rollback by bob")).splitlines()
    assert lines[0] == "flowers on prod/vitrine"
    assert " ".join(lines[2].split()) == "stable 6 9/10 75% starting pod x is not ready yet"
    assert lines[3].split() == ["canary", "-", "0/0", "-", "none"]
    assert lines[4].startswith("rollout of version 7 (before: 6) by ada@laptop: rolled-back, since ")
    assert lines[4].endswith(": too slow")
    assert lines[5] == "at work: rollback by bob"
