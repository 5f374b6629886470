// SPDX-License-Identifier: BSL-1.0
/// \file
/// The laws of all losses, for any loss that defines how it is called and what theory promises:
/// gradients equal to finite differences, and only where they belong; zero at equality and never negative
/// where theory says so; finite for huge, equal, zero and single rows; 16-bit types; any memory layout; any
/// order of the samples; reductions that agree; no wait for the device; errors for what does not fit.
#pragma once

#include <retort_test.hpp>
#include <test_device.hpp>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort_test::laws {

using retort::Reduction;

/// The arguments of a loss.
struct Arguments {
    std::vector<torch::Tensor> student;      ///< take gradients
    std::vector<torch::Tensor> teacher{};    ///< are constants
    torch::Tensor target{};                  ///< class indices; may be undefined
    std::vector<torch::Tensor> learnable{};  ///< the term's own parameters, take gradients
};

/// A loss and what theory promises of it.
struct Loss {
    std::string name;
    std::function<torch::Tensor(const Arguments&, Reduction)> value;
    std::function<Arguments(std::int64_t batch)>
        sample;  ///< random arguments in float64; small, as everything is tried
    std::vector<Reduction> reductions{Reduction::batchmean};  ///< the supported ones, the default first
    double elements = 0;        ///< per sample, over which `Reduction::mean` averages besides the samples
    bool none_is_mean = false;  ///< `Reduction::none` averages a sample's elements too, and does not sum them
    bool never_negative = false;
    bool zero_at_equality = false;  ///< value and gradient, where student and teacher are equal
    double zero = 1e-10;            ///< the tolerance for zero there
    bool whole_gradient = true;     ///< false where parts of the formula are constants by design
    bool any_sample_order = true;
    bool any_class_order = true;  ///< dimension 1 is that of the classes
    bool equal_sizes = true;      ///< refuses a teacher of other sizes
    bool waits = false;           ///< an underlying operator of LibTorch reads values back
    double extreme = 1e4;         ///< the largest input that it must handle
    double low_precision =
        2e-2;  ///< how far 16-bit results may be off, relative to float32 on the rounded inputs
};

/// Random logits of both sides, and targets.
inline std::function<Arguments(std::int64_t)> random_logits(std::int64_t classes = 5) {
    return [classes](std::int64_t batch) {
        const auto random = [&] { return 2 * torch::randn({batch, classes}, torch::kFloat64); };
        Arguments result{.student = {random()}, .teacher = {random()}};
        result.target = torch::randint(classes, {batch}, torch::kLong);
        return result;
    };
}

/// Random features of these shapes after the batch, and targets.
inline std::function<Arguments(std::int64_t)> random_features(std::vector<std::int64_t> student,
                                                              std::vector<std::int64_t> teacher) {
    return [student, teacher](std::int64_t batch) {
        const auto random = [&](std::vector<std::int64_t> sizes) {
            sizes.insert(sizes.begin(), batch);
            return torch::randn(sizes, torch::kFloat64);
        };
        Arguments result{.student = {random(student)}, .teacher = {random(teacher)}};
        result.target = torch::randint(3, {batch}, torch::kLong);
        return result;
    };
}

/// A function of two features for the law suite: `function(student, teacher, options)`. No theory is
/// promised yet.
template <class Function, class Options>
Loss of_function(std::string name, Function function, Options options, std::vector<Reduction> reductions,
                 std::function<Arguments(std::int64_t)> sample) {
    Loss result;
    result.name = std::move(name);
    result.value = [function, options](const Arguments& arguments, Reduction reduction) {
        Options now = options;
        now.reduction = reduction;
        return function(arguments.student.at(0), arguments.teacher.at(0), now);
    };
    result.sample = std::move(sample);
    result.reductions = std::move(reductions);
    return result;
}

/// The same samples for a loss that needs no teacher.
inline std::function<Arguments(std::int64_t)> without_teacher(std::function<Arguments(std::int64_t)> sample) {
    return [sample](std::int64_t batch) {
        Arguments result = sample(batch);
        result.teacher.clear();
        return result;
    };
}

