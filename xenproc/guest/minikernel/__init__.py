"""A small kernel for a guest, in the spirit of xv6: processes in ring 3, each with page tables that the hypervisor validates.

    def guest(g):
        from xenproc.guest.minikernel.kernel import Kernel
        return Kernel(g).run(init)      # init(sys): the first process

An example to read and to change, and the workload of `xenproc bench kernel`. docs/guest-kernel.md has the reading order.
"""
