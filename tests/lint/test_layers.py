"""A file belongs to its layer: what it may include and what it may call."""

from __future__ import annotations

import re

from sources import LAYERS, CFile, library

_QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
_SYSTEM = re.compile(r"^\s*#\s*include\s+<([^>]+)>", re.MULTILINE)

# A lock-free protocol must compile under a model checker, which knows nothing else of ours.
_CORE_MAY_INCLUDE = {"base/atomic.h", "base/assert.h", "base/defs.h"}
# A protocol may stand on others; and values are plain data over the three headers above.
_CORE_MAY_INCLUDE |= {"sched/waiter_core.h", "sync/wait_core.h", "sync/value.h"}

# System calls, and library calls that make one which may block.  clock_gettime is not among
# them: it is a read of shared memory.
_SYSCALLS = re.compile(
    r"(?<![\w.>])(?:"
    r"socket|socketpair|bind|listen|connect|accept4?|shutdown|[gs]etsockopt|get(?:sock|peer)name"
    r"|recv(?:from|m?msg)?|send(?:to|m?msg|file)?|p?readv?|p?writev?|splice"
    r"|open(?:at2?)?|creat|close|close_range|dup[23]?|fcntl|ioctl|pipe2?|fstat(?:at)?|stat"
    r"|unlink(?:at)?|linkat|rename(?:at2?)?|fsync|ftruncate"
    r"|epoll_\w+|eventfd|timerfd_\w+|signalfd|poll|ppoll|select|pselect|io_uring_\w+"
    r"|mmap|munmap|mprotect|madvise|mremap"
    r"|sigaltstack|sigaction|signal|pthread_sigmask|sigprocmask|pthread_kill|kill|tgkill"
    r"|pthread_create|pthread_join|pthread_setname_np|prctl|syscall|fork|vfork|clone"
    r"|sched_\w+|getrlimit|setrlimit|prlimit|nanosleep|clock_nanosleep|usleep|sleep"
    r"|getpid|gettid|getaddrinfo"
    r")\s*\("
)


def _describe(file: CFile, offset: int, what: str) -> str:
    return f"{file.name}:{file.line_of(offset)}: {what}"


def test_includes_name_a_layer_and_never_a_higher_one() -> None:
    wrong = []
    for file in library():
        for match in _QUOTED.finditer(file.text):
            layer, slash, _ = match[1].partition("/")
            if not slash or layer not in LAYERS:
                wrong.append(_describe(file, match.start(), f'"{match[1]}" is not "layer/file.h"'))
            elif LAYERS.index(layer) > LAYERS.index(file.layer):
                wrong.append(_describe(file, match.start(), f"includes {match[1]} from above"))
    assert not wrong, "\n".join(wrong)


def test_every_folder_of_csrc_is_a_layer() -> None:
    assert {file.layer for file in library()} <= set(LAYERS)


def test_lock_free_cores_include_only_what_a_model_checker_takes() -> None:
    wrong = [
        _describe(file, match.start(), f"a protocol core must not include {match[1]}")
        for file in library()
        if file.path.name.endswith("_core.h")
        for match in _QUOTED.finditer(file.text)
        if match[1] not in _CORE_MAY_INCLUDE
    ]
    assert not wrong, "\n".join(wrong)


def test_python_headers_stay_in_the_python_layer() -> None:
    python_headers = re.compile(r"^(Python|structmember|frameobject|pythread|internal/.*)\.h$")
    wrong = [
        _describe(file, match.start(), f"<{match[1]}> outside csrc/python")
        for file in library()
        if file.layer != "python"
        for match in _SYSTEM.finditer(file.text)
        if python_headers.match(match[1])
    ]
    assert not wrong, "\n".join(wrong)


def test_system_calls_are_made_in_base_sys_only() -> None:
    wrong = [
        _describe(file, match.start(), f"{match.group().rstrip('( ')}() outside base/sys")
        for file in library()
        if not file.name.startswith("csrc/base/sys")
        for match in _SYSCALLS.finditer(file.code)
    ]
    assert not wrong, "\n".join(wrong)


def test_operating_system_conditionals_stay_low() -> None:
    conditional = re.compile(r"^\s*#\s*(?:el)?if.*__linux__", re.MULTILINE)
    wrong = [
        _describe(file, match.start(), "depends on the operating system outside arch, base and io")
        for file in library()
        if file.layer not in {"arch", "base", "io"}
        for match in conditional.finditer(file.code)
    ]
    assert not wrong, "\n".join(wrong)
