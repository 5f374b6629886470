// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/community/average.hpp>
#include <retort/community/best.hpp>
#include <retort/community/concept.hpp>
#include <retort/community/education_cycle.hpp>
#include <retort/community/education_picture.hpp>
#include <retort/community/energy.hpp>
#include <retort/community/ledger.hpp>
#include <retort/community/mahalanobis.hpp>
#include <retort/community/majority.hpp>
#include <retort/community/random_teacher.hpp>
#include <retort/community/received.hpp>
#include <retort/community/roster.hpp>
#include <retort/community/trust.hpp>

namespace parts_test {

using namespace retort::community;
using retort_test::close;
using retort_test::same;
using Kind = LedgerEntry::Kind;

static_assert(SelfAssessment<Energy> && SelfAssessment<Mahalanobis>);
static_assert(TeacherChoice<Best> && TeacherChoice<Average> && TeacherChoice<Majority> &&
              TeacherChoice<RandomTeacher>);
static_assert(!SelfAssessment<Best> && !TeacherChoice<Energy>);

Offer offer(const std::string& teacher, double strangeness, bool known, const torch::Tensor& logits = {}) {
    return {.teacher = teacher,
            .task = 0,
            .classes = {"left", "right"},
            .covers = {0, 1},
            .model = "m",
            .verdict = {.outside = 0, .strangeness = strangeness, .known = known},
            .logits = logits};
}

TEST_CASE("teacher choices: who is asked, and in which order") {
    const std::vector<Offer> offers{offer("a", 0.4, true), offer("b", 0.5, true), offer("c", 0.6, false)};
    using Order = std::vector<std::size_t>;
    CHECK(Best{}.order(offers, 1) == Order{0, 1});
    CHECK(Average{}.order(offers, 1) == Order{0, 1});
    CHECK(Average{.only_known = false}.order(offers, 1) == Order{0, 1, 2});
    CHECK(Majority{}.order(offers, 1) == Order{0, 1});
    std::set<std::size_t> first;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const Order order = RandomTeacher{.only_known = false}.order(offers, seed);
        CHECK(order.size() == 3);
        first.insert(order.front());
        CHECK(order == RandomTeacher{.only_known = false}.order(offers, seed));
    }
    CHECK(first.size() == 3);
    CHECK(RandomTeacher{}.order(offers, 1).size() == 2);
    std::vector<Offer> other = offers;
    other[1].classes = {"up", "down"};
    CHECK(Average{}.order(other, 1) == Order{0});
    CHECK(Best{}.order({}, 1).empty());
}

TEST_CASE("teacher choices: several teachers are combined") {
    const torch::Tensor a = torch::tensor({{2.0, 0.0}, {0.0, 1.0}}, torch::kFloat64);
    const torch::Tensor b = torch::tensor({{1.0, 0.0}, {3.0, 1.0}}, torch::kFloat64);
    const torch::Tensor c = torch::tensor({{0.0, 5.0}, {2.0, 0.0}}, torch::kFloat64);
    CHECK(close(torch::softmax(Average{}.combine({a, b}), 1),
                (torch::softmax(a, 1) + torch::softmax(b, 1)) / 2, 1e-12));
    const torch::Tensor votes = torch::softmax(Majority{.smoothing = 0}.combine({a, b, c}), 1);
    CHECK(close(votes, torch::tensor({{2.0, 1.0}, {2.0, 1.0}}, torch::kFloat64) / 3, 1e-12));
}

TEST_CASE("offers: sorted, whatever order they came in") {
    std::vector<Offer> offers{offer("b", 0.5, true), offer("c", 0.2, true), offer("a", 0.5, true)};
    std::sort(offers.begin(), offers.end());
    CHECK(offers[0].teacher == "c");
    CHECK(offers[1].teacher == "a");
}

TEST_CASE("ledger: counts once, keeps the latest, and is stored") {
    Ledger ledger(3);
    CHECK(ledger.add("1/b/learned",
                     {.kind = Kind::learned, .cycle = 1, .peer = "b", .rows = 64, .before = 0.5}));
    CHECK_FALSE(ledger.add("1/b/learned", {.kind = Kind::learned}));
    for (int i = 0; i < 5; ++i)
        ledger.add("refused" + std::to_string(i),
                   {.kind = Kind::refused, .peer = "c", .reason = "says \"no\""});
    CHECK(ledger.entries().size() == 3);
    CHECK(ledger.count(Kind::refused) == 5);
    CHECK(ledger.count(Kind::learned) == 1);
    CHECK(ledger.csv().find("refused,0,c,-1,0,0,0,0,0,\"says \"\"no\"\"\"") != std::string::npos);
    retort::detail::StateItems items;
    retort::Archive saved(items);
    ledger.checkpoint(saved);
    Ledger other(3);
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(other.csv() == ledger.csv());
    CHECK(other.count(Kind::refused) == 5);
    CHECK_FALSE(other.add("refused4", {}));
}

TEST_CASE("roster: bounded; forgets those who stay silent; remembers who was trusted") {
    Roster roster(2, 2);
    CHECK(roster.met("a", "images", 1));
    CHECK(roster.changed());
    CHECK_FALSE(roster.changed());
    CHECK(roster.met("b", "images", 1));
    CHECK_FALSE(roster.met("c", "images", 1));
    CHECK(roster.met("a", "images", 2));
    CHECK(roster.changed());
    CHECK(roster.reputation("a") == 0.5);
    roster.taught("a", true);
    roster.taught("b", false);
    CHECK(roster.reputation("a") > roster.reputation("b"));
    roster.stayed_silent("b");
    roster.answered("b");
    roster.stayed_silent("b");
    CHECK(roster.has("b"));
    roster.stayed_silent("b");
    CHECK_FALSE(roster.has("b"));
    retort::detail::StateItems items;
    retort::Archive saved(items);
    roster.checkpoint(saved);
    Roster other(2, 2);
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(other.peers().at("a").tasks == 2);
    CHECK(other.reputation("a") == roster.reputation("a"));
}

TEST_CASE("received: the labels of the samples of a lesson, and of no others") {
    torch::manual_seed(1);
    const torch::Tensor input = torch::randn({10, 1, 2, 2});
    const torch::Tensor logits = torch::randn({10, 3});
    const Received teacher(input, logits);
    const torch::Tensor rows = torch::tensor({7, 2, 2, 9});
    CHECK(same(teacher(input.index_select(0, rows)), logits.index_select(0, rows)));
    CHECK_THROWS_WITH(teacher(torch::cat({input.narrow(0, 0, 1), input.narrow(0, 0, 1) + 1})),
                      "Received: expected samples of the lesson, found another one in row 1");
    CHECK_THROWS_AS(Received(input, logits.narrow(0, 0, 9)), retort::ShapeError);
}

TEST_CASE("lesson: samples, duplicates, probe and canaries in an order that only the student knows") {
    torch::manual_seed(1);
    const torch::Tensor samples = torch::randn({20, 3});
    const torch::Tensor canary = torch::randn({30, 3}) + 9;
    const torch::Tensor canary_class = torch::arange(30).remainder(2);
    const TrustOptions options{.duplicates = 4, .canaries = 6};
    const Lesson lesson = make_lesson(samples, 8, canary, canary_class, options, 7);
    CHECK(lesson.rows.size(0) == 20 + 4 + 8 + 6);
    CHECK(same(lesson.labels_of(lesson.rows), samples));
    CHECK(same(make_lesson(samples, 8, canary, canary_class, options, 7).rows, lesson.rows));
    CHECK_FALSE(same(make_lesson(samples, 8, canary, canary_class, options, 8).rows, lesson.rows));

    // A teacher that tells the sign of the first value, and knows all; canaries by their class.
    const auto told = [&](const torch::Tensor& rows) {
        torch::Tensor x = rows.select(1, 0).clone();
        for (std::int64_t i = 0; i < rows.size(0); ++i) {
            const torch::Tensor at = (canary - rows[i]).abs().sum(1).eq(0).nonzero();
            if (at.numel() > 0)
                x[i] = canary_class[at[0][0].item<std::int64_t>()].item<std::int64_t>() == 1 ? 5 : -5;
        }
        return torch::stack({-x, x}, 1);
    };
    const torch::Tensor labels = told(lesson.rows);
    const torch::Tensor known = torch::ones({lesson.rows.size(0)}, torch::kBool);
    const Offer good = offer("a", 0.5, true, told(samples.narrow(0, 0, 8)));
    CHECK(distrust(lesson, good, "m", labels, known, options).empty());
    CHECK(distrust(lesson, good, "n", labels, known, options) ==
          "labels of model n, offered were those of m");
    CHECK(distrust(lesson, good, "m", labels.flip(0), known, options).find("equal rows") !=
          std::string::npos);
    // All that it is asked about, except the probe, by another rule.
    CHECK(distrust(lesson, offer("a", 0.5, true, -good.logits), "m", labels, known, options) ==
          "labels other than the offer's (8 of 8 rows of the probe)");
    torch::Tensor lies = labels.clone();
    for (std::int64_t i = 0; i < lies.size(0); ++i) {
        if (lesson.rows[i][0].item<float>() > 5) lies[i] = -lies[i];
    }
    CHECK(distrust(lesson, good, "m", lies, known, options) == "wrong labels for known samples (6 of 6)");
    // What it says it does not know, it need not get right.
    CHECK(distrust(lesson, good, "m", lies, torch::zeros_like(known), options).empty());
    CHECK(distrust(lesson, good, "m", labels * 1e5, known, options).find("a logit of") == 0);
    CHECK(distrust(lesson, good, "m", labels.to(torch::kLong), known, options) == "labels of type Long");
    CHECK(distrust(lesson, good, "m", labels, known.to(torch::kFloat), options) ==
          "no word on which rows it knows");
    CHECK(distrust(lesson, good, "m", labels / 0, known, options) == "labels that are not finite");
    CHECK_THROWS_WITH(TrustOptions{.canary_accuracy = 2}.check(),
                      "TrustOptions: expected a canary_accuracy in [0, 1], found 2");
}

