"""Names and addresses of the machine that a server runs on."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def allowed_hosts(host: str) -> frozenset[str]:
    """Return the names that requests to a loopback server may use; empty for other servers."""
    return frozenset({"127.0.0.1", "localhost", "::1", host}) if is_loopback(host) else frozenset()
