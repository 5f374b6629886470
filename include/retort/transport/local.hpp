// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transport within one process, with faults that a seed decides.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/split_mix.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/frame.hpp>

namespace retort::transport {

/// What goes wrong in a `LocalNetwork`: probabilities per delivery of a frame, decided by the seed and the number of the
/// delivery.
struct LocalFaults {
    double drop = 0;       ///< it is lost
    double duplicate = 0;  ///< it comes twice
    double delay = 0;      ///< it comes up to `longest_delay` later
    double reorder = 0;    ///< it comes after those that are sent in the next 4 ms
    double death =
        0;  ///< the node that it is for dies: before its handler runs, or after it and before it answers
    milliseconds longest_delay{2000};  ///< at least 1
    /// How many faults there are at most: then nothing goes wrong any more.
    std::int64_t most = 1'000'000;
    std::int64_t most_deaths = 1;  ///< of them, deaths
};

/// Options of a `LocalNetwork`.
struct LocalOptions {
    std::uint64_t seed = 0;
    LocalFaults faults{};
    std::size_t frame = (1U << 20U) + 8192;  ///< the largest frame, in bytes
    std::size_t pending = 1'000'000;         ///< how many frames may be under way
};

/// The end of a node of a `LocalNetwork` that was killed: thrown by everything that it does with its `Local` from then on, so that its stack is
/// unwound as if its process had ended. Not a `retort::Error`, as only a test that simulates processes is to catch it.
struct Death {
    std::string node;
};

class Local;

namespace detail {

/// The shared state of a `LocalNetwork` and its nodes.
class LocalState {
  public:
    using Time = std::int64_t;  ///< in ms

    struct Node {
        std::string name;
        bool alive = true;
        Traffic traffic{};
    };
    struct Service {
        std::string subject;
        Handler handler;
        std::shared_ptr<Node> node;
        std::vector<std::thread::id> running{};
        bool ended = false;
    };
    struct Asking {
        std::shared_ptr<Node> node;
        Time deadline = 0;
        std::thread::id thread{};
        std::deque<Frame> answers{};
        bool open = true;
    };
    struct Event {
        std::weak_ptr<Service> service{};  ///< that gets the frame, if it is not an answer
        std::shared_ptr<Asking> asking{};  ///< that gets the answer, or none for what is published
        bool answer = false;
        std::string head{};
        Bytes payload{};
    };
    /// What a thread does with this network.
    struct Thread {
        std::vector<Asking*> asking{};  ///< innermost last
        int handlers = 0;
        bool waiting = false;  ///< in `wait`, not in a handler or sink
    };

    explicit LocalState(LocalOptions options) : options_(options) {
        const LocalFaults& faults = options_.faults;
        for (const double each :
             {faults.drop, faults.duplicate, faults.delay, faults.reorder, faults.death}) {
            if (!(each >= 0 && each <= 1))
                throw ConfigError(concat("Local: expected probabilities of 0 to 1, found ", each));
        }
        if (faults.longest_delay.count() < 1) {
            throw ConfigError(concat("Local: expected a longest_delay of at least 1 ms, found ",
                                     faults.longest_delay.count()));
        }
        if (options_.frame < most_header + frame_prefix + 1024) {
            throw ConfigError(concat("Local: expected frames of at least ", most_header + frame_prefix + 1024,
                                     " bytes, found ", options_.frame));
        }
    }

    const LocalOptions& options() const { return options_; }

