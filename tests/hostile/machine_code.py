"""System calls made by a guest's own machine code: past every wrapper of Python and libc. Imported by guests."""

import ctypes
import mmap

# long call(nr, a, b, c, d, e): the C convention's registers moved to the kernel's, then `syscall`.
SYSCALL = bytes.fromhex("4889f8 4889f7 4889d6 4889ca 4d89c2 4d89c8 4c8b4c2408 0f05 c3".replace(" ", ""))
# The same through the 32-bit door: eax, ebx, ecx, edx, esi, edi, then `int 0x80`; rbx is the caller's.
INT80 = bytes.fromhex("53 89f8 89f3 87d1 4489c6 4489cf cd80 5b 4863c0 c3".replace(" ", ""))

_CALL = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)


def assemble(code: bytes):
    """Return a callable of the machine code, in memory that is writable and executable."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page[: len(code)] = code
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call = _CALL(address)

    def made(nr: int, *args: int) -> int:
        return call(nr, *args, *[0] * (6 - len(args)))

    made.keep = page
    return made


def libc_call(nr: int, *args: int) -> int:
    """Return what the kernel says to a call made through libc's syscall(): -errno or the result."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    ret = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(arg) for arg in args])
    return -ctypes.get_errno() if ret == -1 else ret


def low_buffer(size: int = 4096) -> int:
    """Return the address of zeroed memory below 4 GiB, where 32-bit calls reach."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_long
    map_private, map_anonymous, map_32bit = 2, 0x20, 0x40
    return libc.mmap(None, ctypes.c_size_t(size), 3, map_private | map_anonymous | map_32bit, -1, ctypes.c_long(0))
