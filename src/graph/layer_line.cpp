#include "alpa/graph/layer_line.hpp"

namespace alpa {

const LayerLine::Run* LayerLine::run_of(int layer) const {
  for (const Run& run : runs_) {
    if (run.first <= layer && layer < run.end()) return &run;
  }
  return nullptr;
}

int LayerLine::like(int layer) const {
  int left_out = 0;
  for (const Run& run : runs_) {
    if (layer < run.first) break;
    if (layer >= run.end()) {
      left_out += run.count - run.graph_count;
      continue;
    }
    const int front = run.graph_front();
    const int place = layer - run.first;
    const int from_end = run.end() - layer;
    if (place < front) return run.graph_first + place;
    if (from_end <= run.graph_count - front) return run.graph_end() - from_end;
    const int begin = front - run.period;
    return run.graph_first + begin + (place - begin) % run.period;
  }
  return layer - left_out;
}

int LayerLine::layer_of(int graph_layer) const {
  int left_out = 0;
  for (const Run& run : runs_) {
    if (graph_layer < run.graph_first + run.graph_front()) break;
    left_out += run.count - run.graph_count;
  }
  return graph_layer + left_out;
}

}  // namespace alpa
