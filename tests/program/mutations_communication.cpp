#include <algorithm>

#include "program/mutations.hpp"

namespace alpa {
namespace {

Collective& collective(Program& program, const Place& place) {
  return std::get<Collective>(
      program.segments[place.segment].instructions[place.instruction].action);
}

const Collective* as_collective(const Instruction& instruction) {
  return std::get_if<Collective>(&instruction.action);
}

const std::vector<int>& members(const Program& program, const Collective& c) {
  return program.groups[c.group.index()];
}

int common_members(const std::vector<int>& a, const std::vector<int>& b) {
  return static_cast<int>(std::count_if(a.begin(), a.end(), [&](int rank) {
    return std::find(b.begin(), b.end(), rank) != b.end();
  }));
}

/// Two collectives of one segment change places. `passes` says for which two that must be wrong.
Mutation swapped(
    const std::string& name,
    std::function<bool(const Program&, const Instruction&, const Instruction&)> passes) {
  return {
      name, [passes = std::move(passes)](std::vector<Program>& programs, std::mt19937_64& random) {
        std::vector<std::pair<Place, std::size_t>> found;
        const auto all = places(programs, [](const Program&, const Place&, const Instruction& i) {
          return as_collective(i) != nullptr;
        });
        for (const Place& a : all) {
          for (const Place& b : all) {
            const bool later =
                a.rank == b.rank && a.segment == b.segment && a.instruction < b.instruction;
            if (later && passes(programs[a.rank], at(programs, a), at(programs, b))) {
              found.emplace_back(a, b.instruction);
            }
          }
        }
        if (found.empty()) return Outcome::none_here;
        const auto [place, other] = pick(found, random);
        std::swap(at(programs, place), list_at(programs, place)[other]);
        set_waits(programs[place.rank]);
        return Outcome::mutated;
      }};
}

using Passes = std::function<bool(const Program&, const Collective&)>;
using ChangeCollective = std::function<void(Program&, Collective&, std::mt19937_64&)>;

Mutation at_collective(const std::string& name, Passes passes, ChangeCollective change) {
  return at_instruction(
      name,
      [passes = std::move(passes)](const Program& p, const Place&, const Instruction& i) {
        return as_collective(i) != nullptr && passes(p, *as_collective(i));
      },
      [change = std::move(change)](Program& p, const Place& place, std::mt19937_64& random) {
        change(p, collective(p, place), random);
      });
}

/// Other groups of this rank.
std::vector<GroupId> other_groups(const Program& program, GroupId group) {
  std::vector<GroupId> others;
  for (std::size_t g = 0; g < program.groups.size(); ++g) {
    const GroupId id{static_cast<std::int32_t>(g)};
    if (id != group) others.push_back(id);
  }
  return others;
}

bool has_pieces(const Program&, const Collective& c) { return c.piece_sizes.size() > 1; }

std::vector<Mutation> collective_mutations() {
  std::vector<Mutation> all;
  all.push_back(swapped("collectives of a group swapped", [](const Program&, const Instruction& a,
                                                             const Instruction& b) {
    return as_collective(a)->group == as_collective(b)->group && a.name != b.name;
  }));
  // The ranks that share both groups would each wait in one for the other.
  all.push_back(swapped("collectives of crossing groups swapped",
                        [](const Program& p, const Instruction& a, const Instruction& b) {
                          const Collective& x = *as_collective(a);
                          const Collective& y = *as_collective(b);
                          return x.group != y.group &&
                                 common_members(members(p, x), members(p, y)) > 1;
                        }));
  all.push_back(at_collective(
      "collective in another group",
      [](const Program& p, const Collective& c) { return !other_groups(p, c.group).empty(); },
      [](Program& p, Collective& c, std::mt19937_64& random) {
        c.group = pick(other_groups(p, c.group), random);
      }));
  all.push_back(at_collective(
      "collective without this rank", [](const Program&, const Collective&) { return true; },
      [](Program& p, Collective& c, std::mt19937_64&) {
        std::vector<int> others = members(p, c);
        std::erase(others, p.rank);
        c.group = {static_cast<std::int32_t>(p.groups.size())};
        p.groups.push_back(others);
      }));
  all.push_back(at_collective("wrong piece size", has_pieces,
                              [](Program&, Collective& c, std::mt19937_64& random) {
                                auto& size = c.piece_sizes[random() % c.piece_sizes.size()];
                                size += {size_of(c.dtype)};
                              }));
  all.push_back(at_collective("bytes moved from piece to piece", has_pieces,
                              [](Program&, Collective& c, std::mt19937_64& random) {
                                const std::size_t i = random() % (c.piece_sizes.size() - 1);
                                c.piece_sizes[i] += {size_of(c.dtype)};
                                c.piece_sizes[i + 1] -= {size_of(c.dtype)};
                              }));
  all.push_back(at_collective(
      "collective of another dtype", [](const Program&, const Collective&) { return true; },
      [](Program&, Collective& c, std::mt19937_64&) {
        c.dtype = c.dtype == DType::f64 ? DType::f32 : DType::f64;
      }));
  all.push_back(at_collective(
      "another reduction",
      [](const Program&, const Collective& c) {
        return c.kind == Collective::Kind::all_reduce || c.kind == Collective::Kind::reduce_scatter;
      },
      [](Program&, Collective& c, std::mt19937_64&) {
        c.op = c.op == ReduceOp::sum ? ReduceOp::max : ReduceOp::sum;
      }));
  all.push_back(at_collective(
      "collective on half its bytes",
      [](const Program&, const Collective& c) { return c.in.size.value >= 16; },
      [](Program&, Collective& c, std::mt19937_64&) {
        c.in.size = c.out.size = {c.in.size.value / 16 * 8};
      }));
  return all;
}

/// A change of the messages that one rank sends (or receives) in one exchange.
Mutation at_messages(
    const std::string& name, bool out,
    std::function<bool(std::vector<Message>&, const Program&, std::mt19937_64&)> change) {
  return {name, [out, change = std::move(change)](std::vector<Program>& programs,
                                                  std::mt19937_64& random) {
            auto found = places(programs, [&](const Program&, const Place&, const Instruction& i) {
              const auto* e = std::get_if<Exchange>(&i.action);
              return e != nullptr && !(out ? e->out : e->in).empty();
            });
            std::shuffle(found.begin(), found.end(), random);
            for (const Place& place : found) {
              auto& e = std::get<Exchange>(at(programs, place).action);
              if (!change(out ? e.out : e.in, programs[place.rank], random)) continue;
              set_waits(programs[place.rank]);
              return Outcome::mutated;
            }
            return Outcome::none_here;
          }};
}

bool drop_message(std::vector<Message>& messages, const Program&, std::mt19937_64& random) {
  messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(random() % messages.size()));
  return true;
}

bool wrong_peer(std::vector<Message>& messages, const Program& p, std::mt19937_64& random) {
  if (p.world_size < 3) return false;
  int& peer = messages[random() % messages.size()].peer;
  const int before = peer;
  while (peer == before || peer == p.rank) {
    peer = static_cast<int>(random() % static_cast<std::uint64_t>(p.world_size));
  }
  return true;
}

bool other_value(std::vector<Message>& messages, const Program&, std::mt19937_64& random) {
  std::vector<std::pair<std::size_t, std::size_t>> unlike;
  for (std::size_t a = 0; a < messages.size(); ++a) {
    for (std::size_t b = a + 1; b < messages.size(); ++b) {
      if (messages[a].value != messages[b].value) unlike.emplace_back(a, b);
    }
  }
  if (unlike.empty()) return false;
  const auto [a, b] = pick(unlike, random);
  std::swap(messages[a].value, messages[b].value);
  return true;
}

bool shorter(std::vector<Message>& messages, const Program&, std::mt19937_64& random) {
  messages[random() % messages.size()].region.size -= {1};
  return true;
}

bool repeated(std::vector<Message>& messages, const Program&, std::mt19937_64& random) {
  messages.push_back(Message(messages[random() % messages.size()]));
  return true;
}

/// One rank takes an exchange for the other way.
Mutation exchange_on_the_other_queue() {
  return {
      "exchange on the other queue", [](std::vector<Program>& programs, std::mt19937_64& random) {
        const auto found = places(programs, [](const Program&, const Place&, const Instruction& i) {
          const auto* e = std::get_if<Exchange>(&i.action);
          return e != nullptr && !(e->out.empty() && e->in.empty());
        });
        if (found.empty()) return Outcome::none_here;
        const Place place = pick(found, random);
        auto& e = std::get<Exchange>(at(programs, place).action);
        e.back = !e.back;
        set_waits(programs[place.rank]);
        return Outcome::mutated;
      }};
}

}  // namespace

std::vector<Mutation> communication_mutations() {
  std::vector<Mutation> all = collective_mutations();
  all.push_back(exchange_on_the_other_queue());
  for (const bool out : {true, false}) {
    const std::string what = out ? "send" : "receive";
    all.push_back(at_messages(what + " dropped", out, drop_message));
    all.push_back(at_messages(what + " with another rank", out, wrong_peer));
    all.push_back(at_messages(what + " of another value", out, other_value));
    all.push_back(at_messages(what + " of fewer bytes", out, shorter));
    all.push_back(at_messages(what + " repeated", out, repeated));
  }
  return all;
}

}  // namespace alpa
