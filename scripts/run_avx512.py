#!/usr/bin/env python3
"""Runs a Linux program on an emulated x86-64 CPU with AVX-512, VNNI and BF16.

The CPU is that of the Bochs emulator, as a library (PyPI: bochscpu-python); it knows nothing of
Linux. This program does the rest: it loads the ELF file and its dynamic linker into memory mapped
one to one, and answers the system calls that a test program makes. Those it does not know fail with
ENOSYS. Files can be read, not written; /proc and /sys are empty; there is one CPU. Threads take
turns: another one runs when one waits or yields. An exception or a signal ends everything.

No instruction but SYSCALL costs time here: it lands on an INVLPG, whose hook leads to Python.
RONDO_TRACE_CALLS=1 shows the calls.
"""

import argparse
import collections
import ctypes
import errno
import mmap
import os
import struct
import subprocess
import sys
import time
import traceback

PAGE = 4096
LARGE = 2 << 20
LARGE_PAGES = 512  # in a directory
MEMORY = 3 << 30  # of which the machine outside gives what is touched; an APIC would lie behind
NO_RESERVE = 0x4000

# Addresses. The first pages hold the page tables and the code behind SYSCALL.
GATE, PML4, DIRECTORY_POINTERS, TABLE, DIRECTORIES = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
PROGRAM = 16 << 20  # of position-independent programs
LINKER = 128 << 20
MAPPINGS = 256 << 20
STACK_TOP = MEMORY
STACK = 8 << 20

WORD = (1 << 64) - 1


def round_up(value, unit):
    return (value + unit - 1) // unit * unit


def load_emulator(folder):
    """The module bochscpu, with the model that has everything and, for a C library older than the
    wheel's, the functions it lacks."""
    os.makedirs(folder, exist_ok=True)
    library = os.path.join(folder, "bochs_model.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bochs_model.c")
    if not os.path.exists(library) or os.path.getmtime(library) < os.path.getmtime(source):
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_LAZY)
    ctypes.CDLL(library, os.RTLD_GLOBAL)
    import bochscpu
    import bochscpu.memory

    return bochscpu


class Memory:
    """Guest memory, each address its own physical one, and the mappings in it."""

    def __init__(self, bochscpu):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        self.bytes = mmap.mmap(-1, MEMORY, flags=flags)
        self.host = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        self.insert = bochscpu.memory.page_insert
        self.free = [(MAPPINGS, STACK_TOP - STACK)]  # ranges, ascending
        self.put(GATE, bytes.fromhex("0f013c24480f07"))  # invlpg [rsp]; sysretq
        self.build_page_tables()

    def build_page_tables(self):
        """All addresses are physical ones. The first pages, but for the one at 0, are the CPU's."""
        present, user, large = 3, 4, 0x80
        pages = [at | present | user | large for at in range(0, MEMORY, LARGE)]
        pages[0] = TABLE | present
        self.put_words(DIRECTORIES, pages)
        directories = range(DIRECTORIES, DIRECTORIES + 8 * len(pages), 8 * LARGE_PAGES)
        self.put_words(DIRECTORY_POINTERS, [at | present | user for at in directories])
        self.put_words(PML4, [DIRECTORY_POINTERS | present | user])
        self.put_words(TABLE, [0] + [at | present for at in range(PAGE, 16 * PAGE, PAGE)])

    def missing_page(self, address):
        if address >= MEMORY:
            die(f"access to physical address {address:#x}")
        page = address // PAGE * PAGE
        self.insert(page, self.host + page)

    def put(self, address, data):
        self.bytes[address : address + len(data)] = data

    def put_words(self, address, words):
        self.put(address, struct.pack(f"<{len(words)}Q", *words))

    def get(self, address, count):
        return self.bytes[address : address + count]

    def word(self, address):
        return struct.unpack("<I", self.get(address, 4))[0]

    def text(self, address):
        end = self.bytes.find(b"\0", address)
        return os.fsdecode(self.bytes[address:end])

    def clear(self, address, count):
        end = round_up(address + count, PAGE)
        head = round_up(address, PAGE)
        if head > address:
            self.put(address, bytes(min(head, address + count) - address))
        if end > head:
            self.bytes.madvise(mmap.MADV_DONTNEED, head, end - head)

    def take(self, count):
        """A free range of whole pages, or None."""
        for i, (begin, end) in enumerate(self.free):
            if end - begin >= count:
                self.free[i : i + 1] = [(begin + count, end)] if end - begin > count else []
                return begin
        return None

    def take_at(self, address, count):
        """Takes what of a given range was free."""
        kept = []
        for begin, end in self.free:
            if begin < min(end, address):
                kept.append((begin, min(end, address)))
            if max(begin, address + count) < end:
                kept.append((max(begin, address + count), end))
        self.free = kept

    def give_back(self, address, count):
        self.clear(address, count)
        self.take_at(address, count)
        self.free = sorted(self.free + [(address, address + count)])
        merged = [self.free[0]]
        for begin, end in self.free[1:]:
            if begin == merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((begin, end))
        self.free = merged


