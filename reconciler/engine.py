"""The engine adapter: one run of the Pulumi CLI against a program of ours.

`pulumi.automation`'s own `Stack.up` starts four CLI processes a run (up, two outputs, history)
and takes 1.1 s where the one that does the work takes 0.4 s. So the CLI is started here directly,
with the Automation API's language server in this process as its program host, and its event log
is read while it runs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

# The language server is what `auto.Stack.up` itself starts; it has no public name. Pinned version.
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc

from reconciler import ReconcilerError, checkpoint
from reconciler.locks import break_dead_pulumi_locks
from state_repo import journal

log = logging.getLogger(__name__)

PROJECT = "instantworker"
Program = Callable[[], None]
_POLL_S = 0.02
_OF_THE_PROGRAM = "failed to register"  # ResourceRegistrationFailed of Pulumi's runtime
_ANSI = re.compile(r"\x1b\[[0-9;]*m|<\{%[^%]*%\}>")


class EngineError(ReconcilerError):
    """The engine could not be run at all (not: a run that failed, see `Run.succeeded`)."""


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One step of a run: `op` is Pulumi's (create, update, replace, delete, …). `values`: of each
    of the fields that change, what it was and what it becomes, as far as the inputs say."""

    op: str
    type: str
    name: str
    fields: tuple[str, ...] = ()
    values: tuple[tuple[str, Any, Any], ...] = ()

    def as_json(self, *, values: bool = False) -> dict[str, Any]:
        told: dict[str, Any] = {"op": self.op, "type": self.type, "name": self.name,
                                "fields": list(self.fields)}
        if values:
            told["values"] = [{"field": name, "old": _short(old), "new": _short(new)}
                              for name, old, new in self.values]
        return told


def _short(value: Any) -> str | None:
    """A value in at most 200 characters."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 200 else f"{text[:199]}…"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the engine did. Times in seconds."""

    succeeded: bool
    changes: tuple[ResourceChange, ...]
    errors: tuple[str, ...]
    violations: tuple[str, ...]
    plan_s: float
    apply_s: float

    @property
    def message(self) -> str:
        return "\n".join(self.violations or self.errors)


