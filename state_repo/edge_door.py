"""The edge, asked as a browser on this machine would: by the dashboard's name, in https where the
edge speaks it."""

from __future__ import annotations

import http.client
import socket
import ssl

from state_repo.instance import Instance


def ask_edge(instance: Instance, path: str = "/healthz", timeout_s: float = 5.0) -> int:
    """The answer's status.

    Raises:
        OSError, http.client.HTTPException: it does not answer.
    """
    connection = http.client.HTTPConnection(instance.app_host, instance.ports["edge"],
                                            timeout=timeout_s)
    try:
        connection.sock = socket.create_connection(
            (instance.edge_address, instance.ports["edge"]), timeout=timeout_s)
        if instance.app_url.startswith("https:"):
            # By whichever certificate it has: this asks whether it answers, on this machine.
            trust = ssl.create_default_context()
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
            connection.sock = trust.wrap_socket(connection.sock, server_hostname=instance.app_host)
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
