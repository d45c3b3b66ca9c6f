"""What makes compiled code and runs it: the only home of JIT flags and of Numba's inside."""

import os

# The process that imported fastnn.  A child that was forked from it may be the first to import
# more, and must know that it is one: threads of other libraries were lost in the fork.
IMPORTED_IN = os.getpid()
