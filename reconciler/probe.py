"""Whether an employee answers: its health endpoint, asked directly at its container's address."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

CHAT_PORT = 18789
BROWSER_PORT = 6080
FIRST_ANSWER_S = 90.0  # a cold start was measured at 8–16 s on an idle machine


def answers(address: str, *, port: int = CHAT_PORT, timeout_s: float = 2.0) -> str | None:
    """None when GET /healthz is answered with 2xx, else what went wrong in plain words."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except TimeoutError:
        return f"its chat did not answer within {timeout_s:g} s"
    except OSError:
        return "its chat port is not open yet"
    except http.client.HTTPException as error:
        return f"its chat gave no valid HTTP answer ({type(error).__name__})"
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"its health endpoint answered {status}"


def wait_until_healthy(address: str, deadline: float, gone: Callable[[], bool], *,
                       pause_s: float = 0.03) -> str | None:
    """Asks until it answers; `deadline` is monotonic seconds.

    Returns None when healthy, else the last reason. `gone()` ends the wait early: shutdown, or
    the container was replaced meanwhile.
    """
    while True:
        problem = answers(address)
        if problem is None or gone() or time.monotonic() >= deadline:
            return problem
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.5)
