// Products of small matrices that stay in cache, in the vectors of the machine that the file is compiled for: the left factor one value at
// a time, columns of the right factor a vector at a time. Buffers start as zeros and have rows of whole vectors, so that no column is left over.
#pragma once
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>
#include "common.h"

namespace lam {
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, REGISTERS = 16;
#endif

template <class T>
struct Lane {
  typedef T Vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  static constexpr int64_t COUNT = VECTOR_BYTES / sizeof(T);
  static int64_t padded(int64_t n) { return (n + COUNT - 1) / COUNT * COUNT; }
};

template <class T>
typename Lane<T>::Vec& vec(T* at) {
  return *reinterpret_cast<typename Lane<T>::Vec*>(at);
}
template <class T>
const typename Lane<T>::Vec& vec(const T* at) {
  return *reinterpret_cast<const typename Lane<T>::Vec*>(at);
}

template <class T>
struct Aligned {  // a vector that straddles two cache lines costs two loads
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const Aligned&) const { return true; }
};
template <class T>
using Buffer = std::vector<T, Aligned<T>>;

// R rows and B vectors of out = (out +) a b, summed in registers; a[r, k] is a[r * row + k * column].
template <class T, int R, int B>
inline __attribute__((always_inline)) void multiply_block(const T* a, int64_t row, int64_t column, const T* b, int64_t ldb, int64_t inner, T* out, int64_t ldo,
                                                         bool add) {
  using Vec = typename Lane<T>::Vec;
  constexpr int64_t L = Lane<T>::COUNT;
  Vec sum[R][B];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < B; ++v) sum[r][v] = add ? *reinterpret_cast<const Vec*>(out + r * ldo + v * L) : Vec{};
  for (int64_t k = 0; k < inner; ++k) {
    Vec right[B];
    for (int v = 0; v < B; ++v) right[v] = *reinterpret_cast<const Vec*>(b + k * ldb + v * L);
    for (int r = 0; r < R; ++r) {
      const T left = a[r * row + k * column];
      for (int v = 0; v < B; ++v) sum[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < B; ++v) *reinterpret_cast<Vec*>(out + r * ldo + v * L) = sum[r][v];
}

// The last rows, fewer than R.
template <class T, int R, int B>
inline __attribute__((always_inline)) void multiply_rest(const T* a, int64_t row, int64_t column, int64_t rows, const T* b, int64_t ldb, int64_t inner, T* out,
                                                        int64_t ldo, bool add) {
  if constexpr (R > 1) {
    if (rows == R - 1)
      multiply_block<T, R - 1, B>(a, row, column, b, ldb, inner, out, ldo, add);
    else
      multiply_rest<T, R - 1, B>(a, row, column, rows, b, ldb, inner, out, ldo, add);
  }
}

// All rows of B vectors; as many rows at a time as leave registers for the right factor.
template <class T, int B>
__attribute__((noinline)) void multiply_columns(const T* a, int64_t row, int64_t column, int64_t rows, const T* b, int64_t ldb, int64_t inner, T* out, int64_t ldo,
                                                bool add) {
  constexpr int R = REGISTERS == 16 ? (B == 1 ? 8 : 12 / B) : (B == 1 ? 8 : 24 / B);
  int64_t r = 0;
  for (; r + R <= rows; r += R) multiply_block<T, R, B>(a + r * row, row, column, b, ldb, inner, out + r * ldo, ldo, add);
  multiply_rest<T, R, B>(a + r * row, row, column, rows - r, b, ldb, inner, out + r * ldo, ldo, add);
}

// The left factor of a product: rows one after the other, or its transpose.
template <class T>
struct Left {
  const T* at;
  int64_t row, column;  // from one row or column to the next
};
template <class T>
Left<T> rows_of(const T* at, int64_t width) {
  return {at, width, 1};
}
template <class T>
Left<T> transpose_of(const T* at, int64_t width) {
  return {at, 1, width};
}

// out (rows, cols) = (out +) a (rows, inner) b (inner, cols), with `cols` whole vectors, the rows of b and out as long.
template <class T>
inline void multiply(Left<T> a, int64_t rows, int64_t inner, const T* b, int64_t cols, T* out, bool add = false) {
  constexpr int64_t L = Lane<T>::COUNT;
  constexpr int64_t most = REGISTERS == 16 ? 3 : 4;
  for (int64_t c = 0, left = cols / L; left > 0;) {
    const int64_t taken = left == most + 1 ? 2 : std::min(left, most);  // not one column alone
    const auto columns = taken == 4 ? multiply_columns<T, most> : taken == 3 ? multiply_columns<T, 3> : taken == 2 ? multiply_columns<T, 2> : multiply_columns<T, 1>;
    columns(a.at, a.row, a.column, rows, b + c, cols, inner, out + c, cols, add);
    c += taken * L, left -= taken;
  }
}

// A row of `width` values; a call of memcpy would cost more than such a row.
template <class T>
inline void copy_row(const T* from, int64_t width, T* to) {
  using Vec = typename Lane<T>::Vec;
  constexpr int64_t L = Lane<T>::COUNT;
  if (width < L) {
    for (int64_t k = 0; k < width; ++k) to[k] = from[k];
    return;
  }
  for (int64_t k = 0; k + L < width; k += L) *reinterpret_cast<Vec*>(to + k) = *reinterpret_cast<const Vec*>(from + k);
  *reinterpret_cast<Vec*>(to + width - L) = *reinterpret_cast<const Vec*>(from + width - L);
}

// How many of `count` values, `step` apart, come before the zeros at their end.
template <class T>
inline int64_t used(const T* values, int64_t count, int64_t step = 1) {
  while (count && values[(count - 1) * step] == 0) --count;
  return count;
}

// The first `width` values of rows that are `stride` apart, to where they are `step` apart.
template <class T>
inline void copy_rows(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t step) {
  for (int64_t r = 0; r < rows; ++r) copy_row(from + r * stride, width, to + r * step);
}

// The same to a matrix (all, step), with zeros in what is left of it.
template <class T>
inline void fill_rows(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t all, int64_t step) {
  for (int64_t r = 0; r < rows; ++r) {
    copy_row(from + r * stride, width, to + r * step);
    for (int64_t k = width; k < step; ++k) to[r * step + k] = 0;
  }
  std::fill(to + rows * step, to + all * step, T(0));
}

// to (rows, width) += rows of `cols` values, without their ends.
template <class T>
inline void add_unpadded(const T* from, int64_t rows, int64_t width, T* to, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < width; ++o) to[r * width + o] += from[r * cols + o];
}

