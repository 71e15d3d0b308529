"""xenproc: Xen's paravirtual machine as plain Linux processes."""