/// The same with every floating-point tensor of `student` and `teacher` changed.
template <class Change>
Arguments changed(Arguments arguments, Change&& change) {
    for (auto* side : {&arguments.student, &arguments.teacher}) {
        for (torch::Tensor& each : *side) each = change(each);
    }
    return arguments;
}

/// The same in another type, the learnable parts too.
inline Arguments in_type(Arguments arguments, torch::ScalarType type) {
    for (torch::Tensor& each : arguments.learnable) each = each.to(type);
    return changed(std::move(arguments), [&](const torch::Tensor& each) { return each.to(type); });
}

/// Value and gradients of a call.
struct Outcome {
    torch::Tensor value;
    std::vector<torch::Tensor> gradients;  ///< of student and learnable parts; zeros where there is none
    bool reached_student = false;          ///< some gradient to the student is not zero
    bool reached_teacher = false;          ///< there is a gradient to the teacher
};

inline Outcome outcome(const Loss& loss, const Arguments& arguments, Reduction reduction) {
    Arguments leaves = arguments;
    std::vector<torch::Tensor> inputs;
    for (auto* side : {&leaves.student, &leaves.learnable, &leaves.teacher}) {
        for (torch::Tensor& each : *side) {
            each = each.detach().requires_grad_();  // shares the memory, and so its layout
            inputs.push_back(each);
        }
    }
    Outcome result;
    result.value = loss.value(leaves, reduction);
    const auto total = result.value.dim() == 0 ? result.value : result.value.sum();
    if (!total.requires_grad()) throw std::logic_error(loss.name + ": no gradient at all");
    auto gradients = torch::autograd::grad({total}, inputs, {}, c10::nullopt, false, /*allow_unused=*/true);
    const std::size_t own = leaves.student.size() + leaves.learnable.size();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        if (i >= own) {
            result.reached_teacher = result.reached_teacher || gradients[i].defined();
            continue;
        }
        if (!gradients[i].defined()) gradients[i] = torch::zeros_like(inputs[i]);
        if (i < leaves.student.size()) {
            result.reached_student = result.reached_student || gradients[i].abs().sum().item<double>() > 0;
        }
        result.gradients.push_back(gradients[i]);
    }
    return result;
}
inline Outcome outcome(const Loss& loss, const Arguments& arguments) {
    return outcome(loss, arguments, loss.reductions.at(0));
}

inline bool finite(const Outcome& result) {
    bool all = torch::isfinite(result.value).all().item<bool>();
    for (const torch::Tensor& each : result.gradients) all = all && torch::isfinite(each).all().item<bool>();
    return all;
}

/// The gradients agree with finite differences in float64.
inline void gradients_are_right(const Loss& loss) {
    INFO("finite differences");
    constexpr double step = 1e-5;
    for (const Reduction reduction : loss.reductions) {
        const Arguments arguments = loss.sample(3);
        const Outcome found = outcome(loss, arguments, reduction);
        Arguments moved = arguments;
        std::size_t position = 0;
        for (auto* side : {&moved.student, &moved.learnable}) {
            for (torch::Tensor& each : *side) {
                each = each.clone();  // contiguous
                const auto flat = each.view(-1);
                const auto expected = torch::zeros_like(each);
                for (std::int64_t i = 0; i < flat.numel(); ++i) {
                    const double at = flat[i].item<double>();
                    const auto value = [&](double x) {
                        flat[i].fill_(x);
                        return loss.value(moved, reduction).sum().item<double>();
                    };
                    expected.view(-1)[i] = (value(at + step) - value(at - step)) / (2 * step);
                    flat[i].fill_(at);
                }
                const double size = std::max(1.0, expected.abs().max().item<double>());
                CHECK(close(found.gradients.at(position), expected, 0, 1e-6 * size));
                ++position;
            }
        }
    }
}