TEST_CASE("contradicted: the one that most of the others contradict") {
    const torch::Tensor left = torch::tensor({{2.0, 0.0}, {3.0, 1.0}, {0.0, 1.0}});
    const std::vector<Offer> three{offer("a", 0.5, true, left), offer("b", 0.5, true, -left),
                                   offer("c", 0.5, true, left * 2)};
    CHECK(contradicted(three, {}) ==
          std::vector<std::string>{"", "contradicted by 2 of 2 other teachers", ""});
    CHECK(contradicted(three, {.agreement = 0}) == std::vector<std::string>{"", "", ""});
    const std::vector<Offer> two{offer("a", 0.5, true, left), offer("b", 0.5, true, -left)};
    CHECK(contradicted(two, {}) == std::vector<std::string>{"", ""});
}

TEST_CASE("education cycle: stored in any phase") {
    EducationCycle cycle;
    cycle.phase = EducationCycle::Phase::lesson;
    cycle.number = 4;
    cycle.data = torch::randn({3, 2});
    cycle.offers = {offer("a", 0.5, true, torch::randn({2, 2})), offer("b", 0.6, true)};
    cycle.order = {1, 0};
    cycle.chunks = {torch::randn({2, 2})};
    cycle.known = {torch::ones({2}, torch::kBool)};
    cycle.entries = {{"4/c/refused", {.kind = Kind::refused, .cycle = 4, .peer = "c", .reason = "why"}}};
    retort::detail::StateItems items;
    retort::Archive saved(items);
    cycle.checkpoint(saved);
    EducationCycle other;
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(other.phase_name() == "lesson");
    CHECK(other.offer().teacher == "b");
    CHECK(same(other.data, cycle.data));
    CHECK(same(other.offers[0].logits, cycle.offers[0].logits));
    CHECK(other.offers[0].covers == cycle.offers[0].covers);
    CHECK(other.entries.at(0).second.reason == "why");
    other.next();
    CHECK(other.offer().teacher == "a");
    CHECK(other.chunks.empty());
    other.next();
    CHECK(other.exhausted());
    cycle.order = {2};
    retort::detail::StateItems wrong;
    retort::Archive written(wrong);
    cycle.checkpoint(written);
    EducationCycle refused;
    retort::Archive read(wrong, true, "here");
    CHECK_THROWS_WITH(refused.checkpoint(read), "here: an education cycle with a teacher that made no offer");
}

TEST_CASE("pictures: who taught whom") {
    const std::vector<Taught> lessons{{"a", "b", "cats"}, {"a", "b", "<dogs>"}};
    CHECK(education_dot({"a", "b"}, lessons).find("\"a\" -> \"b\" [label=\"cats, <dogs>\"]") !=
          std::string::npos);
    const std::string svg = education_svg({"a", "b"}, lessons);
    CHECK(svg.find("cats, &lt;dogs&gt;") != std::string::npos);
    CHECK(svg.ends_with("</svg>\n"));
    CHECK_THROWS_AS(education_svg({"a"}, lessons), retort::ConfigError);
}

}  // namespace parts_test
