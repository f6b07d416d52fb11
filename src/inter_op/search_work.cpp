#include "search_work.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/intra_op/folding.hpp"
#include "alpa/plan/methods.hpp"

#include "layer_tables.hpp"
#include "side_by_side.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kDefaultEffort = 20'000;
constexpr double kSureRoom = 1.0;  ///< of a device: more may be too much for another of the stage

bool is_nothing(const std::vector<Recompute>& recompute) {
  return std::all_of(recompute.begin(), recompute.end(),
                     [](Recompute choice) { return choice == Recompute::none; });
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

SearchWork::SearchWork(const SearchRequest& request)
    : request_(request),
      stop_(request.stop),
      devices_(num_devices(request.cluster)),
      clock_since_(now()) {
  if (devices_ < 1) throw PlanError("cluster: it has no devices");
  const auto& hosts = cluster().hosts;
  hosts_alike_ = std::all_of(hosts.begin(), hosts.end(),
                             [&](const Host& host) { return host == hosts.front(); });
  if (request.global_batch < 1) throw PlanError("search: expected a global batch of at least 1");
  const SearchConstraints& constraints = request.constraints;
  fold_line();
  layers_ = line_.length();
  (void)recomputing(graph(1, {}),
                    request.recompute);  // whether there is something to compute again
  recompute_ = everywhere(request.recompute.value_or(Recompute::none));
  check_constraints(request, layers_);
  microbatch_counts_ = divisors(request.global_batch / request.samples_of_group);
  if (constraints.microbatches) microbatch_counts_ = {*constraints.microbatches};
  stage_counts_ = {1, std::min(layers_, devices_)};
  if (constraints.stages) stage_counts_ = {*constraints.stages, *constraints.stages};
}

SearchWork::SearchWork(const SearchWork& of, std::stop_token stop, Beside)
    : request_(of.request_),
      stop_(std::move(stop)),
      tells_(false),
      devices_(of.devices_),
      layers_(of.layers_),
      line_(of.line_),
      kept_(of.kept_),
      hosts_alike_(of.hosts_alike_),
      microbatch_counts_(of.microbatch_counts_),
      stage_counts_(of.stage_counts_),
      recompute_(of.recompute_),
      graphs_(of.graphs_),
      indices_(of.indices_),
      first_index_(of.first_index_),
      clock_since_(now()) {}

std::unique_ptr<SearchWork> SearchWork::beside(std::stop_token stop) const {
  return std::unique_ptr<SearchWork>(new SearchWork(*this, std::move(stop), Beside{}));
}

std::vector<int> SearchWork::warm_up(int stages) const {
  return warm_up_of(request_.constraints.warm_up.value_or(LeastDepth{}), stages);
}

std::vector<PipelineKind> SearchWork::schedules(int stages, int microbatches) const {
  if (request_.constraints.warm_up) return {PipelineKind::one_f_one_b};
  if (request_.constraints.schedule) return {*request_.constraints.schedule};
  if (microbatches == 1) return {PipelineKind::gpipe};  // both are the same
  // One stage never waits: 1F1B takes the same time and holds one stash.
  if (stages == 1) return {PipelineKind::one_f_one_b};
  return {PipelineKind::one_f_one_b, PipelineKind::gpipe};
}

std::vector<DeviceMesh> SearchWork::meshes(int devices) const {
  return logical_meshes(devices, request_.constraints.logical_mesh);
}

/// Whether stages may be asked about tied layers only.
void SearchWork::fold_line() {
  const StageConstraints& by_name = request_.constraints.stage;
  const bool may_fold = request_.graph_of_layers && !by_name.strategies && !by_name.retentions &&
                        !request_.constraints.plan;
  const LayerLine folded = folded_line(request_.layer_kinds);
  if (may_fold && !folded.is_whole()) {
    kept_ = kept_layers(folded);
    const Graph& some = graph(1, {});
    line_ = checked_line(folded, some);
    if (!line_.is_whole() && operators(1) > kTiedOperators) return;
    kept_.clear();
    graphs_.clear();
  }
  line_ = LayerLine(graph(1, {}).num_layers);
}

std::vector<Recompute> SearchWork::everywhere(Recompute choice) const {
  if (choice == Recompute::none) return {};
  return std::vector<Recompute>(static_cast<std::size_t>(layers_), choice);
}

std::vector<Recompute> SearchWork::of_graph(const std::vector<Recompute>& of_line) const {
  if (is_nothing(of_line)) return {};
  if (kept_.empty()) return of_line;
  std::vector<Recompute> of_kept;
  for (const int l : kept_) of_kept.push_back(of_line[static_cast<std::size_t>(l)]);
  return of_kept;
}

Graph SearchWork::make_graph(const GraphKey& key) const {
  const auto& [microbatches, recompute] = key;
  const std::int64_t microbatch = request_.global_batch / microbatches;
  const auto plain = graphs_.find({microbatches, {}});
  if (recompute.empty()) {
    return kept_.empty() ? request_.graph(microbatch) : request_.graph_of_layers(microbatch, kept_);
  }
  return with_recomputation(
      plain == graphs_.end() ? make_graph({microbatches, {}}) : *plain->second, recompute);
}

const Graph& SearchWork::graph(int microbatches, const std::vector<Recompute>& recompute) {
  return held_graph({microbatches, of_graph(recompute)});
}

const Graph& SearchWork::held_graph(const GraphKey& key) {
  const auto known = graphs_.find(key);
  if (known != graphs_.end()) return *known->second;
  if (!key.second.empty()) (void)held_graph({key.first, {}});
  const Clock clock(*this, "graphs");
  auto made = std::make_shared<const Graph>(make_graph(key));
  return *graphs_.emplace(key, std::move(made)).first->second;
}

const Graph& SearchWork::whole_graph(int microbatches, const std::vector<Recompute>& recompute) {
  if (kept_.empty()) return graph(microbatches, recompute);
  const GraphKey key(microbatches, recompute);
  if (whole_graph_ && whole_graph_->first == key) return whole_graph_->second;
  const Clock clock(*this, "graphs");
  whole_graph_.reset();
  Graph made = request_.graph(request_.global_batch / microbatches);
  if (!recompute.empty()) made = with_recomputation(made, recompute);
  whole_graph_.emplace(key, std::move(made));
  return whole_graph_->second;
}

const Graph& SearchWork::graph_of(const LayerLine& line, int microbatches,
                                  const std::vector<Recompute>& recompute) {
  if (line.is_whole()) return whole_graph(microbatches, recompute);
  const GraphKey key(microbatches, recompute);
  if (some_graph_ && std::get<0>(*some_graph_) == key && std::get<1>(*some_graph_) == line) {
    return std::get<2>(*some_graph_);
  }
  const Clock clock(*this, "graphs");
  Graph made = request_.graph_of_layers(request_.global_batch / microbatches, kept_layers(line));
  if (!recompute.empty()) made = with_recomputation(made, kept_of(recompute, line));
  some_graph_.emplace(key, line, std::move(made));
  return std::get<2>(*some_graph_);
}

const Graph& SearchWork::graph_of(const FoldedPlan& folded) {
  return graph_of(folded.line, folded.plan.num_microbatches, recompute_of(folded));
}

std::optional<Plan> SearchWork::unfold(const std::optional<FoldedPlan>& folded) {
  if (!folded) return std::nullopt;
  if (folded->line.is_whole()) {
    Plan plan = folded->plan;
    plan.graph_fingerprint = fingerprint(graph_of(*folded));
    return plan;
  }
  const Graph& some = graph_of(*folded);
  const int microbatches = folded->plan.num_microbatches;
  const Clock clock(*this, "names");
  const bool is_ahead = ahead_ && ahead_->first == microbatches;
  const WholeGraph whole = is_ahead ? ahead_->second.get() : make_whole_graph(microbatches);
  ahead_.reset();
  Plan plan = keeps_unusually(folded->plan)
                  ? unfolded(*folded, some, with_recomputation(whole.graph, recompute_of(*folded)))
                  : unfolded(*folded, some, whole.graph);
  plan.graph_fingerprint = whole.hash;
  return plan;
}

SearchWork::WholeGraph SearchWork::make_whole_graph(int microbatches) const {
  WholeGraph whole{request_.graph(request_.global_batch / microbatches)};
  whole.hash = fingerprint(whole.graph);
  return whole;
}

void SearchWork::make_whole_graph_ahead(int microbatches) {
  if (line_.is_whole() || (ahead_ && ahead_->first == microbatches)) return;
  ahead_.emplace(microbatches, std::async(std::launch::async, [this, microbatches] {
                   return make_whole_graph(microbatches);
                 }));
}

std::size_t SearchWork::operators(int microbatches) {
  const Graph& some = graph(microbatches);
  if (line_.is_whole()) return some.operators.size();
  std::vector<std::size_t> of_layer(static_cast<std::size_t>(some.num_layers), 0);
  for (const Operator& op : some.operators) ++of_layer[static_cast<std::size_t>(op.layer)];
  std::size_t all = 0;
  for (int l = 0; l < line_.length(); ++l) all += of_layer[static_cast<std::size_t>(line_.like(l))];
  return all;
}

void SearchWork::make_graphs(const std::vector<Recompute>& recompute) {
  std::vector<GraphKey> missing;
  for (const int microbatches : microbatch_counts_) {
    const GraphKey key(microbatches, of_graph(recompute));
    if (!graphs_.contains(key)) missing.push_back(key);
  }
  const Clock clock(*this, "graphs");
  std::vector<std::shared_ptr<const Graph>> made(missing.size());
  side_by_side(missing.size(), [&](std::size_t i) {
    made[i] = std::make_shared<const Graph>(make_graph(missing[i]));
  });
  for (std::size_t i = 0; i < missing.size(); ++i) {
    graphs_.emplace(std::move(missing[i]), std::move(made[i]));
  }
}

const std::shared_ptr<const intra_op::GraphIndex>& SearchWork::index(int microbatches) {
  return index_of({microbatches, of_graph(recompute_)});
}

const std::shared_ptr<const intra_op::GraphIndex>& SearchWork::index_of(const GraphKey& key) {
  const auto& recompute = key.second;
  // Layers of the graph that stand for others must be as those are: of one class whatever is
  // computed again.
  const bool alike =
      line_.is_whole() || std::adjacent_find(recompute.begin(), recompute.end(),
                                             std::not_equal_to<>()) == recompute.end();
  const auto known = indices_.find(key);
  if (known != indices_.end()) return known->second;
  const Graph& of = held_graph(key);
  std::shared_ptr<const intra_op::GraphIndex> made;
  if (alike) {
    const Clock clock(*this, "graphs");
    made = alpa::index_of(of, line_, first_index_.get());
    if (!first_index_) first_index_ = made;
  } else {
    const auto plain = index_of({key.first, {}});
    const Clock clock(*this, "graphs");
    made = mixed_index_of(of, *plain);
  }
  return indices_.emplace(key, std::move(made)).first->second;
}

const MeshCosts& SearchWork::costs(int first_device, const DeviceMesh& mesh) {
  if (hosts_alike_) first_device = 0;  // inside a host, or whole hosts: alike wherever they are
  auto& made = costs_[{first_device, mesh.extents}];
  if (!made) {
    std::vector<int> members;
    for (int d = 0; d < num_devices(mesh); ++d) members.push_back(first_device + d);
    made = std::make_unique<MeshCosts>(request_.cluster, members, mesh);
  }
  return *made;
}

Bytes SearchWork::capacity(int first_device, const DeviceMesh& mesh) {
  return request_.memory_limit ? *request_.memory_limit : costs(first_device, mesh).capacity();
}

Bytes SearchWork::packing(int microbatches) const {
  const auto known = packing_.find(microbatches);
  return known == packing_.end() ? Bytes{0} : known->second;
}

Bytes SearchWork::room(int microbatches, int first_device, const DeviceMesh& mesh) {
  return capacity(first_device, mesh) - packing(microbatches);
}

const StageModel& SearchWork::model(int microbatches, int first_device, const DeviceMesh& mesh) {
  return model_of(microbatches, first_device, mesh, of_graph(recompute_));
}

const StageModel& SearchWork::model_of(int microbatches, int first_device, const DeviceMesh& mesh,
                                       std::vector<Recompute> of_graph_layer) {
  if (is_nothing(of_graph_layer)) of_graph_layer.clear();
  const MeshCosts& mesh_costs = costs(first_device, mesh);
  const GraphKey key(microbatches, std::move(of_graph_layer));
  auto& made = models_[{key, mesh_costs.key()}];
  if (!made) {
    const Graph& of = held_graph(key);
    const auto& index = index_of(key);
    const Clock clock(*this, "models");
    made = std::make_unique<StageModel>(of, mesh_costs, microbatches, stage_constraints(), index,
                                        request_.record);
  }
  return *made;
}

bool SearchWork::has_model(int microbatches, int first_device, const DeviceMesh& mesh) {
  const GraphKey key(microbatches, of_graph(recompute_));
  return models_.contains({key, costs(first_device, mesh).key()});
}

void SearchWork::add_model(int microbatches, int first_device, const DeviceMesh& mesh,
                           std::unique_ptr<StageModel> model) {
  const GraphKey key(microbatches, of_graph(recompute_));
  models_[{key, costs(first_device, mesh).key()}] = std::move(model);
}

void SearchWork::compare_memory(const Plan& plan, Offered& offered) const {
  offered.over.clear();
  offered.rooms.clear();
  offered.fits = true;
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    Bytes room{std::numeric_limits<std::int64_t>::max()};
    for (const int rank : plan.stages[s].ranks) {
      room = std::min(room, request_.memory_limit ? *request_.memory_limit
                                                  : alpa::capacity(kind_of(cluster(), rank)));
    }
    const Bytes arena = offered.price.arenas[s];
    offered.rooms.push_back(room);
    offered.over.push_back(std::max(Bytes{0}, arena - room));
    offered.fits = offered.fits && arena <= room;
  }
}

