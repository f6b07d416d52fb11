#include "question_text.hpp"

#include <array>
#include <charconv>

namespace alpa::intra_op {
namespace {

std::string number(double value) {
  std::array<char, 40> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

void add_term(std::string& sum, double weight, const std::string& figure) {
  if (weight == 0.0) return;
  sum += (sum.empty() ? "" : " + ") + (weight == 1.0 ? "" : number(weight) + " ") + figure;
}

}  // namespace

std::string text_of(const StageQuestion& question, const MeshCosts& costs, int microbatches,
                    bool recomputes) {
  std::string text = "layers " + std::to_string(question.first_layer) + "-" +
                     std::to_string(question.last_layer) + " on a mesh of ";
  const auto& extents = costs.mesh().extents;
  for (std::size_t a = 0; a < extents.size(); ++a) {
    text += (a > 0 ? " x " : "") + std::to_string(extents[a]);
  }
  text += " (devices " + std::to_string(costs.devices().front()) + "-" +
          std::to_string(costs.devices().back()) + "), " + std::to_string(microbatches) +
          (microbatches == 1 ? " microbatch: " : " microbatches: ");
  const StageWeights& w = question.weights;
  std::string sum;
  add_term(sum, w.forward, "forward");
  add_term(sum, w.backward, "backward");
  add_term(sum, w.prepare, "prepare");
  add_term(sum, w.reduce, "reduce");
  add_term(sum, w.update, "update");
  add_term(sum, w.state_byte, "bytes of state");
  add_term(sum, w.stash_byte, "bytes of stash");
  text += sum;
  if (question.memory) {
    text += ", at most " + std::to_string(question.memory->value) + " bytes with " +
            std::to_string(question.in_flight) + " in flight";
  }
  if (recomputes) text += ", with recomputation";
  if (question.tied) text += ", equal layers alike";
  if (question.one_layout) text += ", one layout for all readers of a tensor";
  return text;
}

}  // namespace alpa::intra_op
