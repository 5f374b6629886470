// SPDX-License-Identifier: BSL-1.0
#include <golden.hpp>
#include <retort_test.hpp>

#include <retort/community/likelihood_regret.hpp>

namespace likelihood_regret_test {

namespace golden = retort_test::golden;
using namespace retort::community;

/// The reference's network of 16 pixels with its weights.
PixelAutoencoder network_of(const golden::Case& each) {
    PixelAutoencoder network(PixelAutoencoderOptions{.size = 16,
                                                     .latent = static_cast<std::int64_t>(each.option("nz")),
                                                     .width = static_cast<std::int64_t>(each.option("ngf"))});
    network->to(torch::kFloat64);
    const std::vector<std::pair<std::string, std::string>> names{
        {"down0", "encoder.main.input-conv"},
        {"down_norm0", "encoder.main.input-BN"},
        {"down1", "encoder.main.pyramid:2-4:conv"},
        {"down_norm1", "encoder.main.pyramid:4:batchnorm"},
        {"mean", "encoder.conv1"},
        {"log_variance", "encoder.conv2"},
        {"up0", "decoder.main.initial:" + std::to_string(static_cast<int>(each.option("nz"))) + "-4:convt"},
        {"up_norm0", "decoder.main.initial:4:batchnorm"},
        {"up1", "decoder.main.pyramid:4-2:convt"},
        {"up_norm1", "decoder.main.pyramid:2:batchnorm"},
        {"last", "decoder.main.final:2-1:convt"}};
    const torch::NoGradGuard no_grad;
    std::size_t copied = 0;
    for (const auto& [own, theirs] : names) {
        for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
            if (!each.has_parameter(theirs + part)) continue;
            const torch::Tensor value = each.parameter(theirs + part).to(torch::kFloat64);
            auto parameters = network->named_parameters();
            auto buffers = network->named_buffers();
            (parameters.contains(own + part) ? parameters : buffers)[own + part].copy_(value);
            ++copied;
        }
    }
    CHECK(copied == network->parameters().size() + 2 * 4);  // two statistics of each of four batch norms
    return network;
}

TEST_CASE("likelihood regret: the released program") {
    for (const golden::Case& each : golden::cases("likelihood_regret__likelihood_regret")) {
        if (each.name() == "steps4_beta0.5_byte")
            continue;  // one sample: it takes the sum over the wrong dimension
        INFO(each.name());
        const auto number = [&](const char* key) { return static_cast<std::int64_t>(each.option(key)); };
        LikelihoodRegretOptions options;
        options.network = {.size = 16, .latent = number("nz"), .width = number("ngf")};
        options.steps = number("num_iter");
        options.step_rate = each.option("lr");
        options.beta = each.option("beta1");
        options.batches = number("batches");
        options.samples = number("repeat");
        const LikelihoodRegret regret(network_of(each), options);
        std::vector<torch::Tensor> noise;
        for (const char* which : {"noise_before", "noise_steps", "noise_after"}) {
            for (std::int64_t i = 0; i < each.input(which).size(0); ++i)
                noise.push_back(each.input(which)[i]);
        }
        std::size_t next = 0;
        const torch::Tensor found = regret.score(
            {.input = each.input("image").unsqueeze(0)},
            [&](const std::vector<std::int64_t>& sizes) { return noise.at(next++).reshape(sizes); });
        CHECK(next == noise.size());
        CHECK(found[0].item<double>() == Approx(each.value().item<double>()).epsilon(0).margin(1e-7));
    }
}

TEST_CASE("likelihood regret: a batch is scored as its images alone; state, errors") {
    torch::manual_seed(1);
    const torch::Tensor images = torch::rand({10, 1, 8, 8});
    LikelihoodRegretOptions options;
    options.network = {.size = 8, .latent = 4, .width = 4};
    options.epochs = 3;
    options.batch = 5;
    options.samples = 4;
    options.steps = 5;
    options.step_rate = 1e-2;
    options.together = 7;
    LikelihoodRegret own(options);
    CHECK_THROWS_WITH(own.score({.input = images}), "LikelihoodRegret: expected fit before score");
    own.fit({.input = images});
    // The same noise for every image.
    const auto noise = [](const std::vector<std::int64_t>& sizes) {
        std::vector<std::int64_t> one = sizes;
        one[0] = 1;
        std::int64_t count = 1;
        for (const std::int64_t size : one) count *= size;
        return torch::sin(torch::arange(count).to(torch::kFloat) * 3).reshape(one).expand(sizes);
    };
    const torch::Tensor together = own.score({.input = images}, noise);
    CHECK(together.sizes() == torch::IntArrayRef{10});
    CHECK(together.abs().max().item<double>() > 0.1);
    for (std::int64_t i = 0; i < 10; ++i) {
        const torch::Tensor alone = own.score({.input = images.narrow(0, i, 1)}, noise);
        CHECK(retort_test::close(together.narrow(0, i, 1), alone, 1e-3, 2e-2));
    }

    retort::detail::StateItems items;
    retort::Archive saved(items);
    own.checkpoint(saved);
    LikelihoodRegret other(options);
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(retort_test::same(other.score({.input = images}), own.score({.input = images})));
    CHECK_THROWS_WITH(own.score({.input = torch::zeros({2, 1, 9, 9})}),
                      Catch::Contains("expected images of shape [samples, 1, 8, 8]"));
    options.network.size = 12;
    CHECK_THROWS_WITH(LikelihoodRegret(options),
                      "PixelAutoencoder: expected a size that is a power of two, at least 8, found 12");
}

}  // namespace likelihood_regret_test