/// The student gets a gradient, the teacher none.
inline void gradients_go_to_the_student(const Loss& loss) {
    INFO("where the gradients go");
    const Outcome found = outcome(loss, loss.sample(4));
    CHECK(found.reached_student);
    CHECK_FALSE(found.reached_teacher);
}

/// Zero at equality, never negative.
inline void values_are_right(const Loss& loss) {
    INFO("sign");
    for (int i = 0; i < 8; ++i) {
        const Arguments arguments = loss.sample(4);
        if (loss.never_negative)
            CHECK(loss.value(arguments, loss.reductions[0]).min().item<double>() >= -loss.zero);
        if (loss.zero_at_equality) {
            Arguments equal = arguments;
            equal.teacher = equal.student;
            const Outcome found = outcome(loss, equal);
            CHECK(found.value.abs().max().item<double>() <= loss.zero);
            for (const torch::Tensor& each : found.gradients)
                CHECK(each.abs().max().item<double>() <= loss.zero);
        }
    }
}

/// Finite values and gradients for huge inputs.
inline void extremes_are_finite(const Loss& loss) {
    const Arguments arguments = loss.sample(4);
    const double most = loss.extreme;
    std::vector<std::pair<std::string, Arguments>> cases;
    cases.emplace_back(
        "random", changed(arguments, [&](const torch::Tensor& t) { return torch::randn_like(t) * most; }));
    cases.emplace_back("signs", changed(arguments, [&](const torch::Tensor& t) {
                           return torch::randn_like(t).sign() * most;
                       }));
    Arguments opposite =
        changed(arguments, [&](const torch::Tensor& t) { return torch::randn_like(t).sign() * most; });
    for (std::size_t i = 0; i < std::min(opposite.student.size(), opposite.teacher.size()); ++i) {
        if (opposite.student[i].sizes() == opposite.teacher[i].sizes())
            opposite.teacher[i] = -opposite.student[i];
    }
    cases.emplace_back("opposite signs", opposite);
    const bool logits = arguments.target.defined() && arguments.target.dim() == 1 &&
                        !arguments.student.empty() && arguments.student[0].dim() == 2;
    if (logits) {
        for (const double student : {1.0, -1.0}) {
            for (const double teacher : {1.0, -1.0}) {
                const auto certain = [&](const torch::Tensor& like, double sign) {
                    return torch::full_like(like, -sign * most)
                        .scatter(1, arguments.target.unsqueeze(1), sign * most);
                };
                Arguments saturated = arguments;
                for (auto& each : saturated.student) each = certain(each, student);
                for (auto& each : saturated.teacher) each = certain(each, teacher);
                cases.emplace_back("saturated", saturated);
            }
        }
    }
    for (const auto& [name, each] : cases) {
        for (const auto type : {torch::kFloat64, torch::kFloat32}) {
            INFO("huge inputs: " << name << ", " << type);
            CHECK(finite(outcome(loss, in_type(each, type))));
        }
    }
    Arguments one_sided = arguments;
    for (auto& each : one_sided.student) each = torch::full_like(each, most);
    for (auto& each : one_sided.teacher) each = torch::full_like(each, -most);
    for (const auto type : {torch::kFloat64, torch::kFloat32}) {
        INFO("huge and equal inputs, " << type);
        CHECK(finite(outcome(loss, in_type(one_sided, type))));
    }
}

