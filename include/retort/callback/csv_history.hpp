// SPDX-License-Identifier: BSL-1.0
/// \file
/// Writes the history as a CSV file.
#pragma once

#include <filesystem>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/detail/atomic_file.hpp>

namespace retort {

/// Writes the history as a CSV file after every epoch. The file is replaced as a whole, so that readers never see a
/// partial file. Place it after the callbacks whose columns it records.
/// \throws OutputError before the first epoch if the file cannot be written
class CsvHistory {
  public:
    explicit CsvHistory(std::filesystem::path path) : path_(std::move(path)) {}
    void on_fit_begin(FitContext&) const { detail::check_writable(path_); }
    void on_epoch_end(FitContext& context) const { detail::write_atomically(path_, context.history.csv()); }

  private:
    std::filesystem::path path_;
};

}  // namespace retort
