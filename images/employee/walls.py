"""Walls around what the agent does: its commands and its browser see no file of the gateway's, look
into no other process and signal none.

The gateway and the agent's tools run as one user, so the kernel's Landlock keeps them apart
(https://docs.kernel.org/userspace-api/landlock.html): a process gives up access for itself and
all its children, for ever, and needs no privilege for it. What is not allowed below is refused;
`/proc/<pid>/…` of a process outside is refused as tracing it is. Uses the standard library alone
and imports little: it runs before each command.

`python3 -IS walls.py desk -- program arguments…` runs a program behind them.
"""

import os
import sys

EXECUTE, WRITE, READ, LIST, REFER, TRUNCATE, IOCTL = 1, 2, 4, 8, 1 << 13, 1 << 14, 1 << 15
_ALL = (1 << 13) - 1  # everything that the first version of Landlock knows
_SINCE = ((2, REFER), (3, TRUNCATE), (5, IOCTL))  # what later versions added
_SCOPES = 3  # version 6: no abstract socket and no signal to whoever is outside
_CREATE, _ADD, _RESTRICT, _NO_NEW_PRIVILEGES = 444, 445, 446, 38

# What each may write. Neither sees anything else below /data: least of all /data/state, where the
# gateway keeps its password, its key, its approvals and its devices.
PLACES = {"hands": ("/data/workspace", "/data/home", "/tmp"),
          "desk": ("/data/workspace", "/data/home", "/data/browser", "/tmp")}


def enter(places: "tuple[str, ...]", readable: "tuple[str, ...] | None" = None, *,
          sandboxes: bool = False) -> bool:
    """Puts this process behind the walls. `readable`: folders that it may read and run from; by
    default everything but /data. `sandboxes`: it makes user namespaces for its children, as
    Chromium does, and so writes their maps in /proc. Returns False on a kernel without Landlock.

    Raises:
        OSError: the kernel has it, and refuses.
    """
    import ctypes

    system = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        found = system.syscall(*(ctypes.c_long(x) if isinstance(x, int) else x
                                 for x in (number, *arguments)))
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return found
    try:
        version = call(_CREATE, None, 0, 1)
    except OSError:
        return False
    every = _ALL
    for since, right in _SINCE:
        every |= right if version >= since else 0
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped
    wanted = (ctypes.c_uint64 * 3)(every, 0, _SCOPES if version >= 6 else 0)
    rules = call(_CREATE, ctypes.byref(wanted), 24, 0)

    def allow(path: str, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # what is not there needs no way in
        if not os.path.isdir(path):  # noqa: PTH112 - pathlib takes longer to import than this
            rights &= EXECUTE | WRITE | READ | TRUNCATE | IOCTL
        # struct landlock_path_beneath_attr, packed: allowed_access, parent_fd
        rule = (rights & every).to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        call(_ADD, rules, 1, ctypes.c_char_p(rule), 0)
        os.close(place)
    for path in readable if readable is not None else (
            f"/{name}" for name in os.listdir("/") if name != "data"):  # noqa: PTH208
        allow(path, EXECUTE | READ | LIST)
    if sandboxes:
        allow("/proc", READ | LIST | WRITE)
    allow("/dev", READ | LIST | WRITE | TRUNCATE | IOCTL)
    for path in ("/dev/shm", *places):
        allow(path, every)
    system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call(_RESTRICT, rules, 0)
    os.close(rules)
    return True


if __name__ == "__main__":
    if not enter(PLACES[sys.argv[1]], sandboxes=sys.argv[1] == "desk"):
        print("walls: this kernel has no Landlock: the agent can read what its gateway knows",
              file=sys.stderr)
    command = sys.argv[sys.argv.index("--") + 1:]
    os.execvp(command[0], command)
