"""A strict reading of the Prometheus text format, and the text that TensorFlow Serving would write."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vitrine_serving.embedded.metrics.instruments import Counter, Histogram, exponential, exposition

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})\{{((?:{LABEL}(?:,{LABEL})*)?)\}} (-?[0-9.]+(?:e[+-][0-9]+)?)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")
HELP = re.compile(rf"# HELP ({NAME}) [^\n\\]+")


def unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value)


def parse(text: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """The samples by name and labels; fails on anything the format does not allow."""
    assert text.endswith("\n")
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    types: dict[str, str] = {}
    current = ""
    for line in text[:-1].split("\n"):
        if match := TYPE.fullmatch(line):
            current = match[1]
            assert current not in types
            types[current] = match[2]
            continue
        if HELP.fullmatch(line):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        suffixes = ("_bucket", "_sum", "_count") if types[current] == "histogram" else ("",)
        assert match[1] in {current + suffix for suffix in suffixes}, line
        labels = [(name, unescape(value)) for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2])]
        assert len(dict(labels)) == len(labels)
        series = samples.setdefault(match[1], {})
        assert frozenset(labels) not in series
        series[frozenset(labels)] = float(match[3])
    for name in (name for name, kind in types.items() if kind == "histogram"):
        check_histogram(samples, name)
    return samples


def check_histogram(samples, name):
    for labels, count in samples.get(f"{name}_count", {}).items():
        buckets = {
            dict(key)["le"]: value
            for key, value in samples[f"{name}_bucket"].items()
            if labels == frozenset((label, text) for label, text in key if label != "le")
        }
        bounds = [float(bound) for bound in buckets]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf")
        assert list(buckets.values()) == sorted(buckets.values())
        assert buckets["+Inf"] == count
        assert labels in samples[f"{name}_sum"]


def value(samples, name, **labels):
    return samples.get(name, {}).get(frozenset(labels.items()))


def test_text_is_what_tensorflow_serving_writes():
    counter = Counter(":test:path:total", "name")
    counter.cell('"abc\\"').add(2)
    histogram = Histogram(":test:path:histogram", "status", bounds=exponential(1, 2, 4))
    for observed in (2, 20, 200):
        histogram.cell("good").observe(observed)
    bare = Counter(":test:path:bare", kind="gauge")
    bare.cell().add(-3)
    assert exposition([counter, histogram, bare, Counter(":test:path:unused", "x")]) == (
        "# TYPE :test:path:total counter\n"
        ':test:path:total{name="\\"abc\\\\\\""} 2\n'
        "# TYPE :test:path:histogram histogram\n"
        ':test:path:histogram_bucket{status="good",le="1"} 0\n'
        ':test:path:histogram_bucket{status="good",le="2"} 0\n'
        ':test:path:histogram_bucket{status="good",le="4"} 1\n'
        ':test:path:histogram_bucket{status="good",le="8"} 1\n'
        ':test:path:histogram_bucket{status="good",le="+Inf"} 3\n'
        ':test:path:histogram_sum{status="good"} 222\n'
        ':test:path:histogram_count{status="good"} 3\n'
        "# TYPE :test:path:bare gauge\n"
        ":test:path:bare{} -3\n"
        "# TYPE :test:path:unused counter\n"
    )


@given(st.sets(st.text(), max_size=5))
def test_any_label_is_read_back(labels):
    counter = Counter("count", "label")
    for label in labels:
        counter.cell(label).add()
    samples = parse(exposition([counter])).get("count", {})
    assert {dict(series)["label"] for series in samples} == labels


def test_a_label_without_utf8_form_can_still_be_sent():
    counter = Counter("count", "label")
    counter.cell("half \udc80").add()
    parse(exposition([counter]).encode("utf-8").decode("utf-8"))


def test_large_sums_keep_every_digit():
    histogram = Histogram("times", bounds=[1])
    histogram.cell().observe(123456789012)
    histogram.cell().observe(0.5)
    assert "times_sum{} 123456789012.5\n" in exposition([histogram])
