"""Reading memory by address: what lies in arrays of many lengths, such as the bucket tables of all substrings.

A kernel that took each of those arrays would have to be compiled for every number of substrings. The caller keeps the
arrays alive and has checked that what is read lies within them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from hashdb.search.kernels.intrinsics import intrinsic

Builder = Any
Value = Any
_WORD = ir.IntType(64)


def _loader(n_bits: int) -> Any:
    kind = ir.IntType(n_bits)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        base, index = arguments
        pointer = builder.gep(builder.inttoptr(base, kind.as_pointer()), [index])
        value = builder.load(pointer)
        value.align = n_bits // 8
        return value if n_bits == 64 else builder.zext(value, _WORD)

    return generate


@intrinsic
def load_uint8(typing_context: Any, base: Any, index: Any) -> Any:
    """``load_uint8(base, index) -> uint64``: element of a uint8 array that begins at an address."""
    return types.uint64(types.int64, types.int64), _loader(8)


@intrinsic
def load_uint32(typing_context: Any, base: Any, index: Any) -> Any:
    """``load_uint32(base, index) -> uint64``: element of a uint32 array that begins at an address."""
    return types.uint64(types.int64, types.int64), _loader(32)


@intrinsic
def load_uint64(typing_context: Any, base: Any, index: Any) -> Any:
    """``load_uint64(base, index) -> uint64``: element of a uint64 array that begins at an address."""
    return types.uint64(types.int64, types.int64), _loader(64)


@intrinsic
def prefetch(typing_context: Any, place: Any) -> Any:
    """``prefetch(place)``: ask for the cache line at an address, which need not be a valid one."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To read, to be kept in every cache, data.
        builder.call(function, [builder.inttoptr(arguments[0], byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def take(typing_context: Any, place: Any, n: Any) -> Any:
    """``take(place, n) -> int64``: raise the int64 at an address by n and give what it was, at once for all threads."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        pointer = builder.inttoptr(arguments[0], _WORD.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate
