// SPDX-License-Identifier: BSL-1.0
/// \file
/// Schedules: manually computed values, and errors.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/schedule.hpp>

namespace schedule_test {

using namespace retort_test;
using retort::Constant;
using retort::Cosine;
using retort::Every;
using retort::Exponential;
using retort::Linear;
using retort::MultiStep;
using retort::Phase;
using retort::Phases;
using retort::Progress;
using retort::Schedule;
using retort::WarmUp;

namespace {
/// In epoch `epoch` of 10, step `step` of 4.
Progress at_step(std::int64_t epoch, std::int64_t step = 0) {
    return {.epoch = epoch, .epochs = 10, .step = step, .steps_per_epoch = 4};
}
/// The progress that a schedule sees.
struct Spy {
    std::shared_ptr<Progress> seen = std::make_shared<Progress>();
    double weight(const Progress& progress) const {
        *seen = progress;
        return 1.0;
    }
};
template <class S>
std::string refusal(const S& schedule) {
    return words_of<retort::ConfigError>([&] { schedule.check(); });
}
const double not_finite = std::numeric_limits<double>::quiet_NaN(),
             infinity = std::numeric_limits<double>::infinity();
}  // namespace

TEST_CASE("constant") {
    CHECK(Constant{}.weight(at_step(3)) == 1.0);
    CHECK(Constant{-2.5}.weight(at_step(3)) == -2.5);
    CHECK(refusal(Constant{not_finite}) == "Constant: expected a finite value, found nan");
    CHECK(holds(refusal(Constant{infinity}), "found inf"));
    CHECK(refusal(Constant{0.0}).empty());
}

TEST_CASE("linear over the run, over some epochs, by steps") {
    const Linear run{.initial = 1.0, .final = 2.0};
    CHECK(run.weight(at_step(0)) == 1.0);
    CHECK(run.weight(at_step(5)) == 1.5);
    CHECK(run.weight(at_step(5, 2)) == 1.5);
    CHECK(run.weight(at_step(10)) == 2.0);
    const Linear some{.initial = 1.0, .final = 0.0, .epochs = 4};
    CHECK(some.weight(at_step(3)) == 0.25);
    CHECK(some.weight(at_step(4)) == 0.0);
    CHECK(some.weight(at_step(400)) == 0.0);
    const Linear steps{.initial = 0.0, .final = 8.0, .epochs = 2, .every = Every::step};
    CHECK(steps.weight(at_step(0, 1)) == 1.0);
    CHECK(steps.weight(at_step(1, 3)) == 7.0);
    CHECK(holds(words_of<retort::ConfigError>([&] { steps.weight({.epoch = 1, .step = 3}); }),
                "schedule: expected a known number of steps per epoch", "FitOptions::steps_per_epoch",
                "data::batches(loader, count)"));
    CHECK(holds(words_of<retort::ConfigError>([&] { run.weight({.epoch = 1}); }),
                "Linear: expected a length in epochs, in the schedule or of the run; found neither"));
    CHECK(refusal(Linear{.epochs = -1}) == "Linear: expected a number of epochs of at least 0, found -1");
    CHECK(holds(refusal(Linear{.initial = not_finite}), "Linear: expected a finite initial value"));
    CHECK(holds(refusal(Linear{.final = infinity}), "Linear: expected a finite final value"));
    CHECK(holds(refusal(Linear{.epochs = not_finite}), "found nan"));
}

TEST_CASE("polynomial") {
    const retort::Polynomial poly{.initial = 2.0, .final = 1.0, .power = 2.0};
    CHECK(poly.weight(at_step(0)) == 2.0);
    CHECK(poly.weight(at_step(5)) == 1.25);
    CHECK(poly.weight(at_step(10)) == 1.0);
    CHECK(poly.weight(at_step(20)) == 1.0);
    CHECK(retort::Polynomial{}.weight(at_step(3)) ==
          Approx(Linear{.initial = 1, .final = 0}.weight(at_step(3))));
    CHECK(retort::Polynomial{.power = 0.5, .epochs = 2, .every = Every::step}.weight(at_step(1, 2)) == 0.5);
    CHECK(holds(refusal(retort::Polynomial{.power = 0}), "Polynomial: expected a power above 0, found 0"));
    CHECK(holds(refusal(retort::Polynomial{.initial = not_finite}), "finite initial value"));
    CHECK(holds(refusal(retort::Polynomial{.epochs = -1}), "at least 0"));
}

TEST_CASE("cosine with restarts") {
    const retort::CosineRestarts restarts{.epochs = 2, .factor = 2};  // periods of 2, 4, 8, ... epochs
    CHECK(restarts.weight(at_step(0)) == 1.0);
    CHECK(restarts.weight(at_step(1)) == Approx(0.5).epsilon(1e-12));
    CHECK(restarts.weight(at_step(1, 2)) ==
          Approx(0.5 * (1 + std::cos(0.75 * 3.14159265358979))).epsilon(1e-9));
    CHECK(restarts.weight(at_step(2)) == 1.0);
    CHECK(restarts.weight(at_step(4)) == Approx(0.5).epsilon(1e-12));
    CHECK(restarts.weight(at_step(6)) == 1.0);
    CHECK(restarts.weight(at_step(10)) == Approx(0.5).epsilon(1e-12));
    const retort::CosineRestarts equal{.initial = 3.0, .final = 1.0, .epochs = 2, .factor = 1};
    CHECK(equal.weight(at_step(7)) == Approx(2.0).epsilon(1e-12));
    CHECK(equal.weight(at_step(1000)) == 3.0);
    CHECK(holds(refusal(retort::CosineRestarts{.epochs = 0}), "first period above 0"));
    CHECK(holds(refusal(retort::CosineRestarts{.factor = 0.5}), "factor of at least 1, found 0.5"));
    CHECK(holds(refusal(retort::CosineRestarts{.final = infinity}), "finite final value"));
}

TEST_CASE("one cycle") {
    const retort::OneCycle cycle{.peak = 2.0, .initial = 0.5, .final = 0.25, .rise = 0.4};
    CHECK(cycle.weight(at_step(0)) == 0.5);
    CHECK(cycle.weight(at_step(2)) == Approx(1.25).epsilon(1e-12));
    CHECK(cycle.weight(at_step(4)) == Approx(2.0).epsilon(1e-12));
    CHECK(cycle.weight(at_step(7)) == Approx(1.125).epsilon(1e-12));
    CHECK(cycle.weight(at_step(10)) == Approx(0.25).epsilon(1e-12));
    CHECK(cycle.weight(at_step(3)) < cycle.weight(at_step(3, 1)));
    CHECK(retort::OneCycle{}.weight(at_step(0)) == Approx(1.0 / 25));
    CHECK(holds(refusal(retort::OneCycle{.rise = 1}), "OneCycle: expected a rise in (0, 1), found 1"));
    CHECK(holds(refusal(retort::OneCycle{.peak = infinity}), "finite peak"));
}

TEST_CASE("cosine") {
    const Cosine run{.initial = 2.0, .final = 1.0};
    CHECK(run.weight(at_step(0)) == 2.0);
    CHECK(run.weight(at_step(5)) == Approx(1.5).epsilon(1e-12));
    CHECK(run.weight(at_step(10)) == Approx(1.0).epsilon(1e-12));
    const Cosine some{.epochs = 3, .every = Every::step};
    CHECK(some.weight(at_step(1)) == Approx(0.75).epsilon(1e-12));  // cos(60 degrees) = 1/2
    CHECK(some.weight(at_step(2)) == Approx(0.25).epsilon(1e-12));
    CHECK(some.weight(at_step(0, 2)) == Approx(0.5 * (1 + std::cos(std::acos(-1.0) / 6))).epsilon(1e-12));
    CHECK(some.weight(at_step(7)) == Approx(0.0).margin(1e-12));
    CHECK_THROWS_AS(Cosine{}.weight({}), retort::ConfigError);
    CHECK(holds(refusal(Cosine{.epochs = -1}), "Cosine: expected a number of epochs of at least 0"));
    CHECK(holds(refusal(Cosine{.final = not_finite}), "Cosine: expected a finite final value"));
    CHECK(holds(refusal(Cosine{.initial = not_finite}), "Cosine: expected a finite initial value"));
}

TEST_CASE("exponential and the critical period") {
    const Exponential decay{.initial = 100.0, .factor = 0.5};
    CHECK(decay.weight(at_step(0, 3)) == 100.0);
    CHECK(decay.weight(at_step(3)) == 12.5);
    CHECK(Exponential{.initial = 1.0, .factor = 4.0, .every = Every::step}.weight(at_step(1, 2)) == 8.0);
    CHECK(holds(refusal(Exponential{.factor = -0.5}),
                "Exponential: expected a factor of at least 0, found -0.5"));
    CHECK(holds(refusal(Exponential{.factor = infinity}), "Exponential: expected a finite factor"));
    CHECK(holds(refusal(Exponential{.initial = not_finite}), "Exponential: expected a finite initial value"));

    const retort::CriticalPeriod period;
    CHECK(period.weight(at_step(0)) == 100.0);
    CHECK(period.weight(at_step(1)) == Approx(70.0));
    CHECK(period.weight(at_step(12)) > 1.0);
    CHECK(period.weight(at_step(13)) < 1.0);
    for (const double factor : {0.0, 1.0, -1.0, not_finite}) {
        CHECK(holds(refusal(retort::CriticalPeriod{.factor = factor}),
                    "CriticalPeriod: expected a factor in (0, 1), found "));
    }
    CHECK(holds(refusal(retort::CriticalPeriod{.initial = not_finite}),
                "CriticalPeriod: expected a finite initial value"));
}

TEST_CASE("steps and milestones") {
    const retort::Step step{.initial = 8.0, .factor = 0.5, .epochs = 3};
    CHECK(step.weight(at_step(2, 3)) == 8.0);
    CHECK(step.weight(at_step(3)) == 4.0);
    CHECK(step.weight(at_step(6)) == 2.0);
    CHECK(refusal(retort::Step{.epochs = 0}) == "Step: expected a number of epochs of at least 1, found 0");
    CHECK(holds(refusal(retort::Step{.factor = not_finite}), "Step: expected a finite factor"));
    CHECK(holds(refusal(retort::Step{.initial = not_finite}), "Step: expected a finite initial value"));

    const MultiStep multi{.initial = 4.0, .milestones = {2, 5, 5}, .factor = 0.5};
    CHECK(multi.weight(at_step(1)) == 4.0);
    CHECK(multi.weight(at_step(2)) == 2.0);
    CHECK(multi.weight(at_step(4)) == 2.0);
    CHECK(multi.weight(at_step(5)) == 0.5);
    CHECK(MultiStep{}.weight(at_step(9)) == 1.0);
    CHECK(holds(refusal(MultiStep{.milestones = {5, 2}}), "MultiStep: expected ascending milestones"));
    CHECK(holds(refusal(MultiStep{.factor = not_finite}), "MultiStep: expected a finite factor"));
    CHECK(holds(refusal(MultiStep{.initial = not_finite}), "MultiStep: expected a finite initial value"));
}

TEST_CASE("warm-up ramps up to another schedule") {
    const WarmUp plain{{.epochs = 2.0}};
    CHECK(plain.weight(at_step(0)) == 0.0);
    CHECK(plain.weight(at_step(0, 2)) == 0.25);
    CHECK(plain.weight(at_step(1)) == 0.5);
    CHECK(plain.weight(at_step(2)) == 1.0);
    CHECK(plain.weight(at_step(9)) == 1.0);
    const WarmUp cosine{Cosine{.initial = 4.0}, {.epochs = 2.0, .initial = 0.5, .every = Every::epoch}};
    CHECK(cosine.weight(at_step(0)) == 2.0);
    CHECK(cosine.weight(at_step(0, 3)) == 2.0);
    CHECK(cosine.weight(at_step(1)) == Approx(0.75 * 2 * (1 + std::cos(std::acos(-1.0) / 10))));
    CHECK(cosine.weight(at_step(5)) == Approx(2.0));
    CHECK(holds(refusal(WarmUp{{.epochs = 0.0}}), "WarmUp: expected a number of epochs above 0, found 0"));
    CHECK_FALSE(refusal(WarmUp{{.epochs = not_finite}}).empty());
    CHECK(holds(refusal(WarmUp{not_finite, {.epochs = 1.0}}), "Constant: expected a finite value"));
    CHECK(holds(refusal(WarmUp{{.initial = not_finite}}), "WarmUp: expected a finite initial share"));
}

TEST_CASE("phases, each with its own progress") {
    const Phases phases{Phase{3, 1.0}, Phase{2, Linear{.initial = 0.0, .final = 1.0}}, Phase{0, 0.25}};
    const std::vector<double> expected{1, 1, 1, 0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25};
    for (std::int64_t epoch = 0; epoch < 10; ++epoch) {
        CHECK(phases.weight(at_step(epoch, 2)) == expected[static_cast<std::size_t>(epoch)]);
    }
    const Spy first, second, last;
    const Phases spied{Phase{3, first}, Phase{2, second}, Phase{0, last}};
    spied.weight(at_step(2, 1));
    CHECK(*first.seen == Progress{.epoch = 2, .epochs = 3, .step = 1, .steps_per_epoch = 4});
    spied.weight(at_step(4, 3));
    CHECK(*second.seen == Progress{.epoch = 1, .epochs = 2, .step = 3, .steps_per_epoch = 4});
    spied.weight(at_step(7, 0));
    CHECK(*last.seen == Progress{.epoch = 2, .epochs = 5, .step = 0, .steps_per_epoch = 4});
    spied.weight({.epoch = 7});  // the length of the run is unknown
    CHECK(*last.seen == Progress{.epoch = 2});
}

TEST_CASE("after a last phase of given length its final weight stays") {
    const Phases phases{Phase{1, 5}, Phase{2, Linear{.initial = 0.0, .final = 1.0}}};
    CHECK(phases.weight(at_step(0)) == 5.0);
    CHECK(phases.weight(at_step(2)) == 0.5);
    CHECK(phases.weight(at_step(3)) == 1.0);
    CHECK(phases.weight(at_step(9)) == 1.0);
}

TEST_CASE("phases without epochs are refused, and so are their schedules' options") {
    CHECK(refusal(Phases{Phase{0, 1.0}, Phase{0, 0.0}}) ==
          "Phases: expected at least 1 epochs in phase 0 of 2, found 0");
    CHECK(
        holds(refusal(Phases{Phase{1, 1.0}, Phase{-1, 0.0}}), "at least 0 epochs in phase 1 of 2, found -1"));
    CHECK(holds(refusal(Phases{Phase{1, Linear{.epochs = -2}}}), "Linear: expected a number of epochs"));
    CHECK(refusal(Phases{Phase{1, 1.0}, Phase{0, 0.0}}).empty());
}

TEST_CASE("a schedule has one weight per term; numbers are constants") {
    const Schedule schedule{0.5, 2, Exponential{.initial = 8.0, .factor = 0.5}, 1.0F};
    CHECK(schedule.weights(at_step(2)) == std::array<double, 4>{0.5, 2.0, 2.0, 1.0});
    STATIC_REQUIRE(std::is_same_v<std::remove_const_t<decltype(schedule)>,
                                  Schedule<Constant, Constant, Exponential, Constant>>);
    const Schedule copy = schedule;
    CHECK(copy.weights(at_step(0))[2] == 8.0);
    const Schedule one{Constant{3.0}};
    const Schedule one_more{one};
    CHECK(one_more.weights({})[0] == 3.0);
    CHECK(Schedule<Constant, Constant>().weights({}) == std::array<double, 2>{1.0, 1.0});
    CHECK_THROWS_AS((Schedule{1.0, not_finite}), retort::ConfigError);
    CHECK_THROWS_AS((Schedule{1.0, Linear{.epochs = -1}}), retort::ConfigError);
    CHECK_THROWS_AS((Schedule{Phases{Phase{0, 1.0}, Phase{0, 1.0}}}), retort::ConfigError);
}

}  // namespace schedule_test
