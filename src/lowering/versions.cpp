#include "versions.hpp"

#include "alpa/graph/aliasing.hpp"

namespace alpa {

ValueVersions::Key ValueVersions::key_of(BufferId buffer, Bytes start) const {
  return {buffer, buffer == step_state_ ? start.value : 0};
}

int ValueVersions::of(BufferId buffer, Bytes start) const {
  const auto it = versions_.find(key_of(buffer, start));
  return it == versions_.end() ? 0 : it->second;
}

void ValueVersions::stamp(const Program& program, Instruction& instruction, bool once) {
  step_state_ = program.step_state;
  if (auto* run = std::get_if<RunKernel>(&instruction.action)) {
    stamp_kernel(*run, once ? 1 : program.num_microbatches);
  }
  if (auto* collective = std::get_if<Collective>(&instruction.action)) {
    stamp_collective(program, *collective);
  }
}

void ValueVersions::stamp_kernel(RunKernel& run, int runs) {
  for (Operand& o : run.operands) o.version = of(o.buffer, o.start);
  const bool contributes = std::holds_alternative<Contribute>(run.kernel);
  const bool sums = contributes || std::holds_alternative<Accumulate>(run.kernel);
  for (std::size_t r = 0; r < run.results.size(); ++r) {
    Operand& o = run.results[r];
    int& version = versions_[key_of(o.buffer, o.start)];
    if (sums)
      version += runs;
    else if (changes_in_place(run.kernel, r))
      ++version;
    else
      version = 1;
    o.version = version;
    if (contributes) contributions_[o.start.value] += runs;
  }
}

void ValueVersions::stamp_collective(const Program& program, Collective& collective) {
  if (collective.in.buffer == step_state_) {
    for (std::size_t g = 0; g < program.global_scalars.size(); ++g) {
      const auto index = static_cast<std::int64_t>(program.step_scalars.size() + g);
      ++versions_[key_of(step_state_, {8 * index})];
    }
    return;
  }
  collective.in.version = of(collective.in.buffer, collective.in.start);
  const bool in_place = collective.kind == Collective::Kind::all_reduce;
  int& version = versions_[key_of(collective.out.buffer, collective.out.start)];
  version = in_place ? version + 1 : 1;
  collective.out.version = version;
}

void ValueVersions::close(Program& program) const {
  for (StateEntry& entry : program.state) entry.version = of(entry.buffer, {});
  for (std::size_t g = 0; g < program.global_scalars.size(); ++g) {
    const auto it =
        contributions_.find(8 * static_cast<std::int64_t>(program.step_scalars.size() + g));
    program.contributions.push_back(it == contributions_.end() ? 0 : it->second);
  }
}

}  // namespace alpa
