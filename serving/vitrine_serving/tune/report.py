"""What a search came to, in words: for the terminal and for the page."""

from __future__ import annotations

from vitrine_client.tables import format_table
from vitrine_serving.tune.choosing import Choice
from vitrine_serving.tune.outcome import Outcome

_DECODES_INSIDE = (
    "Under --enable_batching whole requests share a batch, decoding included: one broken picture fails all requests it "
    "shares a batch with. Where pictures come from strangers, stay with the graph's own batch."
)


def told(outcome: Outcome) -> str:
    """A table of the finalists and the verdict."""
    parts = [summary(outcome)]
    if outcome.finalists:
        parts.append(format_table(FINAL_HEADER, final_rows(outcome)))
    return "\n".join([*parts, *verdict(outcome)])


def summary(outcome: Outcome) -> str:
    asked = ", ".join(map(str, sorted(outcome.concurrencies)))
    left_out = f"; {outcome.left_out} candidates were left out for want of time" if outcome.left_out else ""
    return (
        f"{outcome.model}, version {outcome.version}: {outcome.engine} server, {outcome.cpus} CPUs; {asked} requests "
        f"at once; objective: {outcome.slo or 'most answers per second'}{left_out}"
    )


FINAL_HEADER = ("", "candidate", "answers/s", "worst and best repeat", "against the present")


def final_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    choice = outcome.choice
    rows: list[tuple[str, ...]] = []
    present = outcome.finalists[0]
    for finalist in sorted(outcome.finalists, key=lambda one: -one.median):
        marks = [
            mark
            for mark, applies in (
                ("winner", choice is not None and finalist == choice.winner),
                ("present", finalist == present),
            )
            if applies
        ]
        ratio = f"{finalist.median / present.median:.2f}" if present.median else "-"
        spread = f"{min(finalist.scores):.1f} to {max(finalist.scores):.1f}"
        rows.append((", ".join(marks), str(finalist.candidate), f"{finalist.median:.1f}", spread, ratio))
    return rows


def verdict(outcome: Outcome) -> list[str]:
    """A few sentences."""
    if outcome.interrupted:
        return ["Interrupted before the final was over: there is no winner."]
    choice = outcome.choice
    if choice is None:
        return [f"No candidate keeps {outcome.slo or 'all its answers'} with {min(outcome.concurrencies)} at once."]
    if choice.keeps_present:
        return ["Keep what you have: nothing was better by more than the repeats differ."]
    return _change(choice)


def _change(choice: Choice) -> list[str]:
    if choice.ratio is None:
        said = ["The present configuration does not keep the objective; the winner does."]
    else:
        proof = "its worst repeat was better than the present one's best"
        if len(choice.winner.scores) == 1:
            proof = "with a single repeat that may be noise"
        said = [f"The winner answers {choice.ratio:.2f} times as many requests as the present configuration; {proof}."]
    candidate = choice.winner.candidate
    if candidate.where == "server-side":
        said.append(_DECODES_INSIDE)
    if candidate.where == "in-graph":
        said.append("Put batching.recipe.yaml into the recipe and export again; start the server with flags.txt.")
    else:
        said.append("Start the server with flags.txt.")
    return said
