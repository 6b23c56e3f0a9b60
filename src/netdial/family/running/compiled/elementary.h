// Elementary functions that a compiler can turn into vector instructions, which calls of the C library prevent.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace netdial {

constexpr double kLn2 = 0.693147180559945309417;

template <class T> struct Bits;
template <> struct Bits<float> {
  using Int = int32_t;
  static constexpr int kMantissa = 23, kBias = 127, kTerms = 7, kLogTerms = 5;
};
template <> struct Bits<double> {
  using Int = int64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kTerms = 13, kLogTerms = 11;
};

template <class To, class From> inline To as_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// 2^x: by the exponent's bits and the Taylor series of 2^f, |f| <= 1/2.
template <class T> inline T exp2_of(T x) {
  using B = Bits<T>;
  using I = typename B::Int;
  const T most = B::kBias, least = 1 - B::kBias;
  const T inside = x > most ? most : (x < least ? least : x);
  const T whole = std::rint(inside), rest = (inside - whole) * T(kLn2);
  T series = 1;
  for (int i = B::kTerms; i > 0; --i) series = 1 + series * rest * T(1.0 / i);
  const I power = static_cast<I>(static_cast<I>(whole) + B::kBias) << B::kMantissa;
  return x > most ? std::numeric_limits<T>::infinity() : series * as_bits<T>(power);
}

template <class T> inline T exp_of(T x) { return exp2_of(x * T(1 / kLn2)); }

// log(1 + x) of x >= 0: by the exponent's bits and the series of log m = 2 artanh((m - 1) / (m + 1)).
template <class T> inline T log1p_of(T x) {
  using B = Bits<T>;
  using I = typename B::Int;
  const T one = T(1) + x;
  const I half = as_bits<I>(T(0.70710678118654752440));
  const I raised = as_bits<I>(one) - half;
  const I exponent = raised >> B::kMantissa;
  const T mantissa = as_bits<T>(static_cast<I>((raised & ((I(1) << B::kMantissa) - 1)) + half));
  const T over = exponent == 0 ? x : mantissa - T(1);
  const T y = over / (over + T(2)), square = y * y;
  T series = T(1.0 / (2 * B::kLogTerms + 1));
  for (int i = B::kLogTerms - 1; i >= 0; --i) series = series * square + T(1.0 / (2 * i + 1));
  const T found = T(2) * y * series + static_cast<T>(exponent) * T(kLn2);
  return x <= std::numeric_limits<T>::max() ? found : x;
}

}  // namespace netdial
