"""Operations that numba does not offer, written as LLVM instructions.

Distances are computed on vectors of eight 64-bit lanes, 64 codes at a time. LLVM turns ``ctpop`` on such a vector into
``vpopcntq`` where the processor has it and into narrower code where not, so the same kernel runs everywhere.
The codes of a tile lie word-major: word w of code i stands at ``base + 8 * (w * stride + i)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

LANES = 8
BLOCK = 64  # codes that one step compares: eight vectors
_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_N_VECTORS = BLOCK // LANES
Builder = Any
Value = Any
intrinsic: Any = extending.intrinsic


@intrinsic
def address(typing_context: Any, array: Any) -> Any:
    """``address(array) -> int64``: where the data of an array begin."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        view = context.make_array(array)(context, builder, arguments[0])
        return builder.ptrtoint(view.data, _WORD)

    return types.int64(array), generate


@intrinsic
def popcount(typing_context: Any, word: Any) -> Any:
    """``popcount(word) -> int64``: bits set in a uint64."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:
    """``lowest_bit(word) -> int64``: position of the lowest bit set in a uint64 that is not 0."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), True))

    return types.int64(types.uint64), generate


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """``wide_vectors()``: let the function that calls it use 512-bit registers, which LLVM avoids by itself."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic(prefer_literal=True)
def least_distance(typing_context: Any, base: Any, stride: Any, n: Any, query: Any, n_words: Any) -> Any:
    """``least_distance(base, stride, n, query, n_words) -> int64``: distance of the nearest of n codes to a query.

    ``base`` and ``query`` are addresses, ``n`` is a positive multiple of 64. Where ``n_words`` is a literal the words
    are unrolled. No distance is stored: minima stay in registers.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        base_, stride_, n_, query_ = arguments[:4]
        distances = _distances(builder, stride_, query_, n_words, arguments[4])
        minima = [cgutils.alloca_once_value(builder, _splat(builder, _WORD(2**62))) for _ in range(_N_VECTORS // 2)]
        with cgutils.for_range_slice(builder, _WORD(0), n_, _WORD(BLOCK), _WORD) as (first, _):
            for number, vector in enumerate(distances(builder.add(base_, builder.shl(first, _WORD(3))))):
                slot = minima[number % len(minima)]
                builder.store(_minimum(builder, builder.load(slot), vector), slot)
        least = builder.load(minima[0])
        for slot in minima[1:]:
            least = _minimum(builder, least, builder.load(slot))
        return _across(builder, least, partial(_minimum, builder))

    signature = types.int64(types.int64, types.int64, types.int64, types.int64, n_words)
    return signature, generate


@intrinsic(prefer_literal=True)
def any_nearer(typing_context: Any, base: Any, n: Any, query: Any, limit: Any, n_lines: Any) -> Any:
    """``any_nearer(base, n, query, limit, n_lines) -> bool``: whether one of n codes of one word is nearer.

    ``base`` is an address, ``query`` a code, ``n`` a positive multiple of 8 times the literal ``n_lines``: finer than
    ``least_distance``, for runs of a few codes to some hundreds.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        base_, n_, query_, limit_ = arguments[:4]
        word, lines = _splat(builder, query_), n_lines.literal_value
        minima = [cgutils.alloca_once_value(builder, _splat(builder, _WORD(2**62))) for _ in range(lines)]
        with cgutils.for_range_slice(builder, _WORD(0), n_, _WORD(lines * LANES), _WORD) as (first, _):
            line = builder.add(base_, builder.shl(first, _WORD(3)))
            for number, slot in enumerate(minima):
                builder.store(_minimum(builder, builder.load(slot), _compared(builder, line, number, word)), slot)
        least = builder.load(minima[0])
        for slot in minima[1:]:
            least = _minimum(builder, least, builder.load(slot))
        nearer = builder.bitcast(builder.icmp_unsigned("<", least, _splat(builder, limit_)), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", nearer, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(types.int64, types.int64, types.uint64, types.int64, n_lines), generate


@intrinsic(prefer_literal=True)
def nearer_mask(typing_context: Any, base: Any, stride: Any, query: Any, n_words: Any, limit: Any) -> Any:
    """``nearer_mask(base, stride, query, n_words, limit) -> uint64``: bit i is set where code i of 64 is nearer."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        base_, stride_, query_, n_words_, limit_ = arguments
        limits = _splat(builder, limit_)
        mask = _WORD(0)
        for number, vector in enumerate(_distances(builder, stride_, query_, n_words, n_words_)(base_)):
            bits = builder.bitcast(builder.icmp_unsigned("<", vector, limits), ir.IntType(LANES))
            mask = builder.or_(mask, builder.shl(builder.zext(bits, _WORD), _WORD(LANES * number)))
        return mask

    return types.uint64(types.int64, types.int64, types.int64, n_words, types.int64), generate


@intrinsic(prefer_literal=True)
def nearer_rows_mask(typing_context: Any, base: Any, query: Any, n_words: Any, limit: Any, n: Any) -> Any:
    """``nearer_rows_mask(base, query, n_words, limit, n) -> uint64``: as ``nearer_mask``, of codes that lie row by row.

    ``n_words`` is the literal 2 or 4, ``n`` the literal 8 or 64: how many codes are compared.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        base_, query_, _, limit_, _ = arguments
        width = n_words.literal_value
        pattern = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            word = _load(builder, query_, _WORD(lane % width), _WORD)
            pattern = builder.insert_element(pattern, word, ir.IntType(32)(lane))
        limits = _splat(builder, limit_)
        mask = _WORD(0)
        for number in range(n.literal_value // LANES):
            places = [_WORD(LANES * (number * width + part)) for part in range(width)]
            counts = [_popcounts(builder, _load(builder, base_, place, _VECTOR), pattern) for place in places]
            while len(counts) > 1:
                counts = [
                    _add_neighbours(builder, left, right) for left, right in zip(counts[::2], counts[1::2], strict=True)
                ]
            bits = builder.bitcast(builder.icmp_unsigned("<", counts[0], limits), ir.IntType(LANES))
            mask = builder.or_(mask, builder.shl(builder.zext(bits, _WORD), _WORD(LANES * number)))
        return mask

    return types.uint64(types.int64, types.int64, n_words, types.int64, n), generate


@intrinsic(prefer_literal=True)
def row_distance(typing_context: Any, code: Any, query: Any, n_words: Any) -> Any:
    """``row_distance(code, query, n_words) -> int64``: distance of two codes at two addresses, words side by side."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _allow_wide_vectors(builder)
        code_, query_, n_words_ = arguments
        total = cgutils.alloca_once_value(builder, _WORD(0))

        def add_word(word: Value) -> None:
            count = builder.ctpop(builder.xor(_load(builder, code_, word, _WORD), _load(builder, query_, word, _WORD)))
            builder.store(builder.add(builder.load(total), count), total)

        if isinstance(n_words, types.IntegerLiteral):
            for word in range(n_words.literal_value):
                add_word(_WORD(word))
            return builder.load(total)
        sums = cgutils.alloca_once_value(builder, _splat(builder, _WORD(0)))
        n_whole = builder.and_(n_words_, _WORD(-LANES))
        with cgutils.for_range_slice(builder, _WORD(0), n_whole, _WORD(LANES), _WORD) as (word, _):
            counts = _popcounts(builder, _load(builder, code_, word, _VECTOR), _load(builder, query_, word, _VECTOR))
            builder.store(builder.add(builder.load(sums), counts), sums)
        with cgutils.for_range_slice(builder, n_whole, n_words_, _WORD(1), _WORD) as (word, _):
            add_word(word)
        return builder.add(builder.load(total), _across(builder, builder.load(sums), builder.add))

    return types.int64(types.int64, types.int64, n_words), generate


def _distances(
    builder: Builder, stride: Value, query: Value, n_words: Any, n_words_value: Value
) -> Callable[[Value], list[Value]]:
    """Give a function that emits the distances of the 64 codes at an address, as eight vectors."""
    if isinstance(n_words, types.IntegerLiteral):
        words = [_load_word(builder, query, _WORD(word)) for word in range(n_words.literal_value)]

        def unrolled(base: Value) -> list[Value]:
            sums = [_compared(builder, base, number, words[0]) for number in range(_N_VECTORS)]
            for position, word in enumerate(words[1:], 1):
                line = builder.add(base, builder.mul(stride, _WORD(8 * position)))
                sums = [builder.add(total, _compared(builder, line, number, word)) for number, total in enumerate(sums)]
            return sums

        return unrolled

    def looped(base: Value) -> list[Value]:
        slots = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_N_VECTORS)]
        for slot in slots:
            builder.store(_splat(builder, _WORD(0)), slot)
        with cgutils.for_range(builder, n_words_value, intp=_WORD) as loop:
            word = _load_word(builder, query, loop.index)
            line = builder.add(base, builder.shl(builder.mul(stride, loop.index), _WORD(3)))
            for number, slot in enumerate(slots):
                builder.store(builder.add(builder.load(slot), _compared(builder, line, number, word)), slot)
        return [builder.load(slot) for slot in slots]

    return looped


