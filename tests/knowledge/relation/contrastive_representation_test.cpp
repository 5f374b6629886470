// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/contrastive_representation.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace contrastive_representation_test {

using namespace retort_test;
using retort::Reduction;
namespace functional = retort::functional;

namespace {

struct Outputs {
    torch::Tensor body;
};
struct IndexedBatch {
    torch::Tensor index;
};
const auto body = [](const Outputs& outputs) { return outputs.body; };

torch::Tensor buffer(const torch::nn::Module& module, const std::string& name) {
    return module.named_buffers()[name];
}

}  // namespace

TEST_CASE("a contrast bank agrees with RepDistiller's CRD over several steps") {
    for (const golden::Case& reference : golden::cases("crd__repdistiller")) {
        const auto number = [&](const char* key) { return static_cast<std::int64_t>(reference.option(key)); };
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        golden::Tensors leaves{{"feat_s", student}};
        retort::EmbeddingPair embeddings(retort::EmbeddingPairOptions{.student = student[0].size(1),
                                                                      .teacher = teacher[0].size(1),
                                                                      .size = number("feat_dim"),
                                                                      .normalize = true});
        embeddings->to(torch::kFloat64);
        for (auto& parameter : embeddings->named_parameters()) {
            const auto dot = parameter.key().find('.');
            const std::string name =
                (parameter.key().substr(0, dot) == "student" ? "embed_s.linear" : "embed_t.linear") +
                parameter.key().substr(dot);
            parameter.value().set_data(reference.parameter(name).clone());
            leaves[name] = {parameter.value()};
        }
        retort::ContrastBank bank(retort::ContrastBankOptions{.samples = number("n_data"),
                                                              .size = number("feat_dim"),
                                                              .negatives = number("nce_k"),
                                                              .temperature = reference.option("nce_t"),
                                                              .momentum = reference.option("nce_m")});
        bank->to(torch::kCPU, torch::kFloat64);
        {
            const torch::NoGradGuard no_grad;
            buffer(*bank, "student_bank").copy_(reference.parameter("memory_v1"));
            buffer(*bank, "teacher_bank").copy_(reference.parameter("memory_v2"));
        }
        auto value = torch::zeros({}, torch::kFloat64);
        for (std::size_t step = 0; step < student.size(); ++step) {
            INFO(reference.name() << ", step " << step);
            const auto loss =
                bank->contrast(embeddings->student(student[step]), embeddings->teacher(teacher[step]),
                               reference.inputs("idx")[step], reference.inputs("contrast_idx")[step])
                    .mean();
            CHECK(close(
                loss,
                reference.components("loss_per_step")[step].to(torch::kFloat64).reshape(torch::IntArrayRef{}),
                1e-8));
            CHECK(close(buffer(*bank, "student_bank"), reference.components("memory_v1_after")[step], 1e-8));
            CHECK(close(buffer(*bank, "teacher_bank"), reference.components("memory_v2_after")[step], 1e-8));
            const auto normalizers = buffer(*bank, "log_normalizers");
            CHECK(close(normalizers[0].exp(),
                        reference.components("Z_v1")[step].to(torch::kFloat64).reshape(torch::IntArrayRef{}),
                        1e-8));
            CHECK(close(normalizers[1].exp(),
                        reference.components("Z_v2")[step].to(torch::kFloat64).reshape(torch::IntArrayRef{}),
                        1e-8));
            value = value + loss;
        }
        CHECK(golden::agrees(reference, value, leaves));
    }
}

TEST_CASE("noise_contrast gives the same with the whole bank and with gathered rows") {
    torch::manual_seed(5);
    const auto vectors = torch::randn({3, 4}, torch::kFloat64).requires_grad_();
    const auto indices = torch::randint(20, {3, 5}, torch::kLong);
    const auto bank = torch::randn({20, 4}, torch::kFloat64);
    const auto far = torch::cat({bank, torch::randn({100, 4}, torch::kFloat64)});
    REQUIRE(retort::detail::against_whole_bank(bank, indices));
    REQUIRE_FALSE(retort::detail::against_whole_bank(far, indices));
    const auto normalizer = torch::tensor(1.5, torch::kFloat64);
    const auto noise = torch::tensor(-1.0, torch::kFloat64);
    const auto one = functional::noise_contrast(vectors, bank, indices, normalizer, noise);
    const auto other = functional::noise_contrast(vectors, far, indices, normalizer, noise);
    CHECK(close(one, other, 1e-12));
    const auto weights = torch::tensor({1.0, -2.0, 0.5}, torch::kFloat64);
    CHECK(close(torch::autograd::grad({(one * weights).sum()}, {vectors})[0],
                torch::autograd::grad({(other * weights).sum()}, {vectors})[0], 1e-10));
}

