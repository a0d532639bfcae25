// Products of small matrices that stay in L1, in vectors of 64 bytes: rows of the left factor one value at a time, columns of
// the right factor a vector at a time. Buffers start as zeros and have rows of whole vectors, so that
// no loop has a remainder.
#pragma once
#include <cstring>
#include <new>
#include "common.h"

namespace lam {
template <class T>
struct Lane {
  typedef T Vec __attribute__((vector_size(64), aligned(sizeof(T)), may_alias));
  static constexpr int64_t COUNT = 64 / sizeof(T);
  static int64_t padded(int64_t n) { return (n + COUNT - 1) / COUNT * COUNT; }
};

template <class T>
struct Aligned {  // a vector that straddles two cache lines costs two loads
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const Aligned&) const { return true; }
};
template <class T>
using Buffer = std::vector<T, Aligned<T>>;

// R rows and B vectors of out = (out +) a b; the sums stay in registers.
template <class T, int R, int B>
inline void multiply_block(const T* a, int64_t lda, const T* b, int64_t ldb, int64_t inner, T* out, int64_t ldo, bool add) {
  using Vec = typename Lane<T>::Vec;
  constexpr int64_t L = Lane<T>::COUNT;
  Vec sum[R][B];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < B; ++v) sum[r][v] = add ? *reinterpret_cast<const Vec*>(out + r * ldo + v * L) : Vec{};
  for (int64_t k = 0; k < inner; ++k) {
    Vec right[B];
    for (int v = 0; v < B; ++v) right[v] = *reinterpret_cast<const Vec*>(b + k * ldb + v * L);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < B; ++v) sum[r][v] += a[r * lda + k] * right[v];
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < B; ++v) *reinterpret_cast<Vec*>(out + r * ldo + v * L) = sum[r][v];
}

// out (rows, cols) = (out +) a (rows, inner) b (inner, cols), with `cols` whole vectors.
template <class T>
inline void multiply(const T* a, int64_t lda, int64_t rows, const T* b, int64_t ldb, int64_t inner, T* out, int64_t cols, bool add = false) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t c = 0; c < cols; c += 2 * L) {
    const bool two = c + L < cols;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
      if (two)
        multiply_block<T, 4, 2>(a + r * lda, lda, b + c, ldb, inner, out + r * cols + c, cols, add);
      else
        multiply_block<T, 4, 1>(a + r * lda, lda, b + c, ldb, inner, out + r * cols + c, cols, add);
    for (; r < rows; ++r)
      if (two)
        multiply_block<T, 1, 2>(a + r * lda, lda, b + c, ldb, inner, out + r * cols + c, cols, add);
      else
        multiply_block<T, 1, 1>(a + r * lda, lda, b + c, ldb, inner, out + r * cols + c, cols, add);
  }
}

// B vectors of four rows of out += s^T q.
template <class T, int B>
inline void multiply_transposed_block(const T* s, int64_t lds, int64_t rows, const T* q, int64_t cols, T* out) {
  using Vec = typename Lane<T>::Vec;
  constexpr int64_t L = Lane<T>::COUNT;
  Vec sum[4][B];
  for (int j = 0; j < 4; ++j)
    for (int v = 0; v < B; ++v) sum[j][v] = *reinterpret_cast<const Vec*>(out + j * cols + v * L);
  for (int64_t r = 0; r < rows; ++r)
    for (int v = 0; v < B; ++v) {
      const Vec right = *reinterpret_cast<const Vec*>(q + r * cols + v * L);
      for (int j = 0; j < 4; ++j) sum[j][v] += s[r * lds + j] * right;
    }
  for (int j = 0; j < 4; ++j)
    for (int v = 0; v < B; ++v) *reinterpret_cast<Vec*>(out + j * cols + v * L) = sum[j][v];
}

// out (lds, cols) += s^T (lds, rows) q (rows, cols), with `lds` and `cols` whole vectors; rows of out from `count` on may be left out.
template <class T>
inline void multiply_transposed(const T* s, int64_t lds, int64_t rows, const T* q, int64_t cols, int64_t count, T* out) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t j = 0; j < count; j += 4)
    for (int64_t c = 0; c < cols; c += 2 * L)
      if (c + L < cols)
        multiply_transposed_block<T, 2>(s + j, lds, rows, q + c, cols, out + j * cols + c);
      else
        multiply_transposed_block<T, 1>(s + j, lds, rows, q + c, cols, out + j * cols + c);
}

// Rows of `width` values into rows of `cols`, whose ends stay as they are; and back.
template <class T>
inline void pad_rows(const T* from, int64_t rows, int64_t width, T* to, int64_t cols) {
  if (width == cols)
    std::memcpy(to, from, rows * width * sizeof(T));
  else
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * cols, from + r * width, width * sizeof(T));
}
template <class T>
inline void unpad_rows(const T* from, int64_t rows, int64_t width, T* to, int64_t cols) {
  if (width == cols)
    std::memcpy(to, from, rows * width * sizeof(T));
  else
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * width, from + r * cols, width * sizeof(T));
}

// (rows, width) -> (width, cols), whose ends stay as they are.
template <class T>
inline void transpose_rows(const T* from, int64_t rows, int64_t width, T* to, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < width; ++k) to[k * cols + r] = from[r * width + k];
}
}  // namespace lam
