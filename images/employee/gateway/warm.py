"""Runs the gateway against a stub model while the image is built, so that Node's compile cache
holds what a start and a first turn need. Twice: the second run compiles what the first cached.
`CONFIG` is an employee's own wherever it decides what is loaded; tests compare the two."""

import http.server
import json
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

HOME = pathlib.Path("/tmp/warm")
TOKEN = "only-while-the-image-is-built"
CONFIG = {
    "gateway": {"mode": "local", "port": 18789, "bind": "loopback",
                "auth": {"mode": "token", "token": TOKEN}, "terminal": {"enabled": False},
                "controlUi": {"enabled": True,
                              "root": "/opt/openclaw/node_modules/openclaw/dist/control-ui"},
                "http": {"endpoints": {"chatCompletions": {"enabled": True}}}},
    "models": {"mode": "replace", "catalogRefresh": {"enabled": False}, "providers": {"litellm": {
        "baseUrl": "http://127.0.0.1:4999/v1", "apiKey": "none", "api": "openai-completions",
        "models": [{"id": "warm", "name": "warm", "input": ["text"], "contextWindow": 128000,
                    "maxTokens": 4096}]}}},
    "agents": {"defaults": {
        "workspace": str(HOME / "workspace"), "model": {"primary": "litellm/warm"},
        "heartbeat": {"every": "0m"}, "skipBootstrap": True, "skills": []}},
    "tools": {"toolSearch": False, "allow": [
        "read", "write", "edit", "apply_patch", "ls", "exec", "process", "browser", "web_fetch",
        "memory_get", "memory_search", "session_status", "automations"],
        "fs": {"workspaceOnly": True}, "elevated": {"enabled": False},
        "exec": {"host": "gateway", "applyPatch": {"workspaceOnly": True}}},
    "hooks": {"internal": {"enabled": False}},
    "plugins": {"allow": ["litellm", "memory-core", "browser"]},
    "browser": {"enabled": True, "attachOnly": True, "defaultProfile": "visible", "profiles": {
        "visible": {"cdpUrl": "http://127.0.0.1:9222", "attachOnly": True}}},
    "session": {"maintenance": {"mode": "warn"}},
    "update": {"checkOnStart": False}, "telemetry": {"enabled": False},
    "logging": {"file": str(HOME / "state/logs/openclaw.log")},
}


class Stub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        parts = [{"role": "assistant", "content": "warm"}, {}]
        body = "".join("data: " + json.dumps({
            "id": "w", "object": "chat.completion.chunk", "created": 1, "model": "warm",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
        }) + "\n\n" for delta in parts) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def ask(path, body=None, timeout=60):
    request = urllib.request.Request(
        "http://127.0.0.1:18789" + path, None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read().decode()


def run():
    began = time.monotonic()
    gateway = subprocess.Popen(["/opt/gateway/openclaw", str(HOME)])
    while True:
        try:
            if '"ready":true' in ask("/readyz", timeout=2):
                break
        except (OSError, urllib.error.URLError):
            pass
        if gateway.poll() is not None or time.monotonic() - began > 120:
            raise SystemExit("the gateway did not get ready")
        time.sleep(0.1)
    ready = time.monotonic() - began
    ask("/v1/chat/completions",
        {"model": "openclaw", "messages": [{"role": "user", "content": "hello"}]})
    print(f"ready {ready:.1f} s, first reply {time.monotonic() - began:.1f} s", flush=True)
    time.sleep(3)  # the cache is written after the work
    gateway.terminate()
    gateway.wait(30)


def main():
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", 4999), Stub)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    for folder in ("workspace", "state", "home"):
        (HOME / folder).mkdir(parents=True)
    (HOME / "state/openclaw.json").write_text(json.dumps(CONFIG))
    run()
    run()
    shutil.rmtree(HOME)
    for left in pathlib.Path("/tmp").glob("openclaw*"):
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main()
