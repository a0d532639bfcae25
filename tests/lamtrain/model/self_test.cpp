// The compiled operators against plain loops and differences, for processors on which no Python with torch runs here: exits with 1, and says
// what is wrong, where they disagree. test_other_processors.py compiles and runs it.
#include <cstdio>
#include <cstdlib>
#include <random>
#include "../../../lamtrain/model/kernels/cpp/operators.h"

using namespace lam;
static std::mt19937 generator(7);
static int wrong = 0;

template <class T>
Buffer<T> random_values(int64_t count, double scale = 1) {
  std::normal_distribution<double> normal(0, scale);
  Buffer<T> values(count);
  for (T& value : values) value = T(normal(generator));
  return values;
}

template <class T>
double tolerance() {
  return sizeof(T) == 8 ? 1e-12 : 1e-4;
}

void expect(bool right, const char* what, double got, double expected) {
  if (right) return;
  std::printf("%s: %.17g, expected %.17g\n", what, got, expected);
  ++wrong;
}

template <class T>
void near(const char* what, double got, double expected, double allowed = tolerance<T>()) {
  expect(std::abs(got - expected) <= allowed * (1 + std::abs(expected)), what, got, expected);
}

template <class T>
void products() {
  for (int64_t rows : {1, 2, 5, 6, 7, 13, 24, 31})
    for (int64_t inner : {1, 3, 25})
      for (int64_t vectors : {1, 2, 3, 4, 5, 7, 8}) {
        const int64_t cols = vectors * Lane<T>::COUNT;
        const Buffer<T> a = random_values<T>(rows * inner), b = random_values<T>(inner * cols), before = random_values<T>(rows * cols);
        for (bool add : {false, true})
          for (bool turned : {false, true}) {
            Buffer<T> out = before;
            multiply(turned ? transpose_of(a.data(), rows) : rows_of(a.data(), inner), rows, inner, b.data(), cols, out.data(), add);
            for (int64_t r = 0; r < rows; ++r)
              for (int64_t c = 0; c < cols; ++c) {
                double sum = add ? before[r * cols + c] : 0;
                for (int64_t k = 0; k < inner; ++k) sum += double(a[turned ? k * rows + r : r * inner + k]) * b[k * cols + c];
                near<T>("product", out[r * cols + c], sum);
              }
          }
      }
}

template <class T>
void elementary() {
  for (double x = -20; x <= 20; x += 0.037) {
    T value = T(x), negative = T(-std::abs(x));
    tanh_all(&value, 1), exp_all(&negative, 1);
    near<T>("tanh", value, std::tanh(double(T(x))), sizeof(T) == 8 ? 1e-15 : 3e-7);
    near<T>("exp", negative, std::exp(double(T(-std::abs(x)))), sizeof(T) == 8 ? 1e-15 : 3e-7);
  }
  const int64_t rows = 3 * Lane<T>::COUNT, cols = 2 * Lane<T>::COUNT;
  const Buffer<T> from = random_values<T>(rows * cols);
  Buffer<T> to(rows * cols);
  transpose(from.data(), rows, cols, to.data());
  for (int64_t k = 0; k < rows * cols; ++k) near<T>("transpose", to[k % cols * rows + k / cols], from[k], 0);
}

// Calls the operator of that name.
template <class T>
void call(const char* name, std::vector<const void*> arrays, std::vector<int64_t> sizes, std::vector<double> numbers, int threads) {
  for (const Operator& one : OPERATORS)
    if (std::string(one.name) == name) {
      (sizeof(T) == 8 ? one.whole : one.single)({const_cast<void* const*>(arrays.data()), sizes.data(), numbers.data(), int64_t(arrays.size()),
                                                 int64_t(sizes.size()), int64_t(numbers.size()), threads});
      return;
    }
  expect(false, name, 0, 1);
}

template <class T>
double dot(const Buffer<T>& a, const Buffer<T>& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += double(a[k]) * b[k];
  return sum;
}

