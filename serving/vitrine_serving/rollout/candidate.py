"""May a version take the place of stable, by what the store says of both?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vitrine_client.results import TensorInfo
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.version_store import Candidate, SignatureSpec


def check_candidate(candidate: Candidate, stable: Candidate | None, force: bool) -> list[str]:
    """What people should know before `candidate` is rolled out: notes, and with `force` the problems overridden.

    Args:
        stable: what is served now; None where nothing can be compared.

    Raises:
        CommandError: the version is not there or not complete, whether forced or not; or, unless forced, it is not
            blessed, or clients of stable would notice: the text has all problems.
    """
    if not candidate.complete:
        raise CommandError(
            f"{candidate.address}: {candidate.incomplete_reason}; publish the version whole (make export), or name "
            "another one"
        )
    problems = list(_problems(candidate, stable))
    if problems and not force:
        raise CommandError(
            f"version {candidate.version} cannot be rolled out: {'; '.join(problems)}. Mend and publish it anew, or "
            "go on with --force"
        )
    return [*(f"overridden: {problem}" for problem in problems), *_notes(candidate, stable)]


def _problems(candidate: Candidate, stable: Candidate | None) -> Iterator[str]:
    if not candidate.described:
        yield "it has no manifest, so nobody knows whether it was blessed"
    elif not candidate.blessed:
        yield "it is not blessed: nobody has seen it load and answer (vitrine-export bless)"
    if stable is None:
        return
    if not stable.complete:
        yield f"there would be no way back: {stable.address}: {stable.incomplete_reason}"
    if not (candidate.described and stable.described):
        return
    if gone := [label for label in stable.labels if label not in candidate.labels]:
        yield f"labels of stable that it does not have: {_listed(gone)}"
    for name, old in stable.signatures.items():
        new = candidate.signatures.get(name)
        if new is None:
            yield f"it has no signature {name!r}, which stable has"
        else:
            yield from _signature_problems(name, old, new)


def _signature_problems(name: str, old: SignatureSpec, new: SignatureSpec) -> Iterator[str]:
    for kind, olds, news in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        for tensor, info in olds.items():
            where = f"{kind} {tensor!r} of signature {name!r}"
            if tensor not in news:
                yield f"it has no {where}, which stable has"
            elif not _fits(info, news[tensor], sizes=kind == "input"):
                yield f"{where} is {_spec(news[tensor])} where stable has {_spec(info)}"
    for tensor in new.inputs.keys() - old.inputs.keys():
        yield f"input {tensor!r} of signature {name!r} is new: today's clients do not send it"


def _fits(old: TensorInfo, new: TensorInfo, *, sizes: bool) -> bool:
    """Can a client of `old` do with `new`: dtype, rank, and with `sizes` every size that was accepted?"""
    if old.dtype != new.dtype:
        return False
    if new.shape is None or old.shape is None:
        # An input of any rank takes whatever was sent before.
        return new.shape == old.shape or (sizes and new.shape is None)
    if len(old.shape) != len(new.shape):
        return False
    return not sizes or all(after in (None, before) for before, after in zip(old.shape, new.shape, strict=True))


def _notes(candidate: Candidate, stable: Candidate | None) -> Iterator[str]:
    if not candidate.golden:
        yield "it has no golden pictures: its servers' answers cannot be checked"
    if stable is None or not (candidate.described and stable.described):
        yield "labels and signatures were not compared with stable's, for want of a manifest"
        return
    if added := [label for label in candidate.labels if label not in stable.labels]:
        yield f"labels that stable does not have: {_listed(added)}"
    if candidate.labels[: len(stable.labels)] != stable.labels:
        yield (
            "labels have other positions than stable's: clients of the signature 'probabilities' that know the labels "
            "by position must change with it"
        )
    for name, old in stable.signatures.items():
        new = candidate.signatures.get(name)
        yield from _resized(name, old.outputs, new.outputs) if new else ()


def _resized(name: str, old: Mapping[str, TensorInfo], new: Mapping[str, TensorInfo]) -> Iterator[str]:
    for tensor, info in old.items():
        if tensor in new and new[tensor] != info and _fits(info, new[tensor], sizes=False):
            yield f"output {tensor!r} of signature {name!r} is {_spec(new[tensor])} where stable has {_spec(info)}"


def _spec(info: TensorInfo) -> str:
    sizes = "of any rank" if info.shape is None else f"[{', '.join('?' if n is None else str(n) for n in info.shape)}]"
    return f"{info.dtype} {sizes}"


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return ", ".join(map(repr, labels[:10])) + more
