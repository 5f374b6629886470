// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who is in the community.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>

namespace retort::community {

/// What is known of another node.
struct Peer {
    std::string input{};       ///< the shape and normalization of its inputs
    std::int64_t tasks = 0;    ///< how many it said it knows
    std::int64_t silent = 0;   ///< how many queries in a row it did not answer
    std::int64_t lessons = 0;  ///< that it gave
    std::int64_t refused = 0;  ///< of them, those that could not be trusted
};

/// The other nodes, as many as fit. A node that stays silent is forgotten; what is known of one that gave lessons that could
/// not be trusted is kept as long as there is room.
class Roster {
  public:
    /// \param most how many peers at most
    /// \param patience after how many unanswered queries in a row a peer is forgotten
    explicit Roster(std::size_t most = 4096, std::int64_t patience = 3) : most_(most), patience_(patience) {}

    /// Someone said hello.
    /// \returns false if there is no room
    bool met(const std::string& name, const std::string& input, std::int64_t tasks) {
        if (const auto found = peers_.find(name); found == peers_.end() && peers_.size() >= most_)
            return false;
        Peer& peer = peers_[name];
        changed_ = changed_ || peer.tasks != tasks || peer.input != input;
        peer.input = input;
        peer.tasks = tasks;
        peer.silent = 0;
        return true;
    }
    bool has(const std::string& name) const { return peers_.contains(name); }
    const std::map<std::string, Peer>& peers() const { return peers_; }
    std::size_t size() const { return peers_.size(); }

    void answered(const std::string& name) {
        if (const auto found = peers_.find(name); found != peers_.end()) found->second.silent = 0;
    }
    void stayed_silent(const std::string& name) {
        const auto found = peers_.find(name);
        if (found != peers_.end() && ++found->second.silent >= patience_) peers_.erase(found);
    }
    /// Counts a lesson.
    void taught(const std::string& name, bool trusted) {
        if (const auto found = peers_.find(name); found != peers_.end()) {
            ++found->second.lessons;
            found->second.refused += trusted ? 0 : 1;
        }
    }
    /// The share of the lessons of a node that could be trusted, with one good and one bad one added: 1/2 for a stranger.
    double reputation(const std::string& name) const {
        const auto found = peers_.find(name);
        if (found == peers_.end()) return 0.5;
        const Peer& peer = found->second;
        return static_cast<double>(peer.lessons - peer.refused + 1) / static_cast<double>(peer.lessons + 2);
    }
    /// Whether anybody came, or learned something, since this was last asked.
    bool changed() { return std::exchange(changed_, false); }

    void checkpoint(Archive& archive) {
        std::vector<std::string> names, inputs;
        std::vector<std::int64_t> numbers;
        for (const auto& [name, peer] : peers_) {
            names.push_back(name);
            inputs.push_back(peer.input);
            numbers.insert(numbers.end(), {peer.tasks, peer.silent, peer.lessons, peer.refused});
        }
        archive("names", names);
        archive("inputs", inputs);
        archive("numbers", numbers);
        archive("changed", changed_);
        if (!archive.loading()) return;
        if (inputs.size() != names.size() || numbers.size() != 4 * names.size())
            throw CheckpointError(archive.where() + ": roster: expected four numbers for each name");
        peers_.clear();
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::int64_t* n = numbers.data() + 4 * i;
            peers_[names[i]] = {inputs[i], n[0], n[1], n[2], n[3]};
        }
    }

  private:
    std::size_t most_;
    std::int64_t patience_;
    std::map<std::string, Peer> peers_;
    bool changed_ = false;
};

}  // namespace retort::community
