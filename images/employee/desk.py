"""The desk of an employee: a visible browser that people watch and the agent drives.

One small process. It serves the viewer's page and its WebSocket on port 6080, and stands in front
of Chromium's own debugging port. Xvnc, the window manager and Chromium start when somebody looks
or the agent connects, and stop when nobody has for `IDLE_S`.

The edge alone reaches port 6080, after it has authorised the visitor; its header X-Desk-Access
says `control` or `view`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from aiohttp import WSMsgType, web
from rfb import ProtocolError, Watching
from screen import Pictures, ScreenError

log = logging.getLogger("desk")
IDLE_S = 600.0
GEOMETRY = (1280, 800)
PORT, FILES_PORT, CDP_FRONT, CDP_BACK = 6080, 6081, 9222, 9223
SCREEN = Path("/tmp/run/screen.sock")
PROFILE = Path("/data/browser")
WWW = Path(__file__).parent / "www"
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/data/home", "TMPDIR": "/tmp",
    "DISPLAY": ":1", "XDG_RUNTIME_DIR": "/tmp/run", "XDG_CACHE_HOME": "/tmp/cache",
}


class Desk:
    """Xvnc, window manager and Chromium, together up or down."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []
        self._guard = asyncio.Lock()
        self.pictures = Pictures(SCREEN)
        self.viewers = 0
        self._used = time.monotonic()

    def touch(self) -> None:
        self._used = time.monotonic()

    @property
    def is_up(self) -> bool:
        return bool(self._processes) and all(p.returncode is None for p in self._processes)

    @property
    def idle_s(self) -> float:
        return 0.0 if self.viewers else time.monotonic() - self._used

    async def ensure(self, *, browser: bool = False) -> None:
        """Starts what does not run. `browser`: waits until Chromium can be driven."""
        async with self._guard:
            self.touch()
            if not self.is_up:
                await self._stop()
                try:
                    await self._start()
                except BaseException:
                    await self._stop()  # half of a desk must not be taken for one
                    raise
        if browser:
            await _until(lambda: _listens(CDP_BACK), 20.0, "Chromium did not start")

    async def stop(self) -> None:
        async with self._guard:
            await self._stop()

    async def _start(self) -> None:
        for stale in (SCREEN, Path("/tmp/.X1-lock"), Path("/tmp/.X11-unix/X1"),
                      # Left by a container that was replaced: Chromium would believe that
                      # another one has its profile.
                      *(PROFILE / f"Singleton{x}" for x in ("Lock", "Socket", "Cookie"))):
            stale.unlink(missing_ok=True)
        width, height = GEOMETRY
        await self._spawn(
            "Xvnc", ":1", "-geometry", f"{width}x{height}", "-depth", "24", "-SecurityTypes",
            "None", "-rfbport", "-1", "-rfbunixpath", str(SCREEN), "-rfbunixmode", "0600",
            # All viewers share one address, the socket's: whoever is cut off in a handshake must
            # not lock the others out. Who may look is the edge's to say.
            "-UseBlacklist=0", "-AlwaysShared", "-extension", "GLX", "-nolisten", "tcp")
        await _until(lambda: _true(SCREEN.exists() and Path("/tmp/.X11-unix/X1").exists()), 10.0,
                     "Xvnc did not start")
        await self._spawn("matchbox-window-manager", "-use_titlebar", "no")
        PROFILE.mkdir(parents=True, exist_ok=True)
        await self._spawn(
            "chromium", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
            "--password-store=basic", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--hide-crash-restore-bubble",
            f"--user-data-dir={PROFILE}", "--disk-cache-dir=/tmp/cache/chromium",
            "--disk-cache-size=67108864", f"--remote-debugging-port={CDP_BACK}",
            "--window-position=0,0", f"--window-size={width},{height}", "--start-maximized",
            "about:blank")
        log.info("the desk is up")

    async def _spawn(self, *command: str) -> None:
        self._processes.append(await asyncio.create_subprocess_exec(
            *command, env=_ENVIRONMENT, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True))

    async def _stop(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                await asyncio.wait_for(process.wait(), 4.0)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if self._processes:
            log.info("the desk is down")
        self._processes = []


async def _true(value: bool) -> bool:
    return value


async def _until(condition, seconds: float, otherwise: str) -> None:
    until = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > until:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.03)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(WWW / "index.html", headers={
        "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
                                   "connect-src 'self'; img-src 'self' data:; "
                                   "frame-ancestors 'none'"})


