// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/flow/solution_procedure.hpp>

#include <golden.hpp>

namespace solution_procedure_test {

using namespace retort_test;
using retort::SolutionProcedureOptions;
using retort::functional::solution_procedure;

TEST_CASE("solution_procedure agrees with RepDistiller's FSP") {
    for (const golden::Case& reference : golden::cases("fsp__repdistiller")) {
        const auto student = reference.leaves("feat_s");
        CHECK(golden::agrees(reference,
                             solution_procedure(student, reference.inputs("feat_t"),
                                                SolutionProcedureOptions::rep_distiller()),
                             {{"feat_s", student}}));
    }
}

TEST_CASE("solution_procedure agrees with torchdistill's FSPLoss") {
    for (const golden::Case& reference : golden::cases("fsp__torchdistill")) {
        const auto student = reference.leaves("feat_s");
        auto options = SolutionProcedureOptions::torchdistill();
        options.weights = reference.option_list("weights");
        CHECK(golden::agrees(reference, solution_procedure(student, reference.inputs("feat_t"), options),
                             {{"feat_s", student}}));
    }
}

}  // namespace solution_procedure_test