def load_elf(memory, path, address):
    """Puts an ELF file's segments into memory; returns what the linker wants to know of it."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:5] != b"\x7fELF\x02":
        die(f"{path} is no 64-bit ELF file")
    kind = struct.unpack_from("<H", data, 16)[0]
    entry, headers = struct.unpack_from("<QQ", data, 24)
    size, count = struct.unpack_from("<HH", data, 54)
    base = address if kind == 3 else 0  # ET_DYN
    interpreter, end, header_address = None, 0, 0
    for i in range(count):
        kind, _, offset, start, _, in_file, in_memory, _ = struct.unpack_from(
            "<IIQQQQQQ", data, headers + i * size
        )
        if kind == 1:  # PT_LOAD
            memory.put(base + start, data[offset : offset + in_file])
            end = max(end, base + start + in_memory)
            if offset <= headers < offset + in_file:
                header_address = base + start + headers - offset
        elif kind == 3:  # PT_INTERP
            interpreter = data[offset : offset + in_file].rstrip(b"\0").decode()
    return {
        "base": base,
        "entry": base + entry,
        "headers": header_address,
        "header_size": size,
        "header_count": count,
        "interpreter": interpreter,
        "end": end,
    }


def build_stack(memory, arguments, environment, program, linker_base):
    """Arguments, environment and auxiliary vector as Linux leaves them. Returns their address."""
    top = STACK_TOP - 64

    def push(data):
        nonlocal top
        top -= len(data)
        memory.put(top, data)
        return top

    random = push(os.urandom(16))
    platform = push(b"x86_64\0")
    name = push(os.fsencode(arguments[0]) + b"\0")
    argv = [push(os.fsencode(a) + b"\0") for a in arguments]
    envp = [push(os.fsencode(f"{k}={v}") + b"\0") for k, v in environment.items()]
    auxiliary = [
        (3, program["headers"]),
        (4, program["header_size"]),
        (5, program["header_count"]),
        (6, PAGE),
        (7, linker_base),
        (8, 0),
        (9, program["entry"]),
        (11, 1000), (12, 1000), (13, 1000), (14, 1000),  # users and groups
        (15, platform),
        (16, 0xBFEBFBFF),  # AT_HWCAP: EDX of CPUID leaf 1
        (17, 100),
        (23, 0),
        (25, random),
        (31, name),
        (0, 0),
    ]  # fmt: skip
    words = [len(argv), *argv, 0, *envp, 0, *(w for pair in auxiliary for w in pair)]
    top = (top - 8 * len(words)) // 64 * 64
    memory.put_words(top, words)
    return top


class Thread:
    def __init__(self, number, clear_address=0):
        self.number = number
        self.clear_address = clear_address  # to be zeroed, and woken, at its end
        self.state = None  # of the CPU, while another one runs
        self.result = 0  # of the system call it waits in
        self.futex = None
        self.deadline = None


class Machine:
    def __init__(self, bochscpu, memory, break_start):
        self.bochscpu = bochscpu
        self.memory = memory
        self.session = bochscpu.Session()
        self.session.missing_page_handler = memory.missing_page
        self.cpu = self.session.cpu
        self.break_start = self.break_end = round_up(break_start, PAGE)
        self.threads = collections.deque([Thread(1)])  # the first one runs
        self.next_number = 2
        self.calls = {
            number: getattr(self, "sys_" + name) for number, name in SYSTEM_CALLS.items()
        }

    def segment(self, selector, attributes, base=0):
        segment = self.bochscpu.Segment()
        segment.present = True
        segment.selector, segment.attr = selector, attributes
        segment.base, segment.limit = base, 0xFFFFFFFF
        return segment

    def run(self, entry, stack):
        state = self.bochscpu.State()
        state.cr0 = 0x80050033  # paging, protection, SSE
        state.cr3 = PML4
        state.cr4 = 0x50620  # PAE, SSE and its exceptions, FSGSBASE, OSXSAVE
        state.efer = 0xD01  # long mode, SYSCALL
        state.xcr0 = 0xE7  # x87, SSE, AVX, AVX-512
        state.rflags = 0x202
        state.mxcsr, state.mxcsr_mask = 0x1F80, 0xFFFF
        state.fpcw, state.fptw = 0x37F, 0xFFFF
        state.cs = self.segment(0x33, 0xA0FB)
        for name in "ss", "ds", "es", "fs", "gs":
            setattr(state, name, self.segment(0x2B, 0xC0F3))
        state.star = 0x23 << 48 | 0x10 << 32
        state.lstar = GATE
        state.sfmask = 0x200
        state.rip, state.rsp = entry, stack
        self.cpu.state = state
        hook = self.bochscpu.Hook()
        hook.tlb_cntrl = self.system_call
        hook.exception = self.exception
        self.session.run([hook])

    def exception(self, session, cpu_id, vector, error):
        names = {0: "division by zero", 6: "invalid opcode", 13: "protection", 14: "page fault"}
        at = self.cpu.rip
        code = self.memory.get(at, 12).hex(" ") if at + 12 < MEMORY else "outside memory"
        die(
            f"exception {vector} ({names.get(vector, '?')}, error {error:#x}) at {at:#x}, "
            f"address {self.cpu.cr2:#x}, code {code}, thread {self.threads[0].number}"
        )

    def system_call(self, session, cpu_id, what, address):
        try:
            cpu = self.cpu
            number = cpu.rax
            call = self.calls.get(number)
            if call is None:
                if TRACE:
                    print(f"system call {number}: unknown", file=sys.stderr)
                cpu.rax = -errno.ENOSYS & WORD
                return
            arguments = cpu.rdi, cpu.rsi, cpu.rdx, cpu.r10, cpu.r8, cpu.r9
            result = call(*arguments)
            if TRACE:
                text = " ".join(f"{a:#x}" for a in arguments)
                print(f"system call {number} {text}: {result}", file=sys.stderr)
            if result is not None:  # else the thread may be another one now
                cpu.rax = result & WORD
        except OSError as error:
            self.cpu.rax = -error.errno & WORD
        except BaseException:  # must not pass through the emulator
            traceback.print_exc()
            die("error in a system call")

    # Threads.

    def switch(self):
        """Goes on with the next thread that can run; the present one, if still there, waits at the
        end of the queue."""
        cpu = self.cpu
        while True:
            now = time.monotonic()
            deadlines = []
            for _ in range(len(self.threads)):
                thread = self.threads[0]
                if thread.deadline is not None:
                    if now >= thread.deadline:
                        thread.futex = thread.deadline = None
                        thread.result = -errno.ETIMEDOUT
                    else:
                        deadlines.append(thread.deadline)
                if thread.futex is None:
                    cpu.state = thread.state
                    cpu.rax = thread.result & WORD
                    thread.state = None
                    return
                self.threads.rotate(-1)
            if not deadlines:
                die("all threads wait for each other")
            time.sleep(max(0, min(deadlines) - now))

    def park(self, result, futex=None, deadline=None):
        thread = self.threads[0]
        thread.state, thread.result = self.cpu.state, result
        thread.futex, thread.deadline = futex, deadline
        self.threads.rotate(-1)
        self.switch()

    def wake(self, address, count):
        woken = 0
        for thread in self.threads:
            if woken < count and thread.futex == address:
                thread.futex = thread.deadline = None
                woken += 1
        return woken

    def sys_clone(self, flags, stack, parent_number, child_number, storage, *_):
        if not flags & 0x100:  # CLONE_VM
            return -errno.ENOSYS
        number, self.next_number = self.next_number, self.next_number + 1
        state = self.cpu.state
        state.rsp = stack
        if flags & 0x80000:  # CLONE_SETTLS
            state.fs = self.segment(0x2B, 0xC0F3, storage)
        if flags & 0x100000:  # CLONE_PARENT_SETTID
            self.memory.put(parent_number, struct.pack("<I", number))
        if flags & 0x1000000:  # CLONE_CHILD_SETTID
            self.memory.put(child_number, struct.pack("<I", number))
        thread = Thread(number, child_number if flags & 0x200000 else 0)
        thread.state = state
        self.threads.append(thread)
        return number

    def sys_exit(self, status, *_):
        thread = self.threads[0]
        if len(self.threads) == 1:
            return self.sys_exit_group(status)
        self.threads.popleft()
        if thread.clear_address:
            self.memory.put(thread.clear_address, bytes(4))
            self.wake(thread.clear_address, 1)
        self.switch()

    def sys_exit_group(self, status, *_):
        leave(status & 0xFF)

    def sys_futex(self, address, operation, value, timeout, *_):
        command = operation & 0x7F
        if command in (0, 9):  # FUTEX_WAIT, FUTEX_WAIT_BITSET
            if self.memory.word(address) != value & 0xFFFFFFFF:
                return -errno.EAGAIN
            deadline = None
            if timeout:
                seconds, nanoseconds = struct.unpack("<qq", self.memory.get(timeout, 16))
                deadline = seconds + nanoseconds * 1e-9
                if command == 0:
                    deadline += time.monotonic()
                elif operation & 0x100:  # FUTEX_CLOCK_REALTIME
                    deadline += time.monotonic() - time.time()
            return self.park(0, address, deadline)
        if command in (1, 10):  # FUTEX_WAKE, FUTEX_WAKE_BITSET
            return self.wake(address, value)
        return -errno.ENOSYS

    def sys_sched_yield(self, *_):
        return self.park(0)

    def sys_gettid(self, *_):
        return self.threads[0].number

    def sys_getpid(self, *_):
        return 1

    def sys_set_tid_address(self, address, *_):
        self.threads[0].clear_address = address
        return self.threads[0].number

    def sys_sched_getaffinity(self, _, size, mask, *__):
        self.memory.put(mask, b"\1" + bytes(7))
        return 8

    def sys_tgkill(self, group, number, signal, *_):
        die(f"signal {signal}", 128 + signal)

    def sys_kill(self, number, signal, *_):
        die(f"signal {signal}", 128 + signal)

    # Memory.

    def sys_brk(self, address, *_):
        if self.break_start <= address < LINKER:
            if address < self.break_end:
                self.memory.clear(address, self.break_end - address)
            self.break_end = address
        return self.break_end

    def sys_mmap(self, address, count, protection, flags, file, offset):
        count = round_up(count, PAGE)
        if flags & 0x10:  # MAP_FIXED
            if address + count > MEMORY:
                return -errno.ENOMEM
            self.memory.take_at(address, count)
            self.memory.clear(address, count)
        else:
            address = self.memory.take(count)
            if address is None:
                return -errno.ENOMEM
        if not flags & 0x20:  # MAP_ANONYMOUS
            self.memory.put(address, os.pread(file, count, offset))
        return address

    def sys_munmap(self, address, count, *_):
        self.memory.give_back(address, round_up(count, PAGE))
        return 0

    def sys_nothing(self, *_):
        return 0

    def sys_madvise(self, address, count, advice, *_):
        if advice == 4:  # MADV_DONTNEED
            self.memory.clear(address, count)
        return 0

    # Files.

    def sys_openat(self, folder, path, flags, *_):
        path = self.memory.text(path)
        if flags & 3:
            return -errno.EROFS
        if path.startswith(("/proc/", "/sys/")):  # those of the machine outside
            return -errno.ENOENT
        return os.open(path, flags, dir_fd=self.folder(folder))

    def folder(self, number):
        return None if number & 0xFFFFFFFF == 0xFFFFFF9C else number  # AT_FDCWD

    def sys_read(self, file, address, count, *_):
        data = os.read(file, count)
        self.memory.put(address, data)
        return len(data)

    def sys_pread64(self, file, address, count, offset, *_):
        data = os.pread(file, count, offset)
        self.memory.put(address, data)
        return len(data)

    def sys_write(self, file, address, count, *_):
        return os.write(file, self.memory.get(address, count))

    def sys_writev(self, file, vector, count, *_):
        data = b""
        for i in range(count):
            data += self.memory.get(*struct.unpack("<QQ", self.memory.get(vector + 16 * i, 16)))
        return os.write(file, data)

    def sys_close(self, file, *_):
        if file > 2:
            os.close(file)
        return 0

    def sys_lseek(self, file, offset, whence, *_):
        return os.lseek(file, offset - (offset >> 63 << 64), whence)

    def sys_access(self, path, mode, *_):
        path = self.memory.text(path)
        return 0 if os.access(path, mode) else -errno.ENOENT

    def sys_fstat(self, file, address, *_):
        return self.put_status(os.fstat(file), address)

    def sys_newfstatat(self, folder, path, address, flags, *_):
        path = self.memory.text(path)
        if not path and flags & 0x1000:  # AT_EMPTY_PATH
            return self.put_status(os.fstat(folder), address)
        status = os.stat(path, dir_fd=self.folder(folder), follow_symlinks=not flags & 0x100)
        return self.put_status(status, address)

    def put_status(self, s, address):
        data = struct.pack(
            "<QQQIIIIQqqq", s.st_dev, s.st_ino, s.st_nlink, s.st_mode, s.st_uid, s.st_gid, 0,
            s.st_rdev, s.st_size, s.st_blksize, s.st_blocks,
        )  # fmt: skip
        for moment in s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns:
            data += struct.pack("<qq", *divmod(moment, 10**9))
        self.memory.put(address, data + bytes(24))
        return 0

    def sys_getcwd(self, address, size, *_):
        data = os.fsencode(os.getcwd()) + b"\0"
        if len(data) > size:
            return -errno.ERANGE
        self.memory.put(address, data)
        return len(data)

    def sys_not_a_terminal(self, *_):
        return -errno.ENOTTY

    def sys_no_such_file(self, *_):
        return -errno.ENOENT

    # The rest.

    def sys_arch_prctl(self, what, value, *_):
        if what == 0x1002:  # ARCH_SET_FS
            self.cpu.fs = self.segment(0x2B, 0xC0F3, value)
            return 0
        return -errno.EINVAL

    def sys_clock_gettime(self, clock, address, *_):
        nanoseconds = time.time_ns() if clock == 0 else time.monotonic_ns()
        self.memory.put(address, struct.pack("<qq", *divmod(nanoseconds, 10**9)))
        return 0

    def sys_gettimeofday(self, address, *_):
        self.memory.put(address, struct.pack("<qq", *divmod(time.time_ns() // 1000, 10**6)))
        return 0

    def sys_getrandom(self, address, count, *_):
        self.memory.put(address, os.urandom(count))
        return count

    def sys_prlimit64(self, process, resource, new, old, *_):
        if old:
            limit = STACK if resource == 3 else WORD  # RLIMIT_STACK
            self.memory.put(old, struct.pack("<QQ", limit, limit))
        return 0

    def sys_sysinfo(self, address, *_):
        free = sum(end - begin for begin, end in self.memory.free)
        values = (0, 0, 0, 0, MEMORY, free, 0, 0, 0, 0, 1, 0, 0, 1)
        self.memory.put(address, struct.pack("<q9QQQQI4x", *values))
        return 0

    def sys_uname(self, address, *_):
        for i, text in enumerate((b"Linux", b"emulated", b"6.1.0", b"#1", b"x86_64", b"")):
            self.memory.put(address + 65 * i, text.ljust(65, b"\0"))
        return 0

    def sys_clock_nanosleep(self, clock, flags, request, *_):
        seconds, nanoseconds = struct.unpack("<qq", self.memory.get(request, 16))
        deadline = seconds + nanoseconds * 1e-9
        if not flags & 1:  # TIMER_ABSTIME
            deadline += time.monotonic()
        time.sleep(max(0, deadline - time.monotonic()))
        return 0


SYSTEM_CALLS = {
    0: "read", 1: "write", 3: "close", 5: "fstat", 8: "lseek", 9: "mmap", 10: "nothing",
    11: "munmap", 12: "brk", 13: "nothing", 14: "nothing", 16: "not_a_terminal", 17: "pread64",
    20: "writev", 21: "access", 24: "sched_yield", 28: "madvise", 39: "getpid", 56: "clone",
    60: "exit", 62: "kill", 63: "uname", 79: "getcwd", 89: "no_such_file", 96: "gettimeofday", 99: "sysinfo",
    131: "nothing", 158: "arch_prctl", 186: "gettid", 202: "futex", 204: "sched_getaffinity",
    218: "set_tid_address", 228: "clock_gettime", 230: "clock_nanosleep", 231: "exit_group",
    234: "tgkill", 257: "openat", 262: "newfstatat", 267: "no_such_file", 273: "nothing",
    302: "prlimit64", 318: "getrandom",
}  # fmt: skip

TRACE = "RONDO_TRACE_CALLS" in os.environ


def leave(status):
    # At once: the emulator's own clean-up is none.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def die(problem, status=1):
    print(f"run_avx512: {problem}", file=sys.stderr)
    leave(status)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="PROGRAM",
                        help="an x86-64 ELF program, such as build/release/bin/rondo_kernels_test")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="what it is called with")
    options = parser.parse_args()
    command = [options.program, *options.arguments]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    bochscpu = load_emulator(os.path.join(root, "build", "avx512"))
    memory = Memory(bochscpu)
    program = load_elf(memory, options.program, PROGRAM)
    start = program
    if program["interpreter"]:
        start = load_elf(memory, program["interpreter"], LINKER)
    if TRACE:
        print(f"program at {program['base']:#x}, linker at {start['base']:#x}", file=sys.stderr)
    stack = build_stack(memory, command, dict(os.environ), program, start["base"])
    Machine(bochscpu, memory, program["end"]).run(start["entry"], stack)
    die("the emulator stopped")


if __name__ == "__main__":
    sys.exit(main())
