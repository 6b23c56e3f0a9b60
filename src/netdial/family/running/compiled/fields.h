// Fields, penalties and their way back to the pivots; the formulas are in family/blend.py and family/fields.py.

#pragma once

#include <algorithm>
#include <cmath>

#include "elementary.h"
#include "step.h"

namespace netdial {

constexpr int64_t kBlock = 1024;  // numbers of a field that are worked on while they are in the fastest cache

// Makes means and variances of all members, and their penalties.
template <class T> void Step<T>::fields(const T* means, const T* log_stds, double* penalties) {
  for (int64_t k = 0; k < members; ++k) penalties[k] = 0;
  for (const Leaf& leaf : leaves)
    for (int64_t from = 0; from < leaf.size; from += kBlock) {
      const int64_t count = std::min(kBlock, leaf.size - from);
      for (int64_t k = 0; k < members; ++k) {
        const auto [pivot, left, right] = places[k];
        const int64_t start = pivot * numbers + leaf.start + from;
        const T *a = means + start, *b = a + numbers;
        T* m = at(mean, leaf.start) + k * leaf.size + from;
        T sum = 0;
        if (!random) {
          if (penalty == kL1)
            for (int64_t i = 0; i < count; ++i) sum += std::abs(m[i] = left * a[i] + right * b[i]);
          else if (penalty == kLogSum)
            for (int64_t i = 0; i < count; ++i) {
              m[i] = left * a[i] + right * b[i];
              sum += log1p_of(std::abs(m[i]) / prior[k]);
            }
          else
            for (int64_t i = 0; i < count; ++i) {
              m[i] = left * a[i] + right * b[i];
              sum += m[i] * m[i];
            }
        } else {
          const T *s = log_stds + start, *t = s + numbers;
          T* v = at(var, leaf.start) + k * leaf.size + from;
          T entropy = 0;
          for (int64_t i = 0; i < count; ++i) {
            const T log_std = left * s[i] + right * t[i];
            m[i] = left * a[i] + right * b[i];
            v[i] = exp2_of(log_std * T(2 / kLn2));
            entropy += log_std;
          }
          if (penalty == kArd) {
            for (int64_t i = 0; i < count; ++i) sum += log1p_of(m[i] * m[i] / v[i]);
            sum /= 2;
          } else {
            for (int64_t i = 0; i < count; ++i) sum += m[i] * m[i] + v[i];
            sum = T(0.5) * sum / prior[k] - entropy;
          }
        }
        penalties[k] += sum;
      }
    }
  for (int64_t k = 0; k < members; ++k) {
    if (penalty == kKl) penalties[k] += 0.5 * numbers * (std::log(double(prior[k])) - 1);
    penalties[k] *= factor[k];
  }
}

// One member's gradients of means m and variances v, g and h, to its two pivots; pointers that are promised not to overlap.
template <class T>
void spread_kl(int64_t count, const T* __restrict m, const T* __restrict v, const T* __restrict g,
               const T* __restrict h, T left, T right, T by, T each, T* __restrict a,
               T* __restrict b, T* __restrict s, T* __restrict t) {
  for (int64_t i = 0; i < count; ++i) {
    const T of_mean = g[i] + each * m[i], of_log_std = (2 * h[i] + each) * v[i] - by;
    a[i] += left * of_mean;
    b[i] += right * of_mean;
    s[i] += left * of_log_std;
    t[i] += right * of_log_std;
  }
}

template <class T>
void spread_ard(int64_t count, const T* __restrict m, const T* __restrict v, const T* __restrict g,
                const T* __restrict h, T left, T right, T by, T* __restrict a, T* __restrict b,
                T* __restrict s, T* __restrict t) {
  for (int64_t i = 0; i < count; ++i) {
    const T share = by * m[i] / (v[i] + m[i] * m[i]);
    const T of_mean = g[i] + share, of_log_std = 2 * h[i] * v[i] - share * m[i];
    a[i] += left * of_mean;
    b[i] += right * of_mean;
    s[i] += left * of_log_std;
    t[i] += right * of_log_std;
  }
}

// Adds the penalty's gradients to those of the leaves and spreads them over the pivots.
template <class T>
void Step<T>::spread(T* grad_means, T* grad_log_stds, bool add) {
  for (const Leaf& leaf : leaves)
    for (int64_t from = 0; from < leaf.size; from += kBlock) {
      const int64_t count = std::min(kBlock, leaf.size - from);
      if (!add)
        for (int64_t j = 0; j < pivots; ++j) {
          const int64_t start = j * numbers + leaf.start + from;
          std::fill_n(grad_means + start, count, T(0));
          if (random) std::fill_n(grad_log_stds + start, count, T(0));
        }
      for (int64_t k = 0; k < members; ++k) {
        const T left = places[k].left, right = places[k].right, by = pull[k] * factor[k];
        const int64_t start = places[k].pivot * numbers + leaf.start + from;
        const int64_t here = k * leaf.size + from;
        const T* m = at(mean, leaf.start) + here;
        const T* g = at(grad_mean, leaf.start) + here;
        T *a = grad_means + start, *b = a + numbers;
        if (!random) {
          const T scale = prior[k];
          for (int64_t i = 0; i < count; ++i) {
            const T sign = m[i] > 0 ? by : (m[i] < 0 ? -by : T(0));
            const T share = penalty == kL1     ? sign
                            : penalty == kL2   ? 2 * by * m[i]
                                               : sign / (scale + std::abs(m[i]));
            const T of_mean = g[i] + share;
            a[i] += left * of_mean;
            b[i] += right * of_mean;
          }
          continue;
        }
        const T *v = at(var, leaf.start) + here, *h = at(grad_var, leaf.start) + here;
        T *s = grad_log_stds + start, *t = s + numbers;
        if (penalty == kArd)
          spread_ard(count, m, v, g, h, left, right, by, a, b, s, t);
        else
          spread_kl(count, m, v, g, h, left, right, by, by / prior[k], a, b, s, t);
      }
    }
}

}  // namespace netdial
