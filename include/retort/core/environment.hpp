// SPDX-License-Identifier: BSL-1.0
/// \file
/// The environment a program runs in: versions, matrix products, threads, devices.
#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <link.h>
#include <torch/version.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <retort/core/device.hpp>
#include <retort/core/error.hpp>
#include <retort/version.hpp>

namespace retort {

/// The environment a program runs in.
struct Environment {
    std::string retort{};    ///< version of this library
    std::string torch{};     ///< version of the headers the program was compiled with
    std::string compiler{};  ///< name and version
    /// What computes matrix products on the CPU: MKL, or the library file that was loaded.
    std::string blas{};
    /// Whether that is the reference BLAS, dozens of times slower than the others.
    bool reference_blas = false;
    int threads = 0;  ///< intra-operator threads
    int cores = 0;    ///< of the machine
    std::size_t cuda_devices = 0;

    /// What is likely to make the program slow, one sentence each.
    std::vector<std::string> warnings() const {
        std::vector<std::string> result;
        if (reference_blas) {
            result.push_back(detail::concat(
                "matrix products are computed by the reference BLAS (", blas,
                "), dozens of times slower than OpenBLAS: install it (Debian: libopenblas0-pthread)"));
        }
        if (threads < cores) {
            result.push_back(detail::concat("operators use ", threads, " of ", cores,
                                            " cores: retort::set_threads() uses all of them"));
        }
        return result;
    }
    /// Everything, one item per line, followed by the warnings.
    std::string text() const {
        std::string result =
            detail::concat("retort ", retort, "\nLibTorch ", torch, "\ncompiler ", compiler, "\nBLAS ", blas,
                           "\nthreads ", threads, " on ", cores, " cores\nCUDA devices ", cuda_devices, '\n');
        for (const std::string& warning : warnings()) result.append("warning: ").append(warning).append("\n");
        return result;
    }
};

namespace detail {

/// The BLAS library among the files the program has loaded, with links resolved; empty if there is none. If several
/// are loaded, as with Debian's libblas.so.3, which is part of OpenBLAS there, the reference implementation comes
/// last.
inline std::string blas_among(const std::vector<std::string>& files) {
    for (const char* const name : {"libmkl_rt", "libopenblas", "libblis", "libatlas", "libblas"}) {
        for (const std::string& file : files) {
            const std::string_view view = file;
            const std::size_t folder = view.rfind('/');
            if (view.substr(folder == std::string_view::npos ? 0 : folder + 1).starts_with(name)) return file;
        }
    }
    return {};
}

/// Debian keeps the reference implementation as .../blas/libblas.so.3, and others as e.g. .../openblas-pthread/
/// libblas.so.3; elsewhere libblas is the name of the reference implementation.
inline bool is_reference_blas(std::string_view file) {
    const std::size_t end = file.rfind('/');
    const std::string_view name = end == std::string_view::npos ? file : file.substr(end + 1);
    if (!name.starts_with("libblas")) return false;
    if (end == std::string_view::npos) return true;
    const std::string_view folder = file.substr(0, end);
    for (const char* const other : {"openblas", "blis", "atlas", "mkl"}) {
        if (folder.find(other) != std::string_view::npos) return false;
    }
    return true;
}

inline std::vector<std::string> loaded_libraries() {
    std::vector<std::string> files;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* result) {
            if (info->dlpi_name == nullptr || *info->dlpi_name == '\0') return 0;
            const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(info->dlpi_name, nullptr),
                                                                       &std::free);
            static_cast<std::vector<std::string>*>(result)->emplace_back(resolved ? resolved.get()
                                                                                  : info->dlpi_name);
            return 0;
        },
        &files);
    return files;
}

}  // namespace detail

/// The environment this program runs in.
inline Environment environment() {
    Environment result;
    result.retort =
        detail::concat(RETORT_VERSION_MAJOR, '.', RETORT_VERSION_MINOR, '.', RETORT_VERSION_PATCH);
    result.torch = TORCH_VERSION;
#if defined(__clang__)
    result.compiler = "Clang " __clang_version__;
#else
    result.compiler = "GCC " __VERSION__;
#endif
    result.blas = detail::blas_among(detail::loaded_libraries());
    result.reference_blas = detail::is_reference_blas(result.blas);
    // Linked into LibTorch itself, MKL is not a separate file.
    if (at::hasMKL() && (result.blas.empty() || result.reference_blas)) {
        result.blas = "MKL";
        result.reference_blas = false;
    }
    if (result.blas.empty()) result.blas = "within LibTorch";
    result.threads = at::get_num_threads();
    result.cores = detail::cores();
    result.cuda_devices = at::hasCUDA() ? at::getNumGPUs() : 0;
    return result;
}

}  // namespace retort
