#pragma once

namespace alpa {

/// Several lambdas as one visitor of a std::variant.
template <class... Fs>
struct overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
overloaded(Fs...) -> overloaded<Fs...>;

}  // namespace alpa