    std::shared_ptr<Node> node(const std::string& name) {
        const std::lock_guard lock(mutex_);
        if (!is_token(name)) {
            throw ConfigError(
                concat("Local: expected a name of letters, digits, - and _, found \"", excerpt(name), '"'));
        }
        std::weak_ptr<Node>& known = nodes_[name];
        if (const auto before = known.lock(); before && before->alive)
            throw ConfigError(concat("Local: expected a name that no other node has, found ", name));
        const auto result = std::make_shared<Node>(Node{name});
        known = result;
        return result;
    }
    bool kill(const std::string& name) {
        const std::lock_guard lock(mutex_);
        const auto known = nodes_.find(name);
        const auto node = known == nodes_.end() ? nullptr : known->second.lock();
        if (!node || !node->alive) return false;
        die(*node);
        return true;
    }
    void kill_at(std::int64_t event, const std::string& name) {
        const std::lock_guard lock(mutex_);
        deaths_.emplace(event, name);
    }
    std::int64_t events() const {
        const std::lock_guard lock(mutex_);
        return events_;
    }
    std::int64_t faults() const {
        const std::lock_guard lock(mutex_);
        return faults_;
    }
    Time now() const {
        const std::lock_guard lock(mutex_);
        return now_;
    }
    Traffic traffic(const Node& node) const {
        const std::lock_guard lock(mutex_);
        return node.traffic;
    }
    Traffic traffic() const {
        const std::lock_guard lock(mutex_);
        return traffic_;
    }

    Subscription serve(const std::shared_ptr<Node>& node, std::string_view subject, Handler handler) {
        check_subject(subject);
        const std::lock_guard lock(mutex_);
        check_alive(*node);
        auto service = std::make_shared<Service>();
        service->subject = subject;
        service->handler = std::move(handler);
        service->node = node;
        services_[service->subject].push_back(service);
        return Subscription(std::shared_ptr<void>(service.get(), [this, service](void*) { end(*service); }));
    }

    void publish(const std::shared_ptr<Node>& node, std::string_view subject, const Frame& frame) {
        check_subject(subject);
        const std::lock_guard lock(mutex_);
        check_alive(*node);
        send(*node, subject, frame, nullptr);
    }

    Ended ask(const std::shared_ptr<Node>& node, std::string_view subject, const Frame& frame,
              milliseconds within, const Sink& sink) {
        check_subject(subject);
        std::unique_lock lock(mutex_);
        check_alive(*node);
        const auto asking =
            std::make_shared<Asking>(Asking{node, now_ + within.count(), std::this_thread::get_id()});
        if (!send(*node, subject, frame, asking)) return Ended::nobody;
        return wait(lock, *asking, within, sink);
    }

    void pause(const std::shared_ptr<Node>& node, milliseconds time) {
        std::unique_lock lock(mutex_);
        check_alive(*node);
        Asking asking{node, now_ + time.count(), std::this_thread::get_id()};
        wait(lock, asking, time, [](const Frame&) { return true; });
    }

    /// Delivers everything that is under way.
    void settle() {
        std::unique_lock lock(mutex_);
        while (!events_under_way_.empty()) deliver(lock);
    }

  private:
    static constexpr Time latency = 1;
    enum class Purpose : std::uint64_t { drop = 1, duplicate, delay, length, reorder, death, moment };

    static void check_alive(const Node& node) {
        if (!node.alive) throw Death{node.name};
    }
    void die(Node& node) {
        node.alive = false;
        for (auto& [subject, services] : services_) {
            std::erase_if(services,
                          [&](const std::shared_ptr<Service>& each) { return each->node.get() == &node; });
        }
        changed_.notify_all();
    }
    /// Counts what happens, and kills whoever is to die at this count.
    void count_event() {
        const auto [first, last] = deaths_.equal_range(++events_);
        for (auto each = first; each != last; ++each) {
            const auto known = nodes_.find(each->second);
            const auto node = known == nodes_.end() ? nullptr : known->second.lock();
            if (node && node->alive) die(*node);
        }
    }

    double uniform(std::uint64_t delivery, Purpose purpose) const {
        using retort::detail::split_mix;
        const std::uint64_t bits =
            split_mix(split_mix(options_.seed ^ split_mix(delivery)) ^ static_cast<std::uint64_t>(purpose));
        return static_cast<double>(bits >> 11U) * 0x1.0p-53;
    }
    bool fault(std::uint64_t delivery, Purpose purpose, double probability) {
        if (probability <= 0 || faults_ >= options_.faults.most) return false;
        if (uniform(delivery, purpose) >= probability) return false;
        ++faults_;
        return true;
    }

