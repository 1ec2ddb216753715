"""Kernels that PyTorch lacks, compiled on the machine that they run on. Where they do not fit, PyTorch's own compute
the same, slower.
"""

from plait.kernels.read import can_read, read
from plait.kernels.unpack import unpack, unpack4

__all__ = ["can_read", "read", "unpack", "unpack4"]
