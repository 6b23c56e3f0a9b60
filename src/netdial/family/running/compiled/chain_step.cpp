// One training step of a chain for K members at once: terms, and gradients of the pivots, without an autograd graph.
//
// A step makes the members' fields and penalties in one pass, runs the layers, and goes back through likelihood, layers,
// penalty and blend by hand. netdial.family.running.chain is the law that it is tested against.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "fields.h"
#include "layers.h"
#include "likelihood.h"
#include "step.h"

namespace netdial {

template <class T> const T* pointer(const std::optional<Tensor>& given) {
  return given ? given->data_ptr<T>() : nullptr;
}

template <class T>
std::tuple<Tensor, Tensor> run(
    const Tensor& x, const Tensor& y, const std::optional<Tensor>& weight, const Tensor& means,
    const std::optional<Tensor>& log_stds, Tensor& grad_means, std::optional<Tensor>& grad_log_stds,
    bool add, const Tensor& unit, const std::vector<Tensor>& noise, at::IntArrayRef links,
    int64_t likelihood, const std::optional<Tensor>& variance, int64_t penalty,
    const Tensor& scales) {
  Step<T> step;
  for (size_t i = 0; i < links.size(); i += 5) {
    step.links.push_back({links[i], links[i + 1], links[i + 2], links[i + 3], links[i + 4]});
    const Link& link = step.links.back();
    step.leaves.push_back({link.weight, link.weights()});
    if (link.bias >= 0) step.leaves.push_back({link.bias, link.outputs});
  }
  const int64_t members = unit.size(0);
  step.members = members;
  step.blocks = x.size(0);
  step.examples = x.size(1);
  step.pivots = means.size(0);
  step.numbers = means.size(1);
  step.penalty = penalty;
  step.random = log_stds.has_value();
  step.factor = scales.data_ptr<T>();
  step.prior = step.factor + members;
  step.fit_scale = step.prior + members;
  step.pull = step.fit_scale + members;
  const double *units = unit.data_ptr<double>(), last = double(step.pivots - 2);
  for (int64_t k = 0; k < members; ++k) {
    const double along = units[k] * (last + 1);
    const double pivot = std::clamp(std::floor(along), 0.0, last);
    step.places.push_back({int64_t(pivot), T(1 - (along - pivot)), T(along - pivot)});
  }
  const auto flat = [&] { return at::empty({members * step.numbers}, means.options()); };
  step.mean = flat();
  step.grad_mean = flat();
  if (step.random) {
    step.var = flat();
    step.grad_var = flat();
  }
  std::vector<double> fits(members), penalties(members);
  const T* spreads = pointer<T>(log_stds);
  step.fields(means.data_ptr<T>(), spreads, penalties.data());
  step.forward(x, noise);
  const T* each = pointer<T>(weight);
  step.backward(likelihood == kCategorical
                    ? step.categorical(y, each, fits.data())
                    : step.gaussian(y, each, variance->data_ptr<T>(), fits.data()));
  step.spread(grad_means.data_ptr<T>(), step.random ? grad_log_stds->data_ptr<T>() : nullptr, add);
  Tensor fit = at::empty({members}, means.options()), complexity = at::empty_like(fit);
  std::copy(fits.begin(), fits.end(), fit.data_ptr<T>());
  std::copy(penalties.begin(), penalties.end(), complexity.data_ptr<T>());
  return {fit, complexity};
}

std::tuple<Tensor, Tensor> chain_step(
    const Tensor& x, const Tensor& y, const std::optional<Tensor>& weight, const Tensor& means,
    const std::optional<Tensor>& log_stds, Tensor grad_means, std::optional<Tensor> grad_log_stds,
    bool add, const Tensor& unit, std::vector<Tensor> noise, at::IntArrayRef links,
    int64_t likelihood, const std::optional<Tensor>& variance, int64_t penalty,
    const Tensor& scales) {
  const auto go = means.scalar_type() == at::kDouble ? run<double> : run<float>;
  return go(x, y, weight, means, log_stds, grad_means, grad_log_stds, add, unit, noise, links,
            likelihood, variance, penalty, scales);
}

}  // namespace netdial

TORCH_LIBRARY(netdial, library) {
  library.def(
      "chain_step(Tensor x, Tensor y, Tensor? weight, Tensor means, Tensor? log_stds, Tensor(a!) grad_means, "
      "Tensor(b!)? grad_log_stds, bool add, Tensor unit, Tensor[] noise, int[] links, int likelihood, "
      "Tensor? variance, int penalty, Tensor scales) -> (Tensor fit, Tensor penalty)");
}

TORCH_LIBRARY_IMPL(netdial, CPU, library) { library.impl("chain_step", netdial::chain_step); }
