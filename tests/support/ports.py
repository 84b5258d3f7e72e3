"""Ports for servers that are stopped and started again on the same one."""
import random
import socket

LOWEST = 10_240


def kernel_range():
    """The ports that the kernel gives to whoever asks for any, and to every outgoing connection."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = file.read().split()
    return range(int(first), int(last) + 1)


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """One that nobody uses and the kernel gives to nobody: while its server is down, no other process gets it, and no client
    that tries to connect to it meets itself."""
    taken_by_others = kernel_range()
    candidates = [port for port in range(LOWEST, 65_536) if port not in taken_by_others]
    if not candidates:  # everything is the kernel's
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]
    for port in random.sample(candidates, len(candidates)):
        if is_free(port):
            return port
    raise AssertionError(f"found no free port of 127.0.0.1 from {LOWEST} on, expected one; end what listens there")