SearchWork::Offered SearchWork::offer(const FoldedPlan& folded) {
  const Plan& plan = folded.plan;
  const Graph& of = graph_of(folded);
  const Clock clock(*this, "pricing");
  auto priced = price(of, folded.line, plan, request_.cluster, request_.workspace);
  if (!priced) return offer(*unfold(folded));  // its programs do not follow from few layers
  Offered offered{std::move(*priced), {}, {}, true};
  norm_ = offered.price.norm.value;
  const double time = offered.price.step_time.value;
  compare_memory(plan, offered);
  const bool is_better = offered.fits && time < best_time();
  const bool confirmed = is_better && (confirms_at_once_ || may_not_fit(of, offered));
  if (confirmed) confirm(of, folded, offered);
  const Bytes largest = *std::max_element(offered.price.arenas.begin(), offered.price.arenas.end());
  if (!std::isfinite(time)) {
    offered.fits = false;
    return offered;
  }
  if (!least_memory_ || largest < *least_memory_) {
    least_memory_ = largest;
    least_memory_plan_ = folded;
    least_memory_plan_->plan.method = "auto";
  }
  if (offered.fits && time < best_time()) {
    best_ = folded;
    best_->plan.method = "auto";
    best_price_ = offered.price;
    best_is_confirmed_ = confirmed;
  }
  return offered;
}

