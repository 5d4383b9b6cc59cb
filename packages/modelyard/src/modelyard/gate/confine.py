"""Run a program that may only read what it is given, write in one folder, and reach no network and no other process.

    python -I -S confine.py LEVEL NEEDED FOLDER READABLE... -- PROGRAM ARGUMENT...

It uses the standard library only. Linux enforces the limits: Landlock (since 5.13) those of files, a seccomp filter,
beside an empty network namespace, those of sockets and processes. The file LEVEL then says which of the two hold. Where
that is not what is NEEDED, the program is not started; if `none` is needed, it is started with what there is.
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

FULL_CONFINEMENT = "landlock and seccomp"
NO_CONFINEMENT = "none"
SET_SECCOMP, FILTER_MODE = 22, 2
# By processor: its number in seccomp's data, the calls that are refused, and socketpair. The calls are socket, connect,
# ptrace, process_vm_readv, process_vm_writev, bpf, io_uring_setup (whose rings open sockets) and pidfd_getfd.
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 101, 310, 311, 321, 425, 438), 53),
    "aarch64": (0xC00000B7, (198, 203, 117, 270, 271, 280, 425, 438), 199),
}
FOREIGN_CALLS = 0x40000000  # from here on x86_64 has the numbers of another interface, x32
LOAD, AND, IS_EQUAL, IS_AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # instructions of classic BPF
CALL_AT, PROCESSOR_AT, FAMILY_AT, TYPE_AT = 0, 4, 16, 24  # bytes of seccomp's data: the last two are arguments
UNIX_FAMILY, STREAM_TYPE, TYPE_BITS = 1, 1, 0xF
ANSWERS = {"allow": 0x7FFF0000, "refuse": 0x00050000 | 13, "kill": 0x80000000}  # 13: permission denied


class Ruleset(ctypes.Structure):
    """The rights that are refused unless a rule allows them."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class FolderRule(ctypes.Structure):
    """The rights below a folder."""

    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


class Instruction(ctypes.Structure):
    """One instruction of classic BPF: what it does, how many it skips where it holds and where not, and its number."""

    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class Program(ctypes.Structure):
    """A program of classic BPF."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))


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


def restrict_files(folder: str, readable: list[str]) -> bool:
    """Let this process write below a folder, and read only that and what is readable; return whether it holds."""
    system = ctypes.CDLL(None)
    version = query_landlock()
    if not version:
        return False
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
    return bool(system.syscall(RESTRICT_SELF, rules, 0) == 0)


def build_call_filter(processor: str) -> list[tuple[int, int, int, int]]:
    """Return the seccomp filter of a processor, as instructions of classic BPF.

    It refuses every new socket, the calls that look into other processes, and those that do either unseen. Of pairs of
    sockets it allows connected streams, which event loops and worker processes need: a pair of datagram sockets could
    still write to any local socket. A call by another interface of the processor, with other numbers, ends the process.
    """
    number, refused, socketpair = SYSTEM_CALLS[processor]
    steps = [
        (LOAD, "", "", PROCESSOR_AT),
        (IS_EQUAL, "", "kill", number),
        (LOAD, "", "", CALL_AT),
        (IS_AT_LEAST, "kill", "", FOREIGN_CALLS),
        *((IS_EQUAL, "refuse", "", call) for call in refused),
        (IS_EQUAL, "", "allow", socketpair),
        (LOAD, "", "", FAMILY_AT),
        (IS_EQUAL, "", "refuse", UNIX_FAMILY),
        (LOAD, "", "", TYPE_AT),
        (AND, "", "", TYPE_BITS),
        (IS_EQUAL, "allow", "refuse", STREAM_TYPE),
    ]
    ends = {name: len(steps) + place for place, name in enumerate(ANSWERS)}
    rows = []
    for place, (code, yes, no, value) in enumerate(steps):
        skipped_by = {end: ends[end] - place - 1 if end else 0 for end in (yes, no)}
        rows.append((code, skipped_by[yes], skipped_by[no], value))
    return [*rows, *((RETURN, 0, 0, answer) for answer in ANSWERS.values())]


def restrict_calls() -> bool:
    """Refuse the system calls that `build_call_filter` names; return whether the kernel does so from now on."""
    processor = os.uname().machine
    if processor not in SYSTEM_CALLS or sys.maxsize < FOREIGN_CALLS << 2:
        return False
    rows = build_call_filter(processor)
    program = Program(len(rows), (Instruction * len(rows))(*(Instruction(*row) for row in rows)))
    return bool(ctypes.CDLL(None).prctl(SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


def confine_process(folder: str, readable: list[str]) -> str:
    """Confine this process as far as the system can, and return by what."""
    if sys.platform != "linux":
        return NO_CONFINEMENT
    with contextlib.suppress(OSError, AttributeError):
        leave_network()
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    means = {"landlock": restrict_files(folder, readable), "seccomp": restrict_calls()}
    return " and ".join(name for name, holds in means.items() if holds) or NO_CONFINEMENT


def main(words: list[str]) -> None:
    """Confine this process and say how far, then become the program if that is enough."""
    end = words.index("--")
    level_file, needed, folder, *readable = words[:end]
    with open(level_file, "w", encoding="ascii") as file:  # noqa: PTH123  before this process may write there no more
        level = confine_process(folder, readable)
        file.write(level)
    if needed in (NO_CONFINEMENT, level):
        os.execv(words[end + 1], words[end + 1 :])
    sys.exit(f"confined by {level}, and {needed} is needed")


if __name__ == "__main__":
    main(sys.argv[1:])
