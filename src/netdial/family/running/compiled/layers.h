// The layers with local reparametrisation, there and back, as in family/running/chain.py.

#pragma once

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>

#include <cmath>
#include <vector>

#include "elementary.h"
#include "step.h"

namespace netdial {

constexpr double kTiny = 1e-20;  // keeps the root of a variance differentiable; family.running.local._TINY

// Adds biases and noise to a layer's products and applies the function that follows; leaves squares for the next layer, and
// the derivative of the noise by the variance for the way back.
template <class T> void Step<T>::pointwise(size_t place, const T* noise) {
  const Link& link = links[place];
  const int64_t width = link.outputs, b = examples;
  const bool more = place + 1 < links.size();
  const T* bias = link.bias < 0 ? nullptr : at(mean, link.bias);
  const T* bias_var = !random || link.bias < 0 ? nullptr : at(var, link.bias);
  T* outputs = outs[place].template data_ptr<T>();
  T* slope = random ? slopes[place].template data_ptr<T>() : nullptr;
  T* square = random && more ? squares[place + 1].template data_ptr<T>() : nullptr;
  std::vector<T> across(random ? width * b : 0);
  for (int64_t k = 0; k < members; ++k) {
    if (random)
      for (int64_t i = 0; i < b; ++i)
        for (int64_t o = 0; o < width; ++o) across[o * b + i] = noise[(k * b + i) * width + o];
    for (int64_t o = 0; o < width; ++o) {
      const int64_t row = k * width + o;
      T* z = outputs + row * b;
      if (bias)
        for (int64_t i = 0; i < b; ++i) z[i] += bias[row];
      if (random) {
        T* s = slope + row * b;
        const T *e = across.data() + o * b, more_var = (bias_var ? bias_var[row] : T(0)) + T(kTiny);
        for (int64_t i = 0; i < b; ++i) {
          const T std = std::sqrt(s[i] + more_var);
          z[i] += std * e[i];
          s[i] = T(0.5) * e[i] / std;
        }
      }
      if (link.after == kRelu)
        for (int64_t i = 0; i < b; ++i) z[i] = z[i] < 0 ? T(0) : z[i];
      else if (link.after == kTanh)
        for (int64_t i = 0; i < b; ++i) z[i] = 1 - 2 / (1 + exp_of(2 * z[i]));
      else if (link.after == kSigmoid)
        for (int64_t i = 0; i < b; ++i) z[i] = 1 / (1 + exp_of(-z[i]));
      if (square)
        for (int64_t i = 0; i < b; ++i) square[row * b + i] = z[i] * z[i];
    }
  }
}

// Runs the layers; x is [n, b, i].
template <class T> void Step<T>::forward(const Tensor& x, const std::vector<Tensor>& noise) {
  insides.push_back(x.transpose(1, 2));
  squares.push_back(random ? at::mul(x, x).transpose(1, 2) : Tensor());
  for (size_t place = 0; place < links.size(); ++place) {
    const Link& link = links[place];
    const int64_t count = insides[place].size(0);
    Tensor out = at::empty({members, link.outputs, examples}, x.options());
    Tensor over = stacked(out, count);
    at::bmm_out(over, stacked(weights(mean, link), count), insides[place]);
    outs.push_back(out);
    if (random) {
      slopes.push_back(at::empty_like(out));
      Tensor variance = stacked(slopes.back(), count);
      at::bmm_out(variance, stacked(weights(var, link), count), squares[place]);
      squares.push_back(at::empty_like(out));
    }
    pointwise(place, random ? noise[place].template data_ptr<T>() : nullptr);
    insides.push_back(out);
  }
}

// Goes back from the gradient of the outputs to those of all leaves.
template <class T> void Step<T>::backward(Tensor grad) {
  const int64_t b = examples;
  for (size_t place = links.size(); place-- > 0;) {
    const Link& link = links[place];
    T* g = grad.data_ptr<T>();
    const T* out = outs[place].template data_ptr<T>();
    const int64_t rows = members * link.outputs;
    T* s = random ? slopes[place].template data_ptr<T>() : nullptr;
    T* of_bias = link.bias < 0 ? nullptr : at(grad_mean, link.bias);
    T* of_bias_var = !random || link.bias < 0 ? nullptr : at(grad_var, link.bias);
    for (int64_t row = 0; row < rows; ++row, g += b, out += b) {
      if (link.after == kRelu)
        for (int64_t i = 0; i < b; ++i) g[i] = out[i] > 0 ? g[i] : T(0);
      else if (link.after == kTanh)
        for (int64_t i = 0; i < b; ++i) g[i] *= 1 - out[i] * out[i];
      else if (link.after == kSigmoid)
        for (int64_t i = 0; i < b; ++i) g[i] *= out[i] * (1 - out[i]);
      T sum = 0, sum_var = 0;
      for (int64_t i = 0; i < b; ++i) sum += g[i];
      if (of_bias) of_bias[row] = sum;
      if (s) {
        for (int64_t i = 0; i < b; ++i) sum_var += s[i] *= g[i];
        s += b;
        if (of_bias_var) of_bias_var[row] = sum_var;
      }
    }
    const int64_t count = insides[place].size(0);
    Tensor of_weights = stacked(weights(grad_mean, link), count);
    at::bmm_out(of_weights, stacked(grad, count), insides[place].transpose(1, 2));
    if (random) {
      Tensor of_vars = stacked(weights(grad_var, link), count);
      at::bmm_out(of_vars, stacked(slopes[place], count), squares[place].transpose(1, 2));
    }
    if (place == 0) return;
    Tensor before = at::bmm(weights(mean, link).transpose(1, 2), grad);
    if (random) {
      const Tensor side = at::bmm(weights(var, link).transpose(1, 2), slopes[place]);
      const T *d = side.data_ptr<T>(), *inside = insides[place].template data_ptr<T>();
      T* into = before.data_ptr<T>();
      const int64_t size = before.numel();
      for (int64_t i = 0; i < size; ++i) into[i] += 2 * d[i] * inside[i];
    }
    grad = before;
  }
}

}  // namespace netdial