TEST_CASE("laws: noise_contrast, batch_contrast, queue_contrast") {
    torch::manual_seed(6);
    const auto bank = torch::randn({9, 6}, torch::kFloat64);
    const auto unit = [](const torch::Tensor& t) { return t / (t.norm(2, {1}, true) + 1e-6); };

    laws::Loss loss;
    loss.name = "noise_contrast";
    loss.value = [&](const laws::Arguments& arguments, Reduction reduction) {
        const auto& student = arguments.student.at(0);
        retort::detail::rows("test", "the feature", student);  // before `unit`
        const auto indices = torch::tensor({0, 3, 5, 8}, torch::kLong).repeat({student.size(0), 1});
        const auto values = functional::noise_contrast(
            unit(student), bank.to(student.scalar_type()), indices, torch::tensor(1.0, torch::kFloat32),
            torch::tensor(-1.0, torch::kFloat32), {.temperature = 0.5});
        return retort::detail::reduce(values, reduction);
    };
    loss.sample = laws::without_teacher(laws::random_features({6}, {6}));
    loss.reductions = {Reduction::batchmean, Reduction::sum, Reduction::none};
    loss.never_negative = true;
    loss.any_class_order = false;
    laws::hold(loss);

    loss.name = "batch_contrast";
    loss.value = [&](const laws::Arguments& arguments, Reduction reduction) {
        return functional::batch_contrast(arguments.student.at(0),
                                          retort::detail::constant(arguments.teacher.at(0)),
                                          {.temperature = 0.5, .reduction = reduction});
    };
    loss.sample = laws::random_features({6}, {6});
    laws::hold(loss);

    loss.name = "queue_contrast";
    loss.value = [&](const laws::Arguments& arguments, Reduction reduction) {
        return functional::queue_contrast(arguments.student.at(0),
                                          retort::detail::constant(arguments.teacher.at(0)), bank,
                                          {.temperature = 0.5, .reduction = reduction});
    };
    laws::hold(loss);
}

TEST_CASE("contrast with a batch and with a queue is cross-entropy over the positive and the negatives") {
    torch::manual_seed(7);
    const auto own = torch::randn({4, 3}, torch::kFloat64).requires_grad_();
    const auto other = torch::randn({4, 3}, torch::kFloat64).requires_grad_();
    const auto queue = torch::randn({5, 3}, torch::kFloat64);
    const auto diagonal = torch::arange(4);
    const auto logits = torch::mm(own, other.t()) / 0.2;
    const auto expected = torch::nn::functional::cross_entropy(logits, diagonal) +
                          torch::nn::functional::cross_entropy(logits.t(), diagonal);
    CHECK(close(functional::batch_contrast(own, other, {.temperature = 0.2}), expected, 1e-12));
    const auto with_queue = torch::cat({(own * other).sum(1, true), torch::mm(own, queue.t())}, 1) / 0.2;
    CHECK(close(functional::queue_contrast(own, other, queue, {.temperature = 0.2}),
                torch::nn::functional::cross_entropy(with_queue, torch::zeros({4}, torch::kLong)), 1e-12));
    functional::batch_contrast(own, other).backward();
    CHECK(other.grad().abs().max().item<double>() > 0);
    CHECK(functional::batch_contrast(own.slice(0, 0, 1), other.slice(0, 0, 1)).item<double>() == 0);
}

