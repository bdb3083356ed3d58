"""Gives each document a process of its own in milliseconds: a copy of one that has the readers.

    python -m stacks.reader_server SOCKET     serves this descriptor; see `serve`

The server sees no document. What it copies itself into gives up every right before it reads the
first byte of one, and ends with it. Loading the readers anew for each document took 0.24 s for a
text and 0.50 s for a page of HTML (docs/benchmarks.md), far longer than reading it.
"""

from __future__ import annotations

import contextlib
import encodings
import gc
import json
import logging
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Collection
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO

from stacks.readers import Notes, Reader, Refusal, Refused, kinds, load_modules, scan

MEMORY = 1 << 30  # bytes of address space
CPU_SECONDS = 30
IDLE_S = 60.0  # then the server, 100 MB, goes
ROOT = Path(__file__).resolve().parent.parent
_MOST_ORDER = 1024  # bytes


@dataclass(frozen=True, slots=True)
class Order:
    """`kind`: of `kinds`. `uid`: who reads, if we are root. `encoding`: of a text, as a person
    says, or "". `languages`: of what is written in pictures; none: that is not read."""

    kind: str
    uid: int
    encoding: str
    languages: tuple[str, ...] = ()


class Reading:
    """One document being read. `text`: what is read, as it comes. `notes`: see `Notes`."""

    def __init__(self, text: BinaryIO, notes: BinaryIO, line: socket.socket) -> None:
        self.text, self.notes, self._line = text, notes, line

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for one in (self.text, self.notes, self._line):
            one.close()

    def end(self) -> None:
        """At once, wherever it is."""
        with contextlib.suppress(OSError):  # it has ended
            self._line.shutdown(socket.SHUT_WR)

    def code(self) -> int:
        """Waits for the end. 0, a Refusal, or minus the signal that ended it."""
        return int(self._line.recv(16) or -signal.SIGKILL)


