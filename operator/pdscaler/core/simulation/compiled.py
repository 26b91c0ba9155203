"""How the kernels are compiled. May import numba and the standard library only; imported by the kernels alone."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function to machine code at its first call, without Python's lock.

    The result is kept on disk beside the source or in the user's cache folder (or NUMBA_CACHE_DIR). Where none of them
    can be written (a container with a read-only file system), every process compiles for itself.
    """
    try:
        found = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no place for the cache
        found = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("Function", found)