/// Finite values and gradients for one sample, equal rows, rows of zeros and absent classes.
inline void degenerate_batches_are_finite(const Loss& loss) {
    std::vector<std::pair<std::string, Arguments>> cases;
    cases.emplace_back("one sample", loss.sample(1));
    const Arguments arguments = loss.sample(4);
    const auto equal_rows = [](const torch::Tensor& t) { return t.slice(0, 0, 1).expand(t.sizes()).clone(); };
    const auto zero_row = [](const torch::Tensor& t) {
        auto result = t.clone();
        result[0].zero_();
        return result;
    };
    const auto zeros = [](const torch::Tensor& t) { return torch::zeros_like(t); };
    cases.emplace_back("equal rows", changed(arguments, equal_rows));
    for (const double size : {1e-20, 1e-40, 1e-60}) {
        cases.emplace_back(retort::detail::concat("rows of size ", size),
                           changed(arguments, [&](const torch::Tensor& t) { return t * size; }));
    }
    cases.emplace_back("rows of zeros on both sides", changed(arguments, zero_row));
    cases.emplace_back("all zeros", changed(arguments, zeros));
    Arguments student_row = arguments, teacher_row = arguments, student_zeros = arguments,
              teacher_zeros = arguments;
    for (auto& each : student_row.student) each = zero_row(each);
    for (auto& each : teacher_row.teacher) each = zero_row(each);
    for (auto& each : student_zeros.student) each = zeros(each);
    for (auto& each : teacher_zeros.teacher) each = zeros(each);
    cases.emplace_back("a row of zeros of the student", student_row);
    cases.emplace_back("a row of zeros of the teacher", teacher_row);
    cases.emplace_back("zeros of the student", student_zeros);
    cases.emplace_back("zeros of the teacher", teacher_zeros);
    Arguments equal = arguments;
    if (loss.equal_sizes && equal.student.size() == equal.teacher.size()) {
        equal.teacher = equal.student;
        cases.emplace_back("student equals teacher", equal);
    }
    if (arguments.target.defined()) {
        Arguments one_class = arguments;
        one_class.target = torch::zeros_like(one_class.target);
        cases.emplace_back("absent classes", one_class);
    }
    for (const auto& [name, each] : cases) {
        for (const auto type : {torch::kFloat64, torch::kFloat32}) {
            INFO(name << ", " << type);
            CHECK(finite(outcome(loss, in_type(each, type))));
        }
    }
}

/// float32, bfloat16 and float16 agree with float64 and float32, as far as their inputs allow.
inline void low_precision_agrees(const Loss& loss) {
    const Arguments arguments = loss.sample(4);
    const auto compare = [&](const Outcome& found, const Outcome& expected, double tolerance) {
        CHECK(finite(found));
        const auto largest = [](const torch::Tensor& t) {
            return std::max(1e-3, t.abs().max().item<double>());
        };
        const auto double_value = expected.value.to(torch::kFloat64);
        CHECK(close(found.value.to(torch::kFloat64), double_value, 0, tolerance * largest(double_value)));
        for (std::size_t i = 0; i < found.gradients.size(); ++i) {
            const auto expected_gradient = expected.gradients[i].to(torch::kFloat64);
            CHECK(close(found.gradients[i].to(torch::kFloat64), expected_gradient, 0,
                        tolerance * largest(expected_gradient)));
        }
    };
    {
        INFO("float32");
        const Arguments rounded = in_type(arguments, torch::kFloat32);
        compare(outcome(loss, rounded), outcome(loss, in_type(rounded, torch::kFloat64)), 1e-3);
    }
    for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
        INFO(type);
        const Arguments rounded = in_type(arguments, type);
        try {
            const Outcome found = outcome(loss, rounded);
            CHECK(found.gradients.at(0).scalar_type() == type);
            compare(found, outcome(loss, in_type(rounded, torch::kFloat32)), loss.low_precision);
            const auto huge = changed(arguments, [&](const torch::Tensor& t) {
                return torch::randn_like(t).sign() * loss.extreme;
            });
            CHECK(finite(outcome(loss, in_type(huge, type))));
        } catch (const c10::Error& error) {
            if (std::string_view(error.what()).find("not implemented for") == std::string_view::npos) throw;
            WARN(loss.name << ": skipped in " << type
                           << ", this LibTorch says: " << error.what_without_backtrace());
        }
    }
}