/// Whether another device of a stage than the one that was looked at may need too much.
bool SearchWork::may_not_fit(const Graph& graph, const Offered& offered) const {
  if (graph.operators.size() <= kTiedOperators) return true;
  for (std::size_t s = 0; s < offered.rooms.size(); ++s) {
    const auto room = static_cast<double>(offered.rooms[s].value);
    if (static_cast<double>(offered.price.arenas[s].value) > kSureRoom * room) return true;
  }
  return false;
}

/// Which device of a stage needs most is looked at where it decides.
void SearchWork::confirm(const Graph& graph, const FoldedPlan& folded, Offered& offered) const {
  const auto memory = stage_memory(graph, folded.line, folded.plan, request_.workspace);
  ALPA_CHECK(memory.has_value());  // the plan was priced
  for (std::size_t s = 0; s < memory->size(); ++s) {
    offered.price.arenas[s] = (*memory)[s].arena;
    offered.price.totals[s].memory = (*memory)[s].memory;
  }
  compare_memory(folded.plan, offered);
}

bool SearchWork::confirm_best() {
  if (!best_ || best_is_confirmed_) return true;
  const Graph& of = graph_of(*best_);
  const Clock clock(*this, "pricing");
  Offered offered{best_price_, {}, {}, true};
  confirm(of, *best_, offered);
  best_price_ = offered.price;
  best_is_confirmed_ = true;
  if (offered.fits) return true;
  best_.reset();
  confirms_at_once_ = true;
  return false;
}