// Swaps, in L rows of L values, the off-diagonal blocks of HALF values; done for all halves that is a transpose.
template <int HALF, class Vec, size_t... I>
inline __attribute__((always_inline)) void swap_blocks(Vec* rows, std::index_sequence<I...> lanes) {
  constexpr int L = sizeof...(I);
  if constexpr (HALF < L) {
    for (int r = 0; r < L; ++r)
      if (!(r & HALF)) {
        const Vec a = rows[r], b = rows[r + HALF];
        rows[r] = __builtin_shufflevector(a, b, (I & HALF ? int(I) + L - HALF : int(I))...);
        rows[r + HALF] = __builtin_shufflevector(a, b, (I & HALF ? int(I) + L : int(I) + HALF)...);
      }
    swap_blocks<2 * HALF>(rows, lanes);
  }
}

template <int HALF, class Vec, size_t... I>
inline __attribute__((always_inline)) Vec fold(Vec* rows, std::index_sequence<I...> lanes) {
  constexpr int L = sizeof...(I);
  if constexpr (HALF < L) {
    for (int r = 0; r < L; r += 2 * HALF) {
      const Vec a = rows[r], b = rows[r + HALF];
      rows[r] = __builtin_shufflevector(a, b, (I & HALF ? int(I) + L - HALF : int(I))...) + __builtin_shufflevector(a, b, (I & HALF ? int(I) + L : int(I) + HALF)...);
    }
    fold<2 * HALF>(rows, lanes);
  }
  return rows[0];
}

// The total of each of L rows of L values: pairs of rows become one whose values alternate between theirs, each the sum of two.
template <class Vec, size_t L>
inline __attribute__((always_inline)) Vec totals(const Vec (&given)[L]) {
  Vec rows[L];
  std::copy_n(given, L, rows);
  return fold<1>(rows, std::make_index_sequence<L>());
}

// L columns of (rows, stride) -> (L, rows), with rows of whole vectors.
template <class T>
inline void transpose_block(const T* from, int64_t rows, int64_t stride, T* to) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t r = 0; r < rows; r += L) {
    typename Lane<T>::Vec block[L];
    for (int64_t k = 0; k < L; ++k) block[k] = vec(from + (r + k) * stride);
    swap_blocks<1>(block, std::make_index_sequence<L>());
    for (int64_t k = 0; k < L; ++k) vec(to + k * rows + r) = block[k];
  }
}

// (rows, cols) -> (cols, rows), both of whole vectors.
template <class T>
__attribute__((noinline)) void transpose(const T* from, int64_t rows, int64_t cols, T* to) {
  for (int64_t c = 0; c < cols; c += Lane<T>::COUNT) transpose_block(from + c, rows, cols, to + c * rows);
}
}  // namespace lam
