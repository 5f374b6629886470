// SPDX-License-Identifier: BSL-1.0
/// \file
/// A NATS server of a test's own, on a free port of the loopback.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace retort_test {

/// The path of a program; empty if there is none.
inline std::string find_program(const std::string& name) {
    const char* const path = std::getenv("PATH");
    std::istringstream folders(std::string(path != nullptr ? path : "") + ":/usr/sbin:/usr/local/sbin");
    for (std::string folder; std::getline(folders, folder, ':');) {
        const std::string file = folder + '/' + name;
        if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
    }
    return {};
}

/// Starts a program; its output goes nowhere.
inline pid_t start_program(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& each : words) arguments.push_back(const_cast<char*>(each.c_str()));
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (std::freopen("/dev/null", "w", stdout) == nullptr ||
        std::freopen("/dev/null", "w", stderr) == nullptr)
        ::_exit(126);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
}

/// A server that runs while this lives.
class NatsServer {
  public:
    static bool available() { return !find_program("nats-server").empty(); }

    /// \param configuration in the server's own language, in addition to address and port
    NatsServer(std::filesystem::path directory, const std::string& configuration = {})
        : file_(std::move(directory) / "nats.conf"), port_(free_port()) {
        std::ofstream(file_) << "listen: \"127.0.0.1:" << port_ << "\"\n" << configuration << '\n';
        start();
    }
    NatsServer(const NatsServer&) = delete;
    NatsServer& operator=(const NatsServer&) = delete;
    ~NatsServer() { stop(); }

    void start() {
        process_ = start_program({find_program("nats-server"), "-c", file_.string()});
        for (int i = 0; i < 1000; ++i) {
            if (reachable(port_)) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        throw std::runtime_error("nats-server does not listen");
    }
    void stop() {
        if (process_ <= 0) return;
        ::kill(process_, SIGKILL);
        ::waitpid(process_, nullptr, 0);
        process_ = 0;
    }
    std::string url(const std::string& scheme = "nats") const {
        return scheme + "://127.0.0.1:" + std::to_string(port_);
    }
    std::uint16_t port() const { return port_; }

  private:
    static sockaddr_in address(std::uint16_t port) {
        sockaddr_in result{};
        result.sin_family = AF_INET;
        result.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        result.sin_port = htons(port);
        return result;
    }
    static std::uint16_t free_port() {
        const int file = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in found = address(0);
        socklen_t size = sizeof found;
        const bool good = ::bind(file, reinterpret_cast<sockaddr*>(&found), size) == 0 &&
                          ::getsockname(file, reinterpret_cast<sockaddr*>(&found), &size) == 0;
        ::close(file);
        if (!good) throw std::runtime_error("no free port on the loopback");
        return ntohs(found.sin_port);
    }
    static bool reachable(std::uint16_t port) {
        const int file = ::socket(AF_INET, SOCK_STREAM, 0);
        const sockaddr_in to = address(port);
        const bool result = ::connect(file, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
        ::close(file);
        return result;
    }

    std::filesystem::path file_;
    std::uint16_t port_;
    pid_t process_ = 0;
};

}  // namespace retort_test
