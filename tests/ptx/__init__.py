"""The kernels as NVRTC compiles them, executed on the CPU: an interpreter of their PTX.

The programs of tests/host_cuda compile the kernels as C++, with C++ in place of what floating.cuh
says in PTX; here runs the PTX itself, for each GPU, with the arguments of a real launch. What stays
unseen is the way from PTX to machine code.
"""

from .machine import DeadlockError as DeadlockError
from .machine import Machine as Machine
from .memory import AccessError as AccessError
from .memory import GlobalMemory as GlobalMemory
from .program import Program as Program
from .text import kernels as kernels