    /// \returns false if nobody serves the subject
    bool send(Node& from, std::string_view subject, const Frame& frame,
              const std::shared_ptr<Asking>& asking) {
        const std::string head = encode_head(frame);
        check_frame_size(subject, head.size() + frame.payload.size(), {options_.frame});
        count_event();
        check_alive(from);
        count_sent(from, head.size() + frame.payload.size());
        const auto found = services_.find(subject);
        if (found == services_.end() || found->second.empty()) return false;
        for (const auto& service : found->second)
            schedule({.service = service, .asking = asking, .head = head, .payload = frame.payload});
        return true;
    }
    void answer(Node& from, const std::shared_ptr<Asking>& asking, const Frame& frame, const Header& about) {
        std::string head;
        Bytes payload = frame.payload;
        try {
            head = encode_head(frame);
            check_frame_size("answer", head.size() + payload.size(), {options_.frame});
        } catch (const TransportError& error) {
            const Frame refusal = error_frame(about, error.what());
            head = encode_head(refusal);
            payload = refusal.payload;
        }
        count_event();
        if (!from.alive) return;
        count_sent(from, head.size() + payload.size());
        schedule({.asking = asking, .answer = true, .head = std::move(head), .payload = std::move(payload)});
    }
    void count_sent(Node& node, std::size_t bytes) {
        for (Traffic* const each : {&node.traffic, &traffic_}) {
            ++each->frames_sent;
            each->bytes_sent += static_cast<std::int64_t>(bytes);
        }
    }
    void count_received(Node& node, std::size_t bytes) {
        for (Traffic* const each : {&node.traffic, &traffic_}) {
            ++each->frames_received;
            each->bytes_received += static_cast<std::int64_t>(bytes);
        }
    }

    void schedule(const Event& event) {
        const LocalFaults& faults = options_.faults;
        const std::uint64_t number = ++deliveries_;
        if (fault(number, Purpose::drop, faults.drop)) return;
        const int copies = fault(number, Purpose::duplicate, faults.duplicate) ? 2 : 1;
        for (int i = 0; i < copies; ++i) {
            const std::uint64_t copy = i == 0 ? number : ++deliveries_;
            Time time = now_ + latency;
            if (fault(copy, Purpose::reorder, faults.reorder)) time += 4;
            if (fault(copy, Purpose::delay, faults.delay)) {
                time += 1 + static_cast<Time>(uniform(copy, Purpose::length) *
                                              static_cast<double>(faults.longest_delay.count() - 1));
            }
            if (events_under_way_.size() >= options_.pending) {
                throw TransportError(TransportError::Reason::too_large,
                                     concat("Local: expected at most ", options_.pending,
                                            " frames under way (LocalOptions::pending), found more"));
            }
            events_under_way_.emplace(std::pair(time, ++scheduled_), event);
        }
        changed_.notify_all();
    }

    /// Passes on the next frame. \pre there is one
    void deliver(std::unique_lock<std::mutex>& lock) {
        const auto next = events_under_way_.begin();
        now_ = std::max(now_, next->first.first);
        const Event event = std::move(next->second);
        const auto number = static_cast<std::uint64_t>(next->first.second);
        events_under_way_.erase(next);
        const std::size_t bytes = event.head.size() + event.payload.size();
        if (event.answer) {
            if (!event.asking->open || !event.asking->node->alive) return;
            count_event();
            if (!event.asking->node->alive) return;
            count_received(*event.asking->node, bytes);
            event.asking->answers.push_back(decode_parts(event.head, event.payload));
            changed_.notify_all();
            return;
        }
        const std::shared_ptr<Service> service = event.service.lock();
        if (!service || service->ended || !service->node->alive) return;
        Node& node = *service->node;
        count_event();
        const bool dies = options_.faults.most_deaths > faulty_deaths_ &&
                          fault(~number, Purpose::death, options_.faults.death);
        if (dies) ++faulty_deaths_;
        const bool at_once = dies && uniform(~number, Purpose::moment) < 0.5;
        if (at_once && node.alive) die(node);
        if (!node.alive) return;
        count_received(node, bytes);
        const Frame frame = decode_parts(event.head, event.payload);
        std::vector<Frame> answers = run(lock, *service, frame);
        if (dies && node.alive) die(node);
        if (!node.alive || event.asking == nullptr) return;
        for (const Frame& each : answers) answer(node, event.asking, each, frame.header);
    }