// <first(x; g), dx> against the difference of <value(x), g> along dx, and value against a plain loop.
template <class T>
void pair_updates(int threads) {
  const int64_t rows = 77, K = 13, kept = rows * Lane<T>::padded(K);
  const Buffer<T> x = random_values<T>(rows * K), W = random_values<T>(K * K, 0.3), b = random_values<T>(K), r = random_values<T>(K), z = random_values<T>(rows * K),
                  w = random_values<T>(K), c = random_values<T>(K), g = random_values<T>(rows * K), dx = random_values<T>(rows * K), dz = random_values<T>(rows * K);
  const auto value = [&](double h) {
    Buffer<T> moved = x, turned = z, y(kept), out(rows * K);
    for (int64_t k = 0; k < rows * K; ++k) moved[k] += T(h) * dx[k], turned[k] += T(h) * dz[k];
    call<T>("pair_update_value", {moved.data(), W.data(), b.data(), r.data(), turned.data(), w.data(), c.data(), y.data(), out.data()}, {rows, K}, {1e-3}, threads);
    return std::pair(y, out);
  };
  const auto [y, out] = value(0);
  double linear = b[2], mean = 0, square = 0;
  for (int64_t k = 0; k < K; ++k) linear += double(x[5 * K + k]) * W[k * K + 2], mean += z[5 * K + k] / double(K);
  for (int64_t k = 0; k < K; ++k) square += (z[5 * K + k] - mean) * (z[5 * K + k] - mean) / K;
  near<T>("pair update", out[5 * K + 2], x[5 * K + 2] + r[2] * std::tanh(linear) + w[2] * (z[5 * K + 2] - mean) / std::sqrt(square + 1e-3) + c[2]);
  Buffer<T> gx(rows * K), gz(rows * K);
  call<T>("pair_update_first",
          {x.data(), W.data(), b.data(), r.data(), z.data(), w.data(), c.data(), y.data(), g.data(), gx.data(), gz.data(), nullptr, nullptr, nullptr, nullptr, nullptr},
          {rows, K}, {1e-3}, threads);
  const double h = sizeof(T) == 8 ? 1e-5 : 1e-2, slope = (dot(value(h).second, g) - dot(value(-h).second, g)) / (2 * h);
  near<T>("slope of the pair update", dot(gx, dx) + dot(gz, dz), slope, sizeof(T) == 8 ? 1e-7 : 2e-2);
}

// The moment of a few atoms against plain loops over its net, and its slope against a difference.
template <class T>
void moments(int threads) {
  const int64_t N = 9, W = 7, table = 4, widths[3] = {5, 10, 20}, m = widths[2];
  const Buffer<T> R = random_values<T>(N * W * 4), tables = random_values<T>(table * 5), first = random_values<T>(5), W1 = random_values<T>(50, 0.3), b1 = random_values<T>(10),
                  W2 = random_values<T>(200, 0.3), b2 = random_values<T>(20), c = random_values<T>(N * 4 * m), dR = random_values<T>(N * W * 4);
  std::vector<int64_t> row(N * W), slot(N * W), ends(N), rows(N * W);
  for (int64_t k = 0; k < N * W; ++k) row[k] = k * 7 % table;
  const std::vector<int64_t> sizes{N, N * W, W, table, 3, widths[0], widths[1], widths[2], 0};
  const auto value = [&](double h) {
    Buffer<T> moved = R, flat(N * W * 4), y(N * W * Lane<T>::padded(m)), M(N * 4 * m);
    for (size_t k = 0; k < moved.size(); ++k) moved[k] += T(h) * dR[k];
    call<T>("moment_edges", {moved.data(), row.data(), nullptr, slot.data(), ends.data(), flat.data(), rows.data(), nullptr}, {N, W}, {}, threads);
    call<T>("moment_value",
            {slot.data(), ends.data(), flat.data(), rows.data(), nullptr, tables.data(), first.data(), W1.data(), b1.data(), W2.data(), b2.data(), nullptr, y.data(), M.data()}, sizes, {}, threads);
    return std::pair(M, y);
  };
  auto [M, y] = value(0);
  double expected = 0;  // M[0, 2, 3]
  for (int64_t j = 0; j < W; ++j) {
    double h1[5], h2[10], out = b2[3];
    for (int64_t o = 0; o < 5; ++o) h1[o] = std::tanh(double(R[4 * j]) * first[o] + tables[row[j] * 5 + o]);
    for (int64_t o = 0; o < 10; ++o) {
      h2[o] = b1[o];
      for (int64_t i = 0; i < 5; ++i) h2[o] += h1[i] * W1[i * 10 + o];
      h2[o] = std::tanh(h2[o]) + h1[o % 5];
    }
    for (int64_t i = 0; i < 10; ++i) out += h2[i] * W2[i * 20 + 3];
    expected += R[4 * j + 2] * (std::tanh(out) + h2[3]);
  }
  near<T>("moment", M[2 * m + 3], expected);
  Buffer<T> flat = R, gR(N * W * 4);
  call<T>("moment_slope",
          {slot.data(), ends.data(), flat.data(), rows.data(), nullptr, tables.data(), first.data(), W1.data(), b1.data(), W2.data(), b2.data(), nullptr, y.data(), c.data(),
           gR.data(), nullptr}, sizes, {}, threads);
  const double h = sizeof(T) == 8 ? 1e-5 : 1e-2, slope = (dot(value(h).first, c) - dot(value(-h).first, c)) / (2 * h);
  near<T>("slope of the moment", dot(gR, dR), slope, sizeof(T) == 8 ? 1e-7 : 2e-2);
}

template <class T>
void all() {
  products<T>(), elementary<T>();
  for (int threads : {1, 3}) pair_updates<T>(threads), moments<T>(threads);
}

int main() {
  all<float>(), all<double>();
  std::printf("vectors of %d bytes, %d registers: %d wrong\n", VECTOR_BYTES, REGISTERS, wrong);
  return wrong ? 1 : 0;
}
