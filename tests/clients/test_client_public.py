"""The public namespace, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import vitrine_client
from vitrine_client import errors


def test_all_is_complete_and_sorted():
    public = [
        name
        for name, value in vars(vitrine_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert vitrine_client.__all__ == sorted(public)


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
