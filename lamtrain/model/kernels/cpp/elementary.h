// exp of a number that is not positive, and tanh, as plain arithmetic, so that a loop over them becomes vector instructions
// on any machine. Both are right to one unit in the last place of 1 (tanh absolutely, not relatively, near 0).
#pragma once
#include <bit>
#include <cstdint>

namespace lam {
// x = n ln 2 + r with |r| <= ln 2 / 2; a Taylor polynomial in r; n goes into the exponent bits.
inline double exp_negative(double x) {
  x = x < -700.0 ? -700.0 : x;
  const double n = __builtin_rint(x * 1.4426950408889634);
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800;
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const double shifted = n + 6755399441055744.0;  // 1.5 * 2^52: n is now the low bits
  return std::bit_cast<double>(std::bit_cast<uint64_t>(p) + (std::bit_cast<uint64_t>(shifted) << 52));
}

inline float exp_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float n = __builtin_rintf(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((int32_t(n) + 127) << 23);
}

template <class T>
inline T tanh_of(T x) {
  const T e = exp_negative(T(-2) * (x < 0 ? -x : x)), t = (T(1) - e) / (T(1) + e);
  return x < 0 ? -t : t;
}

// In place, and not inlined: within a larger loop the compiler gives up on the vector form.
template <class T>
__attribute__((noinline)) void exp_all(T* x, int64_t count) {
#pragma omp simd
  for (int64_t k = 0; k < count; ++k) x[k] = exp_negative(x[k]);
}

template <class T>
__attribute__((noinline)) void tanh_all(T* x, int64_t count) {
#pragma omp simd
  for (int64_t k = 0; k < count; ++k) x[k] = tanh_of(x[k]);
}
}  // namespace lam