double SearchWork::best_time() const {
  return best_ ? best_price_.step_time.value : std::numeric_limits<double>::infinity();
}

void SearchWork::solved(const std::string& question, int problems) {
  problems_ += problems;
  questions_.insert(question);
}

bool SearchWork::stopped() {
  if (reason_ != "done") return true;
  if (stop_.stop_requested()) reason_ = "time";
  if (problems_ >= (request_.effort > 0 ? request_.effort : kDefaultEffort)) reason_ = "work";
  return reason_ != "done";
}

void SearchWork::tell(const std::string& phase, double share) {
  if (!request_.progress || !tells_) return;
  std::optional<Seconds> best;
  if (best_) best = best_price_.step_time;
  request_.progress(phase, share, best);
}

SearchWork::Clock::Clock(SearchWork& work, const std::string& phase)
    : work_(work), outer_(work.clock_) {
  work_.switch_clock(phase);
}

SearchWork::Clock::~Clock() { work_.switch_clock(outer_); }

void SearchWork::switch_clock(const std::string& phase) {
  const double time = now();
  clocks_[clock_] += time - clock_since_;
  clock_since_ = time;
  clock_ = phase;
}

std::vector<std::pair<std::string, Seconds>> SearchWork::phases() {
  switch_clock(clock_);
  std::vector<std::pair<std::string, Seconds>> all;
  for (const auto& [phase, seconds] : clocks_) all.emplace_back(phase, Seconds{seconds});
  return all;
}

}  // namespace alpa
