import socket

from ernie_ray.cli.free_ports import free_ports


def test_free_ports_differ_and_can_be_bound():
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_ports_lie_outside_the_range_of_outgoing_connections():
    assert all(20_000 <= port < 32_000 for port in free_ports(20))