/// Student and teacher of different types are promoted as LibTorch promotes them; the gradients are of the student's
/// type. What is not floating-point is refused, with the name of the loss.
inline void types_agree(const Loss& loss) {
    const Arguments arguments = loss.sample(4);
    if (arguments.teacher.empty()) return;
    const auto mixed = [&](torch::ScalarType student, torch::ScalarType teacher) {
        Arguments result = arguments;
        for (auto& each : result.student) each = each.to(student);
        for (auto& each : result.learnable) each = each.to(student);
        for (auto& each : result.teacher) each = each.to(teacher);
        return result;
    };
    using Types = std::pair<torch::ScalarType, torch::ScalarType>;
    for (const auto& [student, teacher] :
         {Types{torch::kFloat32, torch::kFloat64}, Types{torch::kFloat64, torch::kFloat32},
          Types{torch::kBFloat16, torch::kFloat32}, Types{torch::kFloat32, torch::kBFloat16},
          Types{torch::kBFloat16, torch::kFloat16}}) {
        INFO("a student of " << student << " and a teacher of " << teacher);
        for (const Reduction reduction : loss.reductions) {
            const Arguments given = mixed(student, teacher);
            Outcome found;
            REQUIRE_NOTHROW(found = outcome(loss, given, reduction));
            CHECK(finite(found));
            CHECK(found.gradients.at(0).scalar_type() == student);
            const auto promoted = torch::promoteTypes(student, teacher);
            CHECK(found.value.scalar_type() == promoted);
            // In 16 bits an order among close values, as some losses take it, may be another one; so may the value.
            const Outcome expected = outcome(loss, in_type(given, promoted), reduction);
            const double most = std::max(1e-3, expected.value.abs().max().item<double>());
            CHECK(close(found.value, expected.value, 0, loss.low_precision * most));
        }
    }
    for (const bool of_student : {true, false}) {
        INFO("integers of the " << (of_student ? "student" : "teacher"));
        Arguments integers = arguments;
        for (auto& each : of_student ? integers.student : integers.teacher)
            each = each.mul(3).to(torch::kLong);
        std::string words = "no ShapeError";
        try {
            loss.value(integers, loss.reductions[0]);
        } catch (const retort::ShapeError& error) {
            words = error.what();
        }
        INFO(words);
        CHECK(words.find("floating-point") != std::string::npos);
        const std::string named = words.substr(0, words.find_first_of(": ("));
        CHECK(loss.name.find(named) != std::string::npos);
    }
}

/// The layout in memory does not matter.
inline void layouts_agree(const Loss& loss) {
    const Arguments arguments = loss.sample(4);
    const Outcome expected = outcome(loss, arguments);
    const auto compare = [&](const std::string& name, auto change) {
        INFO("layout: " << name);
        const Outcome found = outcome(loss, changed(arguments, change));
        CHECK(close(found.value, expected.value, 1e-10, 1e-12));
        for (std::size_t i = 0; i < found.gradients.size(); ++i) {
            CHECK(close(found.gradients[i], expected.gradients[i], 1e-9, 1e-11));
        }
    };
    compare("transposed", [](const torch::Tensor& t) {
        return t.dim() < 2 ? t : t.transpose(0, -1).contiguous().transpose(0, -1);
    });
    compare("with gaps", [](const torch::Tensor& t) { return torch::stack({t, t + 1}, -1).select(-1, 0); });
    compare("channels last", [](const torch::Tensor& t) {
        return t.dim() == 4 ? t.contiguous(at::MemoryFormat::ChannelsLast) : t;
    });
}

