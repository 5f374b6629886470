// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/flow/singular_vectors.hpp>
#include <retort/knowledge/flow/solution_procedure.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/relation/correlation_congruence.hpp>
#include <retort/knowledge/relation/probabilistic_transfer.hpp>
#include <retort/knowledge/relation/relational.hpp>
#include <retort/knowledge/relation/similarity_preserving.hpp>
#include <retort/tap/taps.hpp>

namespace relation_terms_test {

using namespace retort_test;
namespace functional = retort::functional;

namespace {

struct Outputs {
    torch::Tensor body;
    std::vector<torch::Tensor> stages;
};
constexpr auto body = retort::tap<&Outputs::body>;

Outputs outputs(std::int64_t batch, std::int64_t width) {
    return {torch::randn({batch, width}),
            {torch::randn({batch, 4, 4, 4}), torch::randn({batch, 5, 4, 4}), torch::randn({batch, 6, 2, 4})}};
}

std::string message_of(const std::function<void()>& function) {
    try {
        function();
    } catch (const retort::ShapeError& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("terms on relations compute their function of the tapped features") {
    torch::manual_seed(15);
    const Outputs student = outputs(5, 6);
    const Outputs teacher = outputs(5, 9);
    const std::pair<torch::Tensor, torch::Tensor> batch{torch::Tensor(), torch::tensor({0, 1, 0, 2, 1})};
    const auto check = [&](const auto& term, const torch::Tensor& expected, const std::string& name) {
        CHECK(same(term(student, teacher, batch), expected));
        CHECK(term.name() == name);
        CHECK_NOTHROW(term.check());
    };
    check(retort::SimilarityPreserving{body, body},
          functional::similarity_preserving(student.body, teacher.body), "similarity_preserving(body->body)");
    check(retort::Relational{body, body, {.angle_weight = 0}},
          functional::relational(student.body, teacher.body, {.angle_weight = 0}), "relational(body->body)");
    check(retort::HardDarkRank{body, body}, functional::hard_dark_rank(student.body, teacher.body),
          "hard_dark_rank(body->body)");
    check(retort::ProbabilisticTransfer{body, body},
          functional::probabilistic_transfer(student.body, teacher.body),
          "probabilistic_transfer(body->body)");
    check(retort::CorrelationCongruence{body, body},
          functional::correlation_congruence(student.body, teacher.body),
          "correlation_congruence(body->body)");
    check(retort::InformationFlow{body, body, retort::InformationFlowOptions::paper()},
          functional::information_flow(student.body, teacher.body, retort::InformationFlowOptions::paper()),
          "information_flow(body->body)");
    check(retort::ClassNeighbors{body}, functional::class_neighbors(student.body, batch.second),
          "class_neighbors(body)");
    const retort::Taps stages{retort::tap<&Outputs::stages, 0>, retort::tap<&Outputs::stages, 1>,
                              retort::tap<&Outputs::stages, 2>};
    check(retort::SolutionProcedure{stages, stages},
          functional::solution_procedure(student.stages, teacher.stages),
          "solution_procedure(stages[0]+stages[1]+stages[2]->stages[0]+stages[1]+stages[2])");
    check(retort::SingularVectors{stages, stages, retort::SingularVectorsOptions::mdistiller()},
          functional::singular_vectors(student.stages, teacher.stages,
                                       retort::SingularVectorsOptions::mdistiller()),
          "singular_vectors(stages[0]+stages[1]+stages[2]->stages[0]+stages[1]+stages[2])");
}

TEST_CASE("supervised probabilistic transfer is a sum of two terms") {
    torch::manual_seed(16);
    const Outputs student = outputs(4, 6);
    const Outputs teacher = outputs(4, 9);
    const std::pair<torch::Tensor, torch::Tensor> batch{torch::Tensor(), torch::tensor({0, 1, 0, 2})};
    const retort::Sum both{retort::ProbabilisticTransfer{body, body}, 0.1 * retort::ClassNeighbors{body}};
    CHECK(close(both(student, teacher, batch, retort::Progress{}),
                functional::probabilistic_transfer(student.body, teacher.body) +
                    0.1 * functional::class_neighbors(student.body, batch.second)));
}

TEST_CASE("errors of terms on relations name term, taps and shapes") {
    const retort::SimilarityPreserving term{body, body};
    const std::string message = message_of([&] { term(outputs(4, 6), outputs(3, 6), 0); });
    CHECK(message.starts_with("similarity_preserving(body->body): expected the features of one batch"));
    CHECK(message.find("[4, 6]") != std::string::npos);
    CHECK(message.find("[3, 6]") != std::string::npos);
    CHECK(message_of([&] { term(Outputs{}, outputs(3, 6), 0); }).find("undefined") != std::string::npos);
    CHECK(message_of([&] { term(Outputs{torch::ones({3}), {}}, outputs(3, 6), 0); }).find("[batch, ...]") !=
          std::string::npos);
    CHECK(message_of([&] {
              term(Outputs{torch::ones({3, 2}, torch::kLong), {}}, outputs(3, 6), 0);
          }).find("floating-point") != std::string::npos);
    const auto one = torch::randn({2, 3, 4, 4});
    CHECK(message_of([&] { functional::solution_procedure({one}, {one}); }).find("at least two layers") !=
          std::string::npos);
    CHECK(message_of([&] {
              functional::solution_procedure({one, one}, {one, torch::randn({2, 5, 4, 4})});
          }).find("[2, 5, 4, 4]") != std::string::npos);
    CHECK_THROWS_AS(functional::solution_procedure({one, one}, {one, one}, {.weights = {1, 2}}),
                    retort::ConfigError);
    CHECK_THROWS_AS(functional::class_neighbors(torch::randn({3, 2}), torch::tensor({1, 2})),
                    retort::ShapeError);
}

TEST_CASE("invalid options of terms on relations are refused on construction") {
    CHECK_THROWS_AS((retort::SimilarityPreserving{body, body, {.norm = 3}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::SimilarityPreserving{body, body, {.epsilon = 0}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::Relational{body, body, {.epsilon = -1}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::Relational{body, body, {.block = -1}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::HardDarkRank{body, body, {.length = 0}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::ProbabilisticTransfer{body, body, {.kernel = {.sigma = 0}}}),
                    retort::ConfigError);
    CHECK_THROWS_AS((retort::CorrelationCongruence{body, body, {.reduction = retort::Reduction::none}}),
                    retort::ConfigError);
    CHECK_THROWS_AS((retort::InformationFlow{body, body, {.kernel = {.degree = -1}}}), retort::ConfigError);
    CHECK_THROWS_AS((retort::SingularVectors{body, body, {.count = 0}}), retort::ConfigError);
}

}  // namespace relation_terms_test
