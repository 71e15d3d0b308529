"""The hypervisor process: owns machine memory, validates everything, believes nothing a guest can write."""
