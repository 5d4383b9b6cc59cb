"""Run a program that may only read what it is given, write in one folder, and reach no network.

    python -I -S confine.py FOLDER READABLE... -- PROGRAM ARGUMENT...

It uses the standard library only. Linux enforces the limits, by Landlock (since 5.13) and an empty network namespace. A
machine that lacks one of them runs the program without that limit.
"""

import contextlib
import ctypes
import os
import sys

NO_NEW_PRIVILEGES = 38
NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, with these numbers on every processor
QUERY_VERSION = 1
FOLDER_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}  # the number of rights that a version knows; later ones: 16
READ_RIGHTS = 0b1101  # execute, read a file, list a folder
DEVICE_RIGHTS = 0b1111  # these, and write to a file
FILE_RIGHTS = 0b111 | 1 << 14 | 1 << 15  # those of a file: also truncate it, and control a device
NETWORK_RIGHTS = 0b11  # bind, connect
SCOPES = 0b11  # abstract sockets and signals of processes outside
DEVICES = "/dev"


class Ruleset(ctypes.Structure):
    """The rights that are refused unless a rule allows them."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class FolderRule(ctypes.Structure):
    """The rights below a folder."""

    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def leave_network() -> None:
    """Move into an empty network namespace, where the system lets a user do that."""
    user = os.getuid()
    group = os.getgid()
    if ctypes.CDLL(None).unshare(NEW_USER_AND_NETWORK):
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123  pathlib costs a start 10 ms
            file.write(text)


def query_landlock() -> int:
    """Return the version of the kernel's Landlock; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), QUERY_VERSION)))


def restrict_files(folder: str, readable: list[str]) -> None:
    """Let this process write below a folder, and read only that and what is readable, where the kernel has Landlock."""
    system = ctypes.CDLL(None)
    version = query_landlock()
    if not version:
        return
    all_rights = (1 << FOLDER_RIGHTS_BY_VERSION.get(version, 16)) - 1
    wanted = Ruleset(all_rights, NETWORK_RIGHTS, SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = system.syscall(CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), 0)
    places = dict.fromkeys(readable, READ_RIGHTS) | {DEVICES: DEVICE_RIGHTS, f"{DEVICES}/shm": all_rights}
    for path, rights in (places | {folder: all_rights}).items():
        with contextlib.suppress(OSError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights & all_rights
            rule = FolderRule(allowed if os.path.isdir(path) else allowed & FILE_RIGHTS, place)  # noqa: PTH112
            system.syscall(ADD_RULE, rules, 1, ctypes.byref(rule), 0)
    system.syscall(RESTRICT_SELF, rules, 0)


def main(words: list[str]) -> None:
    """Confine this process, then become the program."""
    end = words.index("--")
    folder, *readable = words[:end]
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            leave_network()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            restrict_files(folder, readable)
    os.execv(words[end + 1], words[end + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
