"""Kernels that PyTorch lacks, compiled on the machine that they run on. Where they do not fit, PyTorch's own compute
the same, slower.
"""

from plait.kernels.attend import attend, can_attend
from plait.kernels.read import can_read, read
from plait.kernels.unpack import unpack, unpack4

__all__ = ["attend", "can_attend", "can_read", "read", "unpack", "unpack4"]
