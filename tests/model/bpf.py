"""Classic BPF as seccomp runs it, the obvious way: what the kernel's verdict must be. Source: linux/filter.h, seccomp(2)."""

import struct

INSN = struct.Struct("<HBBI")
U32 = 0xFFFFFFFF


def data(nr: int, args: tuple[int, ...] = (), arch: int = 0xC000003E, ip: int = 0) -> bytes:
    """struct seccomp_data of a call."""
    six = [*args, *[0] * (6 - len(args))]
    return struct.pack("<iIQ6Q", nr - (1 << 32) if nr >= 1 << 31 else nr, arch, ip, *(arg & ((1 << 64) - 1) for arg in six))


def run(program: bytes, packet: bytes, counter: list[int] | None = None) -> int:
    """Run the program over a call; return its verdict. Raises ValueError for an instruction that seccomp does not take."""
    insns = list(INSN.iter_unpack(program))
    a = x = pc = 0
    memory = [0] * 16
    for _ in range(len(insns)):                 # jumps only go forward: it must end by then
        code, jt, jf, k = insns[pc]
        pc += 1
        if counter is not None:
            counter[0] += 1
        if code == 0x20:                        # ld [k]
            if k % 4 or k > len(packet) - 4:
                raise ValueError(f"load from {k}")
            a = int.from_bytes(packet[k : k + 4], "little")
        elif code == 0x60:
            a = memory[k]
        elif code == 0x61:
            x = memory[k]
        elif code == 0x02:
            memory[k] = a
        elif code in (0x04, 0x0C):
            a = (a + (k if code == 0x04 else x)) & U32
        elif code == 0x54:
            a &= k
        elif code == 0x4C:
            a |= x
        elif code == 0x64:
            a = (a << k) & U32
        elif code == 0x74:
            a >>= k
        elif code == 0x05:
            pc += k
        elif code in (0x15, 0x25, 0x35, 0x45):
            taken = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            pc += jt if taken else jf
        elif code == 0x06:
            return k
        else:
            raise ValueError(f"instruction {code:#x}")
    raise ValueError("fell off the end")