/// The order of the samples, and that of the classes, does not matter.
inline void order_does_not_matter(const Loss& loss) {
    const Arguments arguments = loss.sample(5);
    const Outcome expected = outcome(loss, arguments);
    const auto compare = [&](const Arguments& permuted, const torch::Tensor& order, std::int64_t dimension) {
        const Outcome found = outcome(loss, permuted);
        CHECK(close(found.value, expected.value, 1e-9, 1e-11));
        for (std::size_t i = 0; i < arguments.student.size(); ++i) {
            CHECK(
                close(found.gradients[i], expected.gradients[i].index_select(dimension, order), 1e-8, 1e-11));
        }
    };
    if (loss.any_sample_order) {
        INFO("order of the samples");
        const auto order = on_device(torch::tensor({3, 0, 4, 2, 1}, torch::kLong));
        Arguments permuted =
            changed(arguments, [&](const torch::Tensor& t) { return t.index_select(0, order); });
        if (permuted.target.defined()) permuted.target = permuted.target.index_select(0, order);
        compare(permuted, order, 0);
    }
    if (loss.any_class_order) {
        INFO("order of the classes");
        const auto order = on_device(torch::randperm(arguments.student.at(0).size(1), torch::kLong));
        Arguments permuted =
            changed(arguments, [&](const torch::Tensor& t) { return t.index_select(1, order); });
        if (permuted.target.defined()) permuted.target = order.argsort().index_select(0, permuted.target);
        compare(permuted, order, 1);
    }
}

/// The reductions agree with each other.
inline void reductions_agree(const Loss& loss) {
    INFO("reductions");
    const Arguments arguments = loss.sample(4);
    const auto has = [&](Reduction reduction) {
        return std::find(loss.reductions.begin(), loss.reductions.end(), reduction) != loss.reductions.end();
    };
    for (const Reduction reduction : loss.reductions) {
        CHECK(loss.value(arguments, reduction).dim() == (reduction == Reduction::none ? 1 : 0));
    }
    if (!has(Reduction::none)) return;
    auto each = loss.value(arguments, Reduction::none);
    REQUIRE(each.sizes() == torch::IntArrayRef{4});
    if (loss.none_is_mean) each = each * loss.elements;
    if (has(Reduction::sum)) CHECK(close(loss.value(arguments, Reduction::sum), each.sum(), 1e-10, 1e-12));
    if (has(Reduction::batchmean))
        CHECK(close(loss.value(arguments, Reduction::batchmean), each.mean(), 1e-10, 1e-12));
    if (has(Reduction::mean)) {
        REQUIRE(loss.elements > 0);
        CHECK(close(loss.value(arguments, Reduction::mean), each.mean() / loss.elements, 1e-10, 1e-12));
    }
    // A sample's loss depends only on that sample if theory says so, but it always moves with the sample.
    if (loss.any_sample_order) {
        const auto order = on_device(torch::tensor({2, 0, 3, 1}, torch::kLong));
        Arguments permuted =
            changed(arguments, [&](const torch::Tensor& t) { return t.index_select(0, order); });
        if (permuted.target.defined()) permuted.target = permuted.target.index_select(0, order);
        CHECK(close(loss.value(permuted, Reduction::none),
                    loss.value(arguments, Reduction::none).index_select(0, order), 1e-9, 1e-11));
    }
}

/// Nothing waits for the device: no value is read back, no size depends on values.
inline void nothing_waits(const Loss& loss) {
    Arguments arguments = loss.sample(4);
    for (auto& each : arguments.student) each.requires_grad_();
    for (const Reduction reduction : loss.reductions) {
        OperatorCount count;
        const auto value = loss.value(arguments, reduction);
        value.backward(torch::ones_like(value));
        count.stop();
        for (const char* name : {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero",
                                 "aten::nonzero", "aten::equal", "aten::masked_select", "aten::_unique2"}) {
            INFO(name);
            CHECK(count.of(name) == 0);
        }
    }
}

