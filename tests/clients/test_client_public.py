"""The public namespace, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import pytest

import vitrine_client
from vitrine_client import GrpcClient, InvalidInput, RestClient, errors


def test_all_is_complete():
    public = {
        name
        for name, value in vars(vitrine_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    } - {"TYPE_CHECKING", "Any"}
    # The one that is imported once it is asked for.
    assert sorted(vitrine_client.__all__) == sorted(public | {"RestClient"})
    assert all(hasattr(vitrine_client, name) for name in vitrine_client.__all__)
    assert not hasattr(vitrine_client, "nonsense")


def test_every_error_is_public_and_in_the_printed_tree():
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.VitrineError)
    }
    assert tree <= set(vitrine_client.__all__)
    assert all(f" {name}" in errors.__doc__ for name in tree)


def test_both_clients_have_the_same_methods():
    for name, method in inspect.getmembers(vitrine_client.Client, inspect.isfunction):
        for client in (vitrine_client.GrpcClient, vitrine_client.RestClient):
            if not name.startswith("_"):
                assert inspect.signature(getattr(client, name)) == inspect.signature(method)


def test_importing_needs_no_tensorflow():
    code = (
        "import sys, vitrine_client, vitrine_client.cli\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'tensorflow_serving', 'keras')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_public_names_are_documented():
    for name in vitrine_client.__all__:
        value = getattr(vitrine_client, name)
        if inspect.isclass(value):
            assert value.__doc__, name
            for method_name, method in inspect.getmembers(value, inspect.isfunction):
                if not method_name.startswith("_"):
                    assert method.__doc__, f"{name}.{method_name}"


@pytest.mark.parametrize("client", [GrpcClient, RestClient])
@pytest.mark.parametrize(
    "wrong", [{"model": 5}, {"model": "\ud800"}, {"version": True}, {"timeout": 1e300}, {"timeout": 0}], ids=repr
)
def test_wrong_arguments_are_named(client, wrong: dict):
    [name] = wrong
    with pytest.raises(InvalidInput, match=name):
        client("localhost:1", **{"model": "m", **wrong})


@pytest.mark.parametrize("client", [GrpcClient, RestClient])
def test_wrong_addresses_names_and_values_are_refused_before_anything_is_sent(client):
    with pytest.raises(InvalidInput):
        client(5, model="m")
    with client("localhost:1", model="m") as asking:
        for inputs, signature_name in (
            ({"x": [1]}, 5),
            ({5: [1]}, "s"),
            ({"x": ["\ud800"]}, "s"),
            ({"x": [1]}, "\ud800"),
        ):
            with pytest.raises(InvalidInput):
                asking.predict(inputs, signature_name=signature_name)
