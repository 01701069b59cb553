"""The options that are ours, next to locust's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vitrine_client.cli.connection import DEFAULT_MODEL, DEFAULT_TARGET
from vitrine_client.load.arrivals import ARRIVALS

PROGRAM = "python -m vitrine_client.load"

_DESCRIPTION = f"""Usage: {PROGRAM} [options] [GrpcUser] [RestUser]

Load for an image classifier on TensorFlow Serving. In a closed loop users each ask about one picture after the other,
as soon as they are answered; in an open loop requests begin when they are due, whether or not the server keeps up.
Wrong answers are failures. Without --headless, runs are started on a web page, port 8089."""

_EXAMPLES = f"""examples:
  {PROGRAM} --headless -u 16 -t 1m
  {PROGRAM} --headless --arrivals poisson --rate 100 -t 2m --slo "p99<80ms,errors<0.1%" --out measured
  {PROGRAM} --headless --arrivals constant --stages ramp:30s:0-200,steady:2m:200,spike:10s:600,steady:1m:200
  {PROGRAM} --headless --stages ramp:1m:0-64,soak:30m:64 --pictures photos --sizes 320:70,1600:25,as-is:5
  {PROGRAM} --pictures photos --rest models.example.org:8501 --transport rest
  {PROGRAM} --master --expect-workers 2 --headless -u 64 -t 5m --out measured
  {PROGRAM} --worker --master-host load

exit codes:
  0 done, and every objective of --slo was kept; 1 one was missed, or without --slo there were failures; 2 wrong usage,
  or no pictures

A user keeps to one transport: with --transport both, give -u 2 or more; on the web page --class-picker lets you choose.
Every option of locust has an environment variable, see https://docs.locust.io/en/stable/configuration.html"""


class Option(NamedTuple):
    """One of ours: `variable` sets it in the environment, `given` is what argparse is to know."""

    name: str
    variable: str
    told: str
    given: Mapping[str, Any]

    @property
    def help(self) -> str:
        default = self.given["default"]
        return f"{self.told} ({self.variable}{f'; default: {default}' if default else ''})"


SERVER = (
    Option("grpc", "VITRINE_GRPC", "the gRPC port", {"default": DEFAULT_TARGET, "metavar": "HOST:PORT"}),
    Option("rest", "VITRINE_REST", "the REST port", {"default": "localhost:8501", "metavar": "HOST:PORT"}),
    Option("model", "MODEL", "the model's name", {"default": DEFAULT_MODEL, "metavar": "NAME"}),
    Option(
        "model-version",
        "VITRINE_MODEL_VERSION",
        "the version to ask; empty for the highest loaded one",
        {"default": "", "metavar": "N"},
    ),
    Option(
        "pictures",
        "VITRINE_PICTURES",
        "a folder of pictures to ask about in turn; by default the golden pictures of the version in --models "
        "(of the newest, without --model-version), whose answers are known and checked",
        {"default": "", "metavar": "FOLDER"},
    ),
    Option(
        "sizes",
        "VITRINE_SIZES",
        "a mix of picture sizes as SIDE:SHARE, such as 320:70,1600:25,as-is:5: the pictures are scaled so that their "
        "longer side has SIDE pixels; the answers to scaled pictures are not known. Empty: all as they are",
        {"default": "", "metavar": "MIX"},
    ),
    Option(
        "models",
        "MODELS",
        "the store with NAME/VERSION/ of the golden pictures",
        {"default": "models", "metavar": "FOLDER"},
    ),
    Option(
        "transport",
        "VITRINE_TRANSPORT",
        "how the server is asked; both: by half of the users, or of the requests of an open loop, each",
        {"default": "both", "choices": ("grpc", "rest", "both")},
    ),
    Option(
        "request-timeout",
        "VITRINE_REQUEST_TIMEOUT",
        "seconds for each request",
        {"default": 30.0, "type": float, "metavar": "S"},
    ),
)
_LOAD = (
    Option(
        "arrivals",
        "VITRINE_ARRIVALS",
        "closed: the users set the pace; constant, poisson: requests begin at a rate, whatever the server does, and "
        "their latency counts from when they were due; users (-u) are then only the connections",
        {"default": "closed", "choices": ARRIVALS},
    ),
    Option("rate", "VITRINE_RATE", "requests per second of an open loop", {"default": "", "metavar": "R"}),
    Option(
        "stages",
        "VITRINE_STAGES",
        "instead of --run-time with -u or --rate: KIND:TIME:LEVEL one after the other, KIND one of ramp (LEVEL is "
        "FROM-TO), steady, spike, soak; levels are users, or requests per second of an open loop",
        {"default": "", "metavar": "STAGES"},
    ),
    Option(
        "warm-up",
        "VITRINE_WARM_UP",
        "time at the beginning that does not count, in whole seconds; by default a tenth of the run, at most 10 s",
        {"default": "", "metavar": "TIME"},
    ),
    Option(
        "slo",
        "VITRINE_SLO",
        "objectives that decide the exit code, such as p99<80ms,errors<0.1%%,rps>50: mean, p50, p90, p99, p99.9, max, "
        "errors, rps (good answers per second), each also of one transport: grpc.p99<50ms",
        {"default": "", "metavar": "OBJECTIVES"},
    ),
    Option(
        "out",
        "VITRINE_OUT",
        "a folder for result.json, summary.csv, timeline.csv and report.html; runs from the web page get one each",
        {"default": "", "metavar": "FOLDER"},
    ),
)
VARIABLES = frozenset(option.variable for option in (*SERVER, *_LOAD))
# Paths are not the web page's to name, and which users there are, and their course, is settled before it is shown.
_NOT_ON_THE_PAGE = ("pictures", "models", "transport", "stages", "out")


def add_arguments(parser: Any, **_: Any) -> None:
    """Adds our options to locust's parser."""
    parser.prog, parser.description, parser.epilog = PROGRAM, _DESCRIPTION, _EXAMPLES
    for title, options in (("Server, model and pictures", SERVER), ("Load, and what is good enough", _LOAD)):
        group = parser.add_argument_group(f"{title} (VARIABLE: sets it in the environment)")
        for option in options:
            added = group.add_argument(f"--{option.name}", env_var=option.variable, help=option.help, **option.given)
            # locust shows arguments of a group only where they say so.
            added.include_in_web_ui = option.name not in _NOT_ON_THE_PAGE