TEST_CASE("a queue replaces its oldest rows first, also across its end") {
    retort::ContrastQueue queue(retort::ContrastQueueOptions{.length = 5, .size = 2});
    const auto row = [](double x) { return torch::tensor({x, x + 0.5}).view({1, 2}); };
    const auto before = buffer(*queue, "teacher_queue").clone();
    {
        const torch::NoGradGuard no_grad;
        queue->forward(row(1), row(2));
        CHECK(same(buffer(*queue, "teacher_queue"), before));
    }
    queue->forward(torch::cat({row(1), row(2), row(3)}), torch::cat({row(10), row(20), row(30)}));
    queue->forward(torch::cat({row(4), row(5), row(6)}), torch::cat({row(40), row(50), row(60)}));
    CHECK(same(buffer(*queue, "student_queue"), torch::cat({row(6), row(2), row(3), row(4), row(5)})));
    CHECK(same(buffer(*queue, "teacher_queue"), torch::cat({row(60), row(20), row(30), row(40), row(50)})));
    CHECK(buffer(*queue, "place").item<std::int64_t>() == 1);
    const auto six = torch::randn({6, 2});
    CHECK_THROWS_AS(queue->forward(six, six), retort::ShapeError);
}

TEST_CASE("a contrast bank resumes from its buffers bit for bit, including negatives") {
    const retort::ContrastBankOptions options{
        .samples = 30, .size = 4, .negatives = 7, .weights = torch::arange(30, torch::kFloat32)};
    torch::manual_seed(8);
    retort::ContrastBank first(options);
    const auto step = [](retort::ContrastBank& bank, int i) {
        const auto vectors = torch::sin(torch::arange(12, torch::kFloat32) * (i + 1)).view({3, 4});
        return bank->forward(vectors.clone().requires_grad_(), vectors.flip({1}), torch::arange(3) + 2 * i);
    };
    step(first, 0);
    std::stringstream stored;
    torch::save(first, stored);
    torch::manual_seed(99);
    retort::ContrastBank second(options);
    torch::load(second, stored);
    for (int i = 1; i < 4; ++i) {
        CHECK(same(step(second, i), step(first, i)));
        for (const auto& each : first->named_buffers()) {
            INFO(each.key());
            CHECK(same(second->named_buffers()[each.key()], each.value()));
        }
    }
    const auto state = buffer(*first, "random").clone();
    const auto rows = buffer(*first, "student_bank").clone();
    {
        const torch::NoGradGuard no_grad;
        step(first, 5);
    }
    CHECK(same(buffer(*first, "random"), state));
    CHECK(same(buffer(*first, "student_bank"), rows));
}

TEST_CASE("moving a contrast bank to 16-bit types changes neither integer buffers nor banks") {
    retort::ContrastBank bank(retort::ContrastBankOptions{.samples = 6, .size = 3, .negatives = 2});
    const auto state = buffer(*bank, "random").clone();
    bank->to(torch::kCPU, torch::kBFloat16);
    CHECK(same(buffer(*bank, "random"), state));
    CHECK(buffer(*bank, "student_bank").scalar_type() == torch::kFloat32);
    bank->to(torch::kFloat64);
    CHECK(buffer(*bank, "student_bank").scalar_type() == torch::kFloat64);
}

TEST_CASE("a contrast bank refuses invalid input") {
    retort::ContrastBank bank(retort::ContrastBankOptions{.samples = 6, .size = 3, .negatives = 2});
    const auto vectors = torch::randn({2, 3});
    CHECK_THROWS_AS(bank->forward(vectors, vectors, torch::tensor({0, 6})), retort::ShapeError);
    CHECK_THROWS_AS(bank->forward(vectors, vectors, torch::tensor({-1, 2})), retort::ShapeError);
    CHECK_THROWS_AS(bank->forward(vectors, vectors, torch::tensor({1})), retort::ShapeError);
    CHECK_THROWS_AS(bank->forward(vectors, torch::randn({2, 4}), torch::tensor({0, 1})), retort::ShapeError);
    CHECK_THROWS_AS(retort::ContrastBank(retort::ContrastBankOptions{}), retort::ConfigError);
    CHECK_THROWS_AS(
        retort::ContrastBank(retort::ContrastBankOptions{.samples = 6, .weights = torch::ones({5})}),
        retort::ConfigError);
}

