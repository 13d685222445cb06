"""Elementwise operations: arithmetic and functions, choices among values, comparisons and rounding.

All broadcast like NumPy and keep float32 as float32. Conventions at kinks stand at the head of each file.
"""

from .choices import *
from .constants import *
from .constants import constant
from .functions import *
from .functions import elementwise