/// Mismatches are refused with a message.
inline void misfits_are_refused(const Loss& loss) {
    const Arguments arguments = loss.sample(4);
    const Reduction reduction = loss.reductions.at(0);
    {
        INFO("an empty batch");
        Arguments empty = changed(arguments, [](const torch::Tensor& t) { return t.slice(0, 0, 0); });
        if (empty.target.defined()) empty.target = empty.target.slice(0, 0, 0);
        CHECK_THROWS_AS(loss.value(empty, reduction), retort::Error);
    }
    {
        INFO("an undefined tensor of the student");
        Arguments missing = arguments;
        missing.student.at(0) = torch::Tensor();
        CHECK_THROWS_AS(loss.value(missing, reduction), retort::Error);
    }
    if (arguments.teacher.empty()) return;
    {
        INFO("an undefined tensor of the teacher");
        Arguments missing = arguments;
        missing.teacher.at(0) = torch::Tensor();
        CHECK_THROWS_AS(loss.value(missing, reduction), retort::Error);
    }
    {
        INFO("a teacher of another batch");
        Arguments other = arguments;
        for (auto& each : other.teacher) each = each.slice(0, 0, 3);
        CHECK_THROWS_AS(loss.value(other, reduction), retort::Error);
    }
    if (loss.equal_sizes) {
        INFO("a teacher of other sizes");
        Arguments other = arguments;
        for (auto& each : other.teacher) each = torch::cat({each, each}, 1);
        CHECK_THROWS_AS(loss.value(other, reduction), retort::Error);
    }
}

/// The same everywhere on `place`.
inline Arguments on(Arguments arguments, const at::Device& place) {
    for (auto* side : {&arguments.student, &arguments.teacher, &arguments.learnable}) {
        for (torch::Tensor& each : *side) each = each.to(place);
    }
    if (arguments.target.defined()) arguments.target = arguments.target.to(place);
    return arguments;
}

/// The device of the tests computes in float32 what the CPU computes, up to rounding.
inline void devices_agree(const Loss& loss) {
    INFO("on " << device() << " and on the CPU");
    const Arguments arguments = in_type(on(loss.sample(4), at::kCPU), torch::kFloat32);
    const auto agree = [](const torch::Tensor& found, const torch::Tensor& expected) {
        const double largest = std::max(1.0, expected.abs().max().item<double>());
        CHECK(close(found, expected, 1e-4, 1e-5 * largest));
    };
    const Outcome expected = outcome(loss, arguments), found = outcome(loss, on(arguments, device()));
    CHECK(found.value.device() == device());
    agree(found.value, expected.value);
    for (std::size_t i = 0; i < expected.gradients.size(); ++i)
        agree(found.gradients[i], expected.gradients[i]);
}

/// All of them, on the device of the tests.
inline void hold(Loss loss) {
    const auto sample = loss.sample;
    if (!device().is_cpu()) {
        devices_agree(loss);
        loss.sample = [sample](std::int64_t batch) { return on(sample(batch), device()); };
    }
    INFO("loss: " << loss.name);
    torch::manual_seed(1);
    if (loss.whole_gradient) gradients_are_right(loss);
    gradients_go_to_the_student(loss);
    values_are_right(loss);
    extremes_are_finite(loss);
    degenerate_batches_are_finite(loss);
    low_precision_agrees(loss);
    types_agree(loss);
    layouts_agree(loss);
    order_does_not_matter(loss);
    reductions_agree(loss);
    if (!loss.waits) nothing_waits(loss);
    misfits_are_refused(loss);
}

/// Outputs of a network with only logits.
struct Outputs {
    torch::Tensor logits;
};

/// A term on logits, called as a `Knowledge` calls it.
template <class Term>
torch::Tensor call(const Term& term, const Arguments& arguments) {
    const std::pair<torch::Tensor, torch::Tensor> batch{torch::Tensor(), arguments.target};
    const Outputs teacher{arguments.teacher.empty() ? torch::Tensor() : arguments.teacher[0]};
    return retort::detail::call_term(term, Outputs{arguments.student.at(0)}, teacher, batch,
                                     retort::Progress{});
}

/// A term on logits for the law suite. One without a choice of reductions takes
/// `{Reduction::batchmean}`.
template <class Term>
Loss of_term(const Term& term, std::vector<Reduction> reductions) {
    Loss result;
    result.name = term.name();
    result.value = [term](const Arguments& arguments, Reduction reduction) {
        Term now = term;
        if constexpr (requires { now.reduction; }) now.reduction = reduction;
        return call(now, arguments);
    };
    result.sample = random_logits();
    result.reductions = std::move(reductions);
    return result;
}

}  // namespace retort_test::laws