def _compared(builder: Builder, line: Value, number: int, word: Value) -> Value:
    """Emit one XOR and popcount of the eight words at ``line + 64 * number``."""
    return _popcounts(builder, _load(builder, line, _WORD(LANES * number), _VECTOR), word)


def _add_neighbours(builder: Builder, left: Value, right: Value) -> Value:
    """Emit the sums of neighbouring lanes of two vectors, as one vector in their order."""
    kind = ir.VectorType(ir.IntType(32), LANES)
    even, odd = (ir.Constant(kind, list(range(first, 2 * LANES, 2))) for first in (0, 1))
    return builder.add(builder.shuffle_vector(left, right, even), builder.shuffle_vector(left, right, odd))


def _popcounts(builder: Builder, left: Value, right: Value) -> Value:
    count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), "llvm.ctpop.v8i64")
    return builder.call(count, [builder.xor(left, right)])


def _load(builder: Builder, base: Value, word: Value, kind: Any) -> Value:
    """Emit a load of one word or eight from ``base + 8 * word``, aligned as words are."""
    pointer = builder.inttoptr(builder.add(base, builder.shl(word, _WORD(3))), kind.as_pointer())
    value = builder.load(pointer)
    value.align = 8
    return value


def _load_word(builder: Builder, query: Value, position: Value) -> Value:
    return _splat(builder, _load(builder, query, position, _WORD))


def _splat(builder: Builder, value: Value) -> Value:
    if isinstance(value, ir.Constant):
        return ir.Constant(_VECTOR, [value.constant] * LANES)
    lane = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(lane, ir.Constant(_VECTOR, ir.Undefined), lanes)


def _minimum(builder: Builder, left: Value, right: Value) -> Value:
    return builder.select(builder.icmp_unsigned("<", left, right), left, right)


def _across(builder: Builder, vector: Value, combine: Callable[[Value, Value], Value]) -> Value:
    """Emit the combination of all lanes of a vector."""
    number = ir.IntType(32)
    for distance in (4, 2, 1):
        lanes = ir.Constant(ir.VectorType(number, LANES), [lane ^ distance for lane in range(LANES)])
        vector = combine(vector, builder.shuffle_vector(vector, vector, lanes))
    return builder.extract_element(vector, number(0))


def _allow_wide_vectors(builder: Builder) -> None:
    # llvmlite's set of attributes refuses names that it does not know; LLVM does know these, other targets ignore them.
    for attribute in ('"prefer-vector-width"="512"', '"min-legal-vector-width"="512"'):
        set.add(builder.function.attributes, attribute)