    /// Calls a handler, without the lock.
    std::vector<Frame> run(std::unique_lock<std::mutex>& lock, Service& service, const Frame& frame) {
        const std::thread::id self = std::this_thread::get_id();
        // References into a map stay valid; the entry goes when this thread does nothing here any more.
        Thread& thread = threads_[self];
        const bool waited = std::exchange(thread.waiting, false);
        ++thread.handlers;
        service.running.push_back(self);
        const auto restore = [&] {
            std::erase(service.running, self);
            --thread.handlers;
            thread.waiting = waited;
            forget(self);
            changed_.notify_all();
        };
        lock.unlock();
        std::vector<Frame> result;
        try {
            result = answers_of(service.handler, frame);
        } catch (const Death&) {
            // of the node itself: it does not answer
        } catch (...) {
            lock.lock();
            restore();
            throw;
        }
        lock.lock();
        restore();
        return result;
    }

    /// Passes answers on, and lets time pass, until the sink has enough or the deadline is reached.
    Ended wait(std::unique_lock<std::mutex>& lock, Asking& asking, milliseconds within, const Sink& sink) {
        const std::thread::id self = asking.thread;
        Thread& thread = threads_[self];
        const bool waited = std::exchange(thread.waiting, true);
        thread.asking.push_back(&asking);
        struct Leave {
            LocalState& state;
            std::unique_lock<std::mutex>& lock;
            Asking& asking;
            Thread& thread;
            bool waited;
            ~Leave() {
                if (!lock.owns_lock()) lock.lock();
                asking.open = false;
                asking.answers.clear();
                thread.asking.pop_back();
                thread.waiting = waited;
                state.forget(asking.thread);
                state.changed_.notify_all();
            }
        };
        const Leave leave{*this, lock, asking, thread, waited};
        // Waiting for other threads is bounded by real time: they may themselves wait for this one.
        const auto latest = std::chrono::steady_clock::now() + within;
        while (true) {
            check_alive(*asking.node);
            if (!asking.answers.empty()) {
                const Frame frame = std::move(asking.answers.front());
                asking.answers.pop_front();
                thread.waiting = false;
                lock.unlock();
                const bool more = sink(frame);
                lock.lock();
                thread.waiting = true;
                changed_.notify_all();
                check_alive(*asking.node);
                if (!more) return Ended::enough;
                continue;
            }
            if (now_ >= asking.deadline) return Ended::deadline;
            if (!events_under_way_.empty() && events_under_way_.begin()->first.first <= asking.deadline) {
                deliver(lock);
                continue;
            }
            if (first_to_time_out(asking)) {
                now_ = asking.deadline;
                changed_.notify_all();
                continue;
            }
            changed_.notify_all();
            if (changed_.wait_until(lock, latest) == std::cv_status::timeout)
                now_ = std::max(now_, asking.deadline);
        }
    }
    /// Whether nothing can happen before this deadline: no other thread is in a handler, or has an earlier one.
    bool first_to_time_out(const Asking& asking) const {
        for (const auto& [id, thread] : threads_) {
            if (id == asking.thread) continue;
            if (thread.handlers > 0 && !thread.waiting) return false;
            if (thread.waiting && !thread.asking.empty() && thread.asking.back()->deadline < asking.deadline)
                return false;
        }
        return true;
    }
    void forget(std::thread::id id) {
        const auto known = threads_.find(id);
        if (known->second.handlers == 0 && known->second.asking.empty()) threads_.erase(known);
    }

    void end(Service& service) {
        std::unique_lock lock(mutex_);
        service.ended = true;
        if (const auto found = services_.find(service.subject); found != services_.end()) {
            std::erase_if(found->second, [&](const auto& each) { return each.get() == &service; });
            if (found->second.empty()) services_.erase(found);
        }
        const std::thread::id self = std::this_thread::get_id();
        changed_.wait(lock, [&] {
            return std::all_of(service.running.begin(), service.running.end(),
                               [&](std::thread::id each) { return each == self; });
        });
    }