async def health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def thumbnail(request: web.Request) -> web.Response:
    """The screen as a small picture, for the team's page. Starts nothing, keeps nothing awake: who
    has no screen up has none."""
    desk: Desk = request.app[DESK]
    if not desk.is_up:
        desk.pictures.forget()
        return web.Response(status=204)
    try:
        return web.Response(body=await desk.pictures.take(), content_type="image/jpeg")
    except ScreenError as error:
        log.warning("no picture of the screen: %s", error)
        return web.Response(status=204)


async def watch(request: web.Request) -> web.WebSocketResponse:
    """A viewer's WebSocket, joined to the screen."""
    desk: Desk = request.app[DESK]
    socket = web.WebSocketResponse(protocols=("binary",), max_msg_size=1 << 21, compress=False,
                                   heartbeat=30.0)
    await socket.prepare(request)
    may_act = request.headers.get("X-Desk-Access") == "control" and "control" in request.query
    desk.viewers += 1
    writer = None
    try:
        await desk.ensure()
        reader, writer = await asyncio.open_unix_connection(str(SCREEN))
        down = asyncio.create_task(_show(reader, socket))
        try:
            await _act(socket, writer, desk, None if may_act else Watching())
        finally:
            down.cancel()
    except (TimeoutError, OSError, ProtocolError) as error:
        log.warning("a viewer was cut off: %s", error)
    finally:
        desk.viewers -= 1
        desk.touch()
        if writer is not None:
            writer.close()
        await socket.close()
    return socket


async def _show(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            await socket.send_bytes(data)
    await socket.close()


async def _act(socket: web.WebSocketResponse, writer: asyncio.StreamWriter, desk: Desk,
               watching: Watching | None) -> None:
    async for message in socket:
        if message.type != WSMsgType.BINARY:
            continue
        data = watching.take(message.data) if watching else message.data
        desk.touch()
        if data:
            writer.write(data)
            await writer.drain()


async def drive(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The agent's connection to Chromium, which is started for it."""
    try:
        await desk.ensure(browser=True)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", CDP_BACK)
    except (TimeoutError, OSError) as error:
        log.warning("the agent has no browser: %s", error)
        writer.close()
        return

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter,
                      uses: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if uses:
                    desk.touch()
                sink.write(data)
                await sink.drain()
        sink.close()
    await asyncio.gather(pass_on(reader, back_writer, True), pass_on(back_reader, writer, False))


async def _files() -> web.AppRunner:
    """The employee's files for its own browser, so that it can show people what it made: OpenClaw
    opens no file: addresses."""
    app = web.Application()
    app.router.add_static("/workspace", "/data/workspace", show_index=True)
    app.router.add_static("/shared", "/shared", show_index=True)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    return runner


async def rest_when_idle(desk: Desk) -> None:
    while True:
        await asyncio.sleep(5.0)
        if desk.is_up and desk.idle_s > IDLE_S:
            await desk.stop()


DESK = web.AppKey("desk", Desk)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="desk: %(message)s")
    desk, stopped = Desk(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    app = web.Application()
    app[DESK] = desk
    app.router.add_get("/healthz", health)
    app.router.add_get("/thumbnail", thumbnail)
    app.router.add_get("/websockify", watch)
    app.router.add_get("/", page)
    app.router.add_static("/desk", WWW)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", PORT).start()
    await web.TCPSite(await _files(), "127.0.0.1", FILES_PORT).start()
    await asyncio.start_server(lambda r, w: drive(desk, r, w), "127.0.0.1", CDP_FRONT)
    idle = asyncio.create_task(rest_when_idle(desk))
    await stopped.wait()
    idle.cancel()
    await desk.stop()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