@dataclass(slots=True)
class _Log:
    """The engine's event log as it grows."""

    first_step_at: float | None = None
    changes: dict[str, ResourceChange] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def take(self, event: Mapping[str, Any], now: float) -> None:
        if step := (event.get("resourcePreEvent") or {}).get("metadata"):
            self._step(step, now)
        elif failed := (event.get("resOpFailedEvent") or {}).get("metadata"):
            self._step(failed, now)
        elif diagnostic := event.get("diagnosticEvent"):
            if diagnostic.get("severity") == "error":
                text = _ANSI.sub("", diagnostic.get("message", "")).strip()
                name = diagnostic.get("urn", "").rpartition("::")[2]
                # The engine ends a failed run with this line: it tells nothing new.
                if text and text != "update failed" and text != "preview failed":
                    self.errors.append(f"{name}: {text}" if name else text)
        elif (policy := event.get("policyEvent") or {}).get("enforcementLevel") == "mandatory":
            name = policy.get("resourceUrn", "").rpartition("::")[2]
            message = _ANSI.sub("", policy.get("message", "")).strip().splitlines()
            # The first line is the policy's own description, the same for every violation.
            self.violations += [f"{name}: {line}" for line in message[1:] or message]

    def _step(self, step: Mapping[str, Any], now: float) -> None:
        op, kind = step["op"], step["type"]
        if op in ("same", "read", "refresh") or kind in ("pulumi:pulumi:Stack",):
            return
        if kind.startswith("pulumi:providers:"):
            return
        if self.first_step_at is None:
            self.first_step_at = now
        fields = tuple(sorted(step.get("detailedDiff") or step.get("diffs") or ()))
        op = {"create-replacement": "replace", "delete-replaced": "replace"}.get(op, op)
        urn = step["urn"]
        if urn not in self.changes or fields:
            old, new = ((step.get(side) or {}).get("inputs") or {} for side in ("old", "new"))
            roots = dict.fromkeys(re.split(r"[.\[]", name, maxsplit=1)[0] for name in fields)
            self.changes[urn] = ResourceChange(
                op, kind, urn.rpartition("::")[2], fields,
                tuple((name, old.get(name), new.get(name)) for name in roots))


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs stacks of one instance.

    `providers` is the value of PULUMI_DEBUG_PROVIDERS (`name:port,…`): the engine attaches to
    providers that already listen. `policy_pack` is the launcher of the hosted analyzer.
    """

    home: Path
    passphrase_file: Path
    providers: str
    policy_pack: Path | None = None
    pulumi: str = "pulumi"
    timeout_s: float = 300.0
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def up(self, stack: str, program: Program, *, refresh: bool = False) -> Run:
        """Applies the program. With `refresh`, reality is read first (drift repair). What fails
        keeps nothing but what depends on it: one employee's trouble is not its colleagues'."""
        flags = ["--yes", "--skip-preview", "--continue-on-error"]
        with journal.lent(stack):
            return self._run("up", stack, program, flags + (["--refresh"] if refresh else []))

    def preview(self, stack: str, program: Program, *, refresh: bool = False,
                policy_pack: Path | None = None) -> Run:
        """What `up` would do. Changes nothing and takes no lock. `policy_pack`: another one than
        that of `up`."""
        engine = replace(self, policy_pack=policy_pack) if policy_pack else self
        return engine._run("preview", stack, program, ["--refresh"] if refresh else [])

    def interrupt(self) -> None:
        """Asks every running engine to stop after the step at hand, as Ctrl-C does."""
        with self._guard:
            for process in self._running.values():
                process.send_signal(2)

    def prune(self, keep: int = 20) -> None:
        """Removes each stack's history (a checkpoint and a summary a run) beyond the newest
        `keep` runs: nothing here reads it, and it would grow for ever."""
        for folder in (self.home / "state" / ".pulumi" / "history" / PROJECT).glob("*"):
            runs: dict[str, list[Path]] = {}
            for path in folder.iterdir():  # <stack>-<nanoseconds>.<history or checkpoint>.json
                runs.setdefault(path.name.partition(".")[0], []).append(path)
            for name in sorted(runs)[:-keep]:
                for path in runs[name]:
                    path.unlink(missing_ok=True)

    def stack_file(self, stack: str) -> Path:
        return self.home / "state" / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"

    def _run(self, verb: str, stack: str, program: Program, flags: list[str]) -> Run:
        state = self.home / "state" / ".pulumi"
        checkpoint.mend(state, self.stack_file(stack), state / "history" / PROJECT / stack)
        folder = self._folder(stack)
        break_dead_pulumi_locks(state / "locks" / "organization" / PROJECT / stack)
        events = folder / f"events-{threading.get_ident()}.jsonl"
        events.write_bytes(b"")
        began = time.monotonic()
        with _serve(program) as port:
            arguments = [verb, "--stack", stack, "--client", f"127.0.0.1:{port}",
                         "--exec-kind", "auto.inline", "--non-interactive", "--color", "never",
                         "--suppress-progress", "--suppress-permalink",
                         "--event-log", str(events), *flags]
            if self.policy_pack is not None:
                arguments += ["--policy-pack", str(self.policy_pack)]
            code, output, seen = self._watch(arguments, folder, events)
        ended = time.monotonic()
        events.unlink(missing_ok=True)
        errors = tuple(dict.fromkeys(_telling(seen.errors)))
        if code != 0 and not errors and not seen.violations:
            errors = (output.strip()[-2000:] or f"pulumi {verb} ended with code {code}",)
        first = seen.first_step_at or ended
        return Run(succeeded=code == 0, changes=tuple(seen.changes.values()), errors=errors,
                   violations=tuple(dict.fromkeys(seen.violations)),
                   plan_s=first - began, apply_s=ended - first)

    def _watch(self, arguments: list[str], folder: Path, events: Path) -> tuple[int, str, _Log]:
        seen = _Log()
        deadline = time.monotonic() + self.timeout_s
        output = folder / f"output-{threading.get_ident()}.txt"
        with open(output, "wb") as sink, open(events, "rb") as source:
            process = self._start(arguments, folder, sink)
            with self._guard:
                self._running[process.pid] = process
            try:
                buffer, done = b"", False
                while True:
                    buffer += source.read()
                    *lines, buffer = buffer.split(b"\n")
                    now = time.monotonic()
                    for line in lines:
                        seen.take(json.loads(line), now)
                    if done:
                        break
                    try:
                        process.wait(_POLL_S)
                        done = True
                    except subprocess.TimeoutExpired:
                        if now > deadline:
                            process.kill()
                            seen.errors.append(
                                f"the engine did not finish in {self.timeout_s:.0f} s; it was "
                                "ended, and the next run repairs what it left")
            finally:
                with self._guard:
                    self._running.pop(process.pid, None)
        text = output.read_text(errors="replace")
        output.unlink(missing_ok=True)
        return process.returncode, text, seen

    def _start(self, arguments: list[str], folder: Path, sink: Any) -> subprocess.Popen[bytes]:
        # The engine dies with us: an orphan would go on writing a state that a restarted
        # reconciler believes to be its own. setpriv does that without a Python preexec hook.
        command = ["setpriv", "--pdeathsig", "KILL", self.pulumi, *arguments]
        try:
            return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sink,
                                    stderr=subprocess.STDOUT, env=self._environment())
        except FileNotFoundError as error:
            raise EngineError(f"cannot start {error.filename}: run `make run`, which installs or "
                              "builds it") from error

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.defpath, "HOME": str(self.home),
            "PULUMI_HOME": str(self.home / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.passphrase_file),
            "PULUMI_DEBUG_PROVIDERS": self.providers,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # Else every run spends 2 s on trying to download the plugins named in the state.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # what makes --event-log a flag
        }

    def _folder(self, stack: str) -> Path:
        """The stack's own work folder, with its settings file and its (empty) stack made once."""
        folder = self.home / "work" / stack
        if self.stack_file(stack).exists() and (folder / "Pulumi.yaml").exists():
            return folder
        for path in (folder, self.home / "state", self.home / "home"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
        if not self.stack_file(stack).exists():
            made = subprocess.run(
                [self.pulumi, "stack", "init", stack, "--non-interactive", "--no-select"],
                cwd=folder, env=self._environment(), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False)
            if made.returncode != 0 and "already exists" not in made.stderr:
                raise EngineError(f"cannot make stack {stack}: {made.stderr.strip()}")
        return folder


def _telling(errors: list[str]) -> list[str]:
    """Without what the program says of a resource that failed: the engine says why it did."""
    return [e for e in errors if _OF_THE_PROGRAM not in e] or errors


@contextmanager
def _serve(program: Program) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(program), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)