    const LocalOptions options_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, std::weak_ptr<Node>> nodes_{};
    std::map<std::string, std::vector<std::shared_ptr<Service>>, std::less<>> services_{};
    std::map<std::pair<Time, std::int64_t>, Event> events_under_way_{};
    std::map<std::thread::id, Thread> threads_{};
    std::multimap<std::int64_t, std::string> deaths_{};
    Traffic traffic_{};
    Time now_ = 0;
    std::int64_t events_ = 0, scheduled_ = 0, faults_ = 0, faulty_deaths_ = 0;
    std::uint64_t deliveries_ = 0;
};

}  // namespace detail

/// A node of a `LocalNetwork`: a transport within this process. Copies are the same node.
class Local {
  public:
    Subscription serve(std::string_view subject, Handler handler) const {
        // The subscription keeps the network.
        auto held = std::make_shared<std::pair<std::shared_ptr<detail::LocalState>, Subscription>>();
        held->first = state_;
        held->second = state_->serve(node_, subject, std::move(handler));
        return Subscription(std::move(held));
    }
    Ended ask(std::string_view subject, const Frame& frame, milliseconds within, const Sink& sink) const {
        return state_->ask(node_, subject, frame, within, sink);
    }
    void publish(std::string_view subject, const Frame& frame) const {
        state_->publish(node_, subject, frame);
    }
    void pause(milliseconds time) const { state_->pause(node_, time); }
    Limits limits() const { return {state_->options().frame}; }
    Traffic traffic() const { return state_->traffic(*node_); }

    const std::string& name() const { return node_->name; }
    /// False when it was killed.
    bool alive() const { return node_->alive; }

  private:
    friend class LocalNetwork;
    Local(std::shared_ptr<detail::LocalState> state, std::shared_ptr<detail::LocalState::Node> node)
        : state_(std::move(state)), node_(std::move(node)) {}

    std::shared_ptr<detail::LocalState> state_;
    std::shared_ptr<detail::LocalState::Node> node_;
};

/// A network within this process: the embedded transport, and the one that tests break.
///
/// Time is simulated: frames take 1 ms, and those who wait make the time pass, so that a deadline of an hour is over at once when
/// nothing more can happen before it. Handlers run on a thread that waits (`ask`, `pause`, `settle`), without
/// a lock. As long as only one thread uses the network, everything that happens follows from the seed and the calls: the same seed
/// gives the same faults at the same places. Where several threads use it, a wait for the handler that another thread runs
/// is bounded by the deadline in real time.
///
///     LocalNetwork network{{.seed = 17, .faults = {.drop = 0.1, .duplicate = 0.1, .delay = 0.2}}};
///     Local student = network.node("student"), teacher = network.node("teacher");
///     network.kill_at(40, "teacher");          // at the 40th event: a frame that is sent or received
///
/// A killed node serves nothing more, and whatever it does throws `Death`. A new node may then have its name, like a process that
/// is started again.
class LocalNetwork {
  public:
    /// \throws ConfigError if an option is out of range
    explicit LocalNetwork(LocalOptions options = {})
        : state_(std::make_shared<detail::LocalState>(options)) {}

    /// A new node.
    /// \throws ConfigError if another one that is alive has this name, or it is no token of a subject
    Local node(const std::string& name) const { return {state_, state_->node(name)}; }
    /// \returns false if there is no such node, or it is dead
    bool kill(const std::string& name) const { return state_->kill(name); }
    /// Kills the node that has this name at the `event`th frame that is sent or received.
    void kill_at(std::int64_t event, const std::string& name) const { state_->kill_at(event, name); }
    /// Delivers everything that is under way.
    void settle() const { state_->settle(); }

    std::int64_t events() const { return state_->events(); }  ///< frames that were sent or received so far
    std::int64_t faults() const { return state_->faults(); }  ///< so far
    /// The simulated time.
    milliseconds now() const { return milliseconds(state_->now()); }
    Traffic traffic() const { return state_->traffic(); }  ///< of all nodes

  private:
    std::shared_ptr<detail::LocalState> state_;
};

static_assert(Transport<Local>);

}  // namespace retort::transport
