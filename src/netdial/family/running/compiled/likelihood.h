// Negative log-likelihoods and their gradients.

#pragma once

#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "elementary.h"
#include "step.h"

namespace netdial {

constexpr double kHalfLog2Pi = 0.918938533204672741780;

// Returns the gradient of the outputs [K, C, b] under the log loss of classes, and the mean loss of each member.
template <class T> Tensor Step<T>::categorical(const Tensor& y, const T* weight, double* fits) const {
  const Tensor& outputs = outs.back();
  const int64_t classes = outputs.size(1), b = examples;
  Tensor grad = at::empty_like(outputs);
  const int64_t* targets = y.data_ptr<int64_t>();
  std::vector<T> most(b), sum(b), scale(b);
  for (int64_t k = 0; k < members; ++k) {
    const T* z = outputs.data_ptr<T>() + k * classes * b;
    T* g = grad.data_ptr<T>() + k * classes * b;
    const int64_t first = k * blocks / members * b;
    std::copy(z, z + b, most.begin());
    for (int64_t o = 1; o < classes; ++o)
      for (int64_t i = 0; i < b; ++i) most[i] = z[o * b + i] > most[i] ? z[o * b + i] : most[i];
    std::fill(sum.begin(), sum.end(), T(0));
    for (int64_t o = 0; o < classes; ++o)
      for (int64_t i = 0; i < b; ++i) sum[i] += g[o * b + i] = exp_of(z[o * b + i] - most[i]);
    double fit = 0;
    for (int64_t i = 0; i < b; ++i) {
      const int64_t target = targets[first + i];
      TORCH_CHECK_INDEX(target >= 0 && target < classes, "target ", target, " is none of ", classes, " classes");
      const T each = weight ? weight[first + i] : T(1);
      fit += each * (std::log(sum[i]) - (z[target * b + i] - most[i]));
      most[i] = each * fit_scale[k];
      scale[i] = most[i] / sum[i];
    }
    for (int64_t o = 0; o < classes; ++o)
      for (int64_t i = 0; i < b; ++i) g[o * b + i] *= scale[i];
    for (int64_t i = 0; i < b; ++i) g[targets[first + i] * b + i] -= most[i];
    fits[k] = fit / b;
  }
  return grad;
}

// The same of normal laws of given variances [T] around the outputs.
template <class T>
Tensor Step<T>::gaussian(const Tensor& y, const T* weight, const T* var_, double* fits) const {
  const Tensor& outputs = outs.back();
  const int64_t width = outputs.size(1), b = examples;
  Tensor grad = at::empty_like(outputs);
  const T* targets = y.data_ptr<T>();
  for (int64_t k = 0; k < members; ++k) {
    const int64_t first = k * blocks / members * b;
    double fit = 0;
    for (int64_t o = 0; o < width; ++o) {
      const T* z = outputs.data_ptr<T>() + (k * width + o) * b;
      T* g = grad.data_ptr<T>() + (k * width + o) * b;
      const double constant = kHalfLog2Pi + 0.5 * std::log(double(var_[o]));
      for (int64_t i = 0; i < b; ++i) {
        const T each = weight ? weight[first + i] : T(1);
        const T error = z[i] - targets[(first + i) * width + o], scaled = error / var_[o];
        fit += each * (0.5 * error * scaled + constant);
        g[i] = each * fit_scale[k] * scaled;
      }
    }
    fits[k] = fit / b;
  }
  return grad;
}

}  // namespace netdial
