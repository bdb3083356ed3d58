#!/usr/bin/python3 -I
"""Stands in for a gateway that is not started: answers every request with 503 and the reason, for
five minutes. Then the supervisor tries again."""

import http.server
import sys
import threading

PORT, AGAIN_S = 18789, 300.0


def main() -> None:
    reason = " ".join(sys.argv[1].split())
    print(f"gateway: not started: {reason}", flush=True)

    class Refuse(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            body = f"Not started: {reason}\n".encode()
            self.send_response(503)
            self.send_header("X-Refused", reason)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Refuse)
    server.daemon_threads = True
    threading.Timer(AGAIN_S, server.shutdown).start()
    server.serve_forever()


main()