class ReaderServer:
    """This process's server: started when it is needed, gone when it was not for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def begin(self, order: Order, document: int) -> Reading:
        """Has the document read, from where its descriptor stands. OSError: nothing can be
        started."""
        with contextlib.ExitStack() as theirs:
            def pipe() -> tuple[BinaryIO, int]:
                to_read, to_write = os.pipe()
                theirs.callback(os.close, to_write)
                return open(to_read, "rb"), to_write
            (text, write_text), (notes, write_notes) = pipe(), pipe()
            line, its = socket.socketpair()
            theirs.enter_context(its)
            self._send(json.dumps(astuple(order)).encode(),
                       [document, write_text, write_notes, its.fileno()])
            return Reading(text, notes, line)

    def _send(self, order: bytes, handles: list[int]) -> None:
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                socket.send_fds(self._control or self._start(), [order], handles)
            except OSError:  # it was killed
                if process := self._part():
                    process.kill()
                    process.wait()
                socket.send_fds(self._start(), [order], handles)
            self._idle = threading.Timer(IDLE_S, self._rest)
            self._idle.daemon = True
            self._idle.start()

    def _start(self) -> socket.socket:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            # Started in ROOT to find this module. -B: writes no caches.
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-B", "-m", "stacks.reader_server", str(its.fileno())],
                pass_fds=(its.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                cwd=ROOT, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
                               "OMP_THREAD_LIMIT": "1"})
        self._control = mine
        return mine

    def _part(self) -> subprocess.Popen[bytes] | None:
        process, self._process = self._process, None
        if self._control is not None:
            self._control.close()
            self._control = None
        return process

    def _rest(self) -> None:
        with self._lock:
            if self._idle is not threading.current_thread():
                return  # another document came meanwhile
        self.close()

    def close(self) -> None:
        """Waits for what is being read. It starts again when it is asked."""
        with self._lock:
            process = self._part()
        if process is not None:
            process.wait()


# ---------------------------------------------------------------------------------- in the server


@dataclass(slots=True)
class _Child:
    pid: int
    handle: int  # a pidfd
    line: socket.socket
    has_ended: bool = False


def serve(control: socket.socket) -> None:
    """Takes orders until its other end is closed, and ends when what it began has ended.

    An order comes with four descriptors: the document, where its text goes, where the notes go, and
    a socket, the line: what reads is ended when the line's other end is shut, and its exit code is
    sent there.
    """
    load_modules(encodings)  # a codec is a module, imported when it is first named
    loaded: dict[str, Reader] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(control, selectors.EVENT_READ)
        while waiting.get_map():
            for key, _ in waiting.select():
                child: _Child | None = key.data
                if child is None:
                    said, handles, *_ = socket.recv_fds(control, _MOST_ORDER, 4)
                    if not said:
                        waiting.unregister(control)
                        continue
                    child = _begin(Order(*json.loads(said)), handles, loaded)
                    waiting.register(child.handle, selectors.EVENT_READ, child)
                    waiting.register(child.line, selectors.EVENT_READ, child)
                elif child.has_ended:
                    continue
                elif key.fileobj is child.line:
                    signal.pidfd_send_signal(child.handle, signal.SIGKILL)
                    waiting.unregister(child.line)
                else:
                    _end(child, waiting)


def _begin(order: Order, handles: list[int], loaded: dict[str, Reader]) -> _Child:
    if order.kind not in loaded:
        with contextlib.suppress(Exception):  # who reads hears of it
            loaded[order.kind] = kinds.load(order.kind)
            gc.collect()
            gc.freeze()  # what copies itself need not go through it
    document, text, notes, line = handles
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for handle, place in ((document, 0), (text, 1), (notes, 2)):
                os.dup2(handle, place)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            code = read(order, None if order.languages else loaded.get(order.kind))
        finally:
            os._exit(code)
    for handle in (document, text, notes):
        os.close(handle)
    return _Child(pid, os.pidfd_open(pid), socket.socket(fileno=line))


def _end(child: _Child, waiting: selectors.BaseSelector) -> None:
    child.has_ended = True
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    with contextlib.suppress(OSError):  # nobody waits for it any more
        child.line.send(str(code).encode())
    waiting.unregister(child.handle)
    with contextlib.suppress(KeyError):  # it was ended
        waiting.unregister(child.line)
    os.close(child.handle)
    child.line.close()


# ----------------------------------------------------------------------------- for one document


def read(order: Order, reader: Reader | None = None) -> int:
    """Reads the document on descriptor 0; its text goes to 1, notes of what it left out to 2.
    `reader`: if it is loaded. The exit code is 0 or a Refusal."""
    # The order matters. The libraries may lie where only root may look (a virtual environment in
    # root's home), so everything is imported while we still may; then the rights go; and only then
    # is the first byte of the document read. Nothing can be imported after `confine`.
    reader = reader or kinds.load(order.kind, order.languages)
    notes = Notes(os.dup(2), order.encoding or None)
    with open(os.devnull, "wb") as nowhere:  # what libraries print is no note
        os.dup2(nowhere.fileno(), 2)
    confine(order.uid, order.languages)
    try:
        with open(0, "rb", closefd=False) as document, open(1, "wb", closefd=False) as text:
            for piece in reader(document.read(), notes):
                text.write(piece.encode(errors="replace"))
                text.flush()  # what is read counts, should the time run out
    except Refused as refused:
        return refused.why
    except MemoryError:
        return Refusal.MEMORY
    except RecursionError:
        return Refusal.NESTED
    except Exception:  # a parser may raise anything over a damaged document
        return Refusal.DAMAGED
    return 0


def confine(uid: int, languages: Collection[str] = ()) -> None:
    """Gives up every right that reading does not need; there is no way back. With `languages`,
    recognising may take processor time of its own."""
    os.chdir("/")
    # A library that tries whether another one is there shall hear no, not that it may not look.
    sys.meta_path.clear()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),  # files; the text goes into a pipe
        (resource.RLIMIT_NOFILE, 3),  # those that are open: no file, no socket
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # The processor's hard limit sends SIGKILL; the soft one, a second earlier, SIGXCPU.
        more = 1 + (int(scan.SECONDS) if languages else 0)
        resource.setrlimit(limit, (value, value + more if limit == resource.RLIMIT_CPU else value))


if __name__ == "__main__":
    # Nobody reads them, and a full pipe would stop us.
    logging.disable()
    warnings.simplefilter("ignore")
    serve(socket.socket(fileno=int(sys.argv[1])))
