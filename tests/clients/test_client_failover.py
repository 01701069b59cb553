"""Several servers that serve alike: each gets its share, and one that is gone costs no call."""

from __future__ import annotations

import pytest
from client_processes import TRANSPORTS, Load, client_of, running

from vitrine_client import DeadlineExceeded


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_killed_server_costs_no_call_and_gets_its_share_again(transport: str):
    with running(3) as servers, Load(client_of(transport, servers)) as load:
        # Until then, one may not be connected yet and the others have its calls.
        load.wait_for_calls(servers)
        before = load.served.copy()
        load.wait_for_calls(servers, each=50)
        served = load.served - before
        share = sum(served.values()) / 3
        assert all(0.5 * share < served[server.port] < 1.5 * share for server in servers), served
        # So that calls are under way to it when it is killed: as it answers nothing, it keeps each that comes.
        servers[0].freeze()
        load.wait_for_calls(servers[1:], each=3)
        servers[0].kill()
        load.wait_for_calls(servers[1:], each=50)
        servers[0].start()
        load.wait_for_calls(servers)
        servers[0].kill()
        servers[1].kill()
        load.wait_for_calls(servers[2:], each=50)
    assert not load.failures


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_rolling_update_costs_no_call(transport: str):
    with running(3) as servers, Load(client_of(transport, servers)) as load:
        load.wait_for_calls(servers)
        for server in servers:
            server.stop()
            load.wait_for_calls([other for other in servers if other is not server])
            server.start()
            load.wait_for_calls(servers)
    assert not load.failures


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_calls_to_a_frozen_server_end_at_their_deadline_and_the_others_go_on(transport: str):
    # Nothing tells it from a server that takes long: it is not left out.
    with running(3) as servers, Load(client_of(transport, servers, timeout=2)) as load:
        load.wait_for_calls(servers)
        servers[0].freeze()
        load.wait_for_failures(6)
        load.wait_for_calls(servers[1:], each=6, despite_failures=True)
        servers[0].thaw()
        load.wait_for_calls(servers, despite_failures=True)
    assert {type(failure) for failure in load.failures} == {DeadlineExceeded}