TEST_CASE("ContrastiveRepresentation trains student and embeddings with every kind of negatives") {
    const IndexedBatch batch{torch::tensor({4, 0, 7})};
    const auto try_term = [&](auto term, std::size_t buffers) {
        torch::manual_seed(9);
        const Outputs student{torch::randn({3, 2, 2, 2}).requires_grad_()};
        const Outputs teacher{torch::randn({3, 5})};
        CHECK_FALSE(term.prepared());
        term.prepare(student, &teacher, batch);
        CHECK(term.module()->buffers().size() == buffers);
        REQUIRE(term.module()->parameters().size() == 4);
        term(student, teacher, batch).backward();
        CHECK(student.body.grad().abs().max().item<double>() > 0);
        for (const torch::Tensor& parameter : term.module()->parameters()) {
            CHECK(parameter.grad().abs().max().item<double>() > 0);
        }
        CHECK_THROWS_AS(term(Outputs{torch::randn({3, 9})}, teacher, batch), retort::ShapeError);
    };
    try_term(
        retort::ContrastiveRepresentation{body, body, retort::BankNegatives{.samples = 8, .negatives = 5}},
        4);
    try_term(retort::ContrastiveRepresentation{body, body, retort::QueueNegatives{.length = 6}}, 3);
    try_term(retort::ContrastiveRepresentation{body, body, retort::InBatchNegatives{}}, 0);
    CHECK_THROWS_AS((retort::ContrastiveRepresentation{body, body, retort::BankNegatives{}}),
                    retort::ConfigError);
}

TEST_CASE("an alias table distributes every weight exactly") {
    torch::manual_seed(10);
    const auto spiky = torch::rand({1000}, torch::kFloat64).pow(8);
    auto with_zeros = spiky.clone();
    with_zeros.slice(0, 0, 500).zero_();
    auto single = torch::zeros({7}, torch::kFloat64);
    single[3] = 2.5;
    for (const auto& weights : {torch::ones({5}, torch::kFloat64), torch::tensor({1.0}, torch::kFloat64),
                                torch::tensor({3.0, 1.0, 0.5, 2.0}, torch::kFloat64), spiky, with_zeros,
                                single, torch::arange(1, 300, torch::kFloat64), spiky.flip({0})}) {
        const auto table = retort::detail::alias_table(weights);
        const auto accept = table.accept.to(torch::kFloat64);
        const auto n = static_cast<double>(weights.numel());
        const auto spent = (accept / n).index_add(0, table.alias, (1 - accept) / n);
        CHECK(close(spent, weights / weights.sum(), 0, 1e-7 / n * 10));
        CHECK(accept.min().item<double>() >= 0);
        CHECK(accept.max().item<double>() <= 1);
    }
    CHECK_THROWS_AS(retort::detail::alias_table(torch::zeros({3})), retort::ConfigError);
    CHECK_THROWS_AS(retort::detail::alias_table(torch::tensor({1.0, -1.0, 2.0})), retort::ConfigError);
    CHECK_THROWS_AS(retort::detail::alias_table(torch::tensor({1.0, std::nan("")})), retort::ConfigError);
}

TEST_CASE("random numbers are those of SplitMix64, and draws follow the weights") {
    // The first numbers from seed 1234567, as published by the generator's authors.
    auto start = torch::tensor({std::int64_t{1234567}});
    const std::array<std::uint64_t, 5> known{6457827717110365317U, 3203168211198807973U, 9817491932198370423U,
                                             4593380528125082431U, 16408922859458223821U};
    const auto bits = retort::detail::random_bits(start, 5);
    for (std::int64_t i = 0; i < 5; ++i) {
        CHECK(static_cast<std::uint64_t>(bits[i].item<std::int64_t>()) == known[static_cast<std::size_t>(i)]);
    }
    retort::detail::skip_random_bits(start, 3);
    CHECK(same(retort::detail::random_bits(start, 2), bits.slice(0, 3)));

    const std::int64_t count = 200000;
    const auto many = retort::detail::random_bits(start, count);
    const auto uniform = retort::detail::integers_of(many, 10);
    CHECK(uniform.min().item<std::int64_t>() == 0);
    CHECK(uniform.max().item<std::int64_t>() == 9);
    // Deviations of 5 standard deviations would be 0.0034 at most.
    CHECK(close(torch::bincount(uniform).to(torch::kFloat64) / count, torch::full({10}, 0.1, torch::kFloat64),
                0, 0.0034));
    const auto weights = torch::tensor({0.5, 0.05, 0.25, 0.2}, torch::kFloat64);
    const auto drawn = retort::detail::draw(retort::detail::alias_table(weights), many);
    CHECK(close(torch::bincount(drawn, {}, 4).to(torch::kFloat64) / count, weights, 0, 0.0056));
}

}  // namespace contrastive_representation_test
