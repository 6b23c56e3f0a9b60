// What a step works on. Members are blends of two neighbouring pivots each.
//
// Shapes: K members; n blocks of b examples, each shared by K / n neighbouring members; J pivots; P numbers of a member.
// Inside, examples come last, [K, width, b]. Numbers of one leaf lie together for all members: leaf after leaf [K, size].

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace netdial {

using at::Tensor;

// In the order of netdial.family.running.compiled.step.
enum After : int64_t { kNothing, kRelu, kTanh, kSigmoid };
enum Penalty : int64_t { kL1, kL2, kKl, kArd, kLogSum };
enum Likelihood : int64_t { kCategorical, kGaussian };

// A linear layer: its shape, where its leaves begin among the P numbers (a bias of -1 is none), and what follows it.
struct Link {
  int64_t outputs, inputs, weight, bias, after;
  int64_t weights() const { return outputs * inputs; }
};

struct Leaf {
  int64_t start, size;
};

// Where a member lies between its pivots.
template <class T> struct Place {
  int64_t pivot;
  T left, right;
};

template <class T> struct Step {
  std::vector<Link> links;
  std::vector<Leaf> leaves;
  std::vector<Place<T>> places;
  int64_t members, blocks, examples, pivots, numbers, penalty;
  bool random;                              // whether there are variances
  const T *factor, *prior, *fit_scale, *pull;  // [K] each
  Tensor mean, var, grad_mean, grad_var;    // leaf after leaf, [K, size] each
  std::vector<Tensor> insides, squares, outs, slopes;  // of each layer

  Tensor of(const Tensor& flat, int64_t start, int64_t size) const {
    return flat.narrow(0, members * start, members * size);
  }
  Tensor weights(const Tensor& flat, const Link& link) const {
    return of(flat, link.weight, link.weights()).view({members, link.outputs, link.inputs});
  }
  // The weights of the members that share a block, on top of one another.
  Tensor stacked(const Tensor& across, int64_t count) const {
    return across.view({count, members / count * across.size(1), across.size(2)});
  }
  T* at(const Tensor& flat, int64_t start) const {
    return flat.data_ptr<T>() + members * start;
  }

  void fields(const T* means, const T* log_stds, double* penalties);
  void forward(const Tensor& x, const std::vector<Tensor>& noise);
  void pointwise(size_t place, const T* noise);
  void backward(Tensor grad);
  void spread(T* grad_means, T* grad_log_stds, bool add);
  Tensor categorical(const Tensor& y, const T* weight, double* fits) const;
  Tensor gaussian(const Tensor& y, const T* weight, const T* var, double* fits) const;
};

}  // namespace netdial
