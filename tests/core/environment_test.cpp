// SPDX-License-Identifier: BSL-1.0
/// \file
/// The environment of a program.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core/environment.hpp>

namespace environment_test {

using namespace retort_test;
using retort::Environment;
using retort::detail::blas_among;
using retort::detail::is_reference_blas;

TEST_CASE("the environment of this program") {
    const int before = at::get_num_threads();
    at::set_num_threads(1);
    const Environment here = retort::environment();
    CHECK(here.threads == 1);
    at::set_num_threads(before);
    CHECK(here.cores >= 1);
    CHECK(here.retort == "0.1.0");
    CHECK(here.torch == TORCH_VERSION);
    CHECK(here.compiler.find_first_of("0123456789") != std::string::npos);
    CHECK_FALSE(here.blas.empty());
    CHECK(here.cuda_devices == (at::hasCUDA() ? at::getNumGPUs() : 0));
    CHECK(holds(here.text(), "LibTorch " + here.torch, "BLAS " + here.blas));
}

TEST_CASE("the library for matrix products is found among those that are loaded") {
    const std::string debian = "/usr/lib/x86_64-linux-gnu/";
    const std::string reference = debian + "blas/libblas.so.3.11.0",
                      within = debian + "openblas-pthread/libblas.so.3",
                      open = debian + "openblas-pthread/libopenblasp-r0.3.21.so",
                      mkl = "/opt/intel/libmkl_rt.so.2";
    CHECK(blas_among({"/lib/libc.so.6", reference}) == reference);
    CHECK(blas_among({reference, open}) == open);
    CHECK(blas_among({within, mkl}) == mkl);
    CHECK(blas_among({"libblas.so.3"}) == "libblas.so.3");
    CHECK(blas_among({"/lib/libcublas.so.12", "/lib/libc.so.6"}).empty());
    for (const std::string& file :
         {reference, std::string("/usr/lib64/libblas.so.3"), std::string("libblas.so.3")})
        CHECK(is_reference_blas(file));
    for (const std::string& file : {within, open, mkl, std::string()}) CHECK_FALSE(is_reference_blas(file));
}

TEST_CASE("warnings name what makes a program slow") {
    Environment slow{.blas = "/x/libblas.so.3", .reference_blas = true, .threads = 1, .cores = 8};
    REQUIRE(slow.warnings().size() == 2);
    CHECK(holds(slow.warnings()[0], "reference BLAS (/x/libblas.so.3)", "libopenblas0-pthread"));
    CHECK(holds(slow.warnings()[1], "1 of 8 cores"));
    CHECK(holds(slow.text(), "warning: matrix products"));
    CHECK(Environment{.blas = "MKL", .threads = 8, .cores = 8}.warnings().empty());
}

}  // namespace environment_test
