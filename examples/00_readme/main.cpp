#include <torch/torch.h>

#include <iostream>
#include <retort/retort.hpp>

torch::nn::Sequential network(int width) {
    using namespace torch::nn;
    return Sequential(Flatten(), Linear(784, width), ReLU(), Linear(width, 10));
}

int main(int, char** arguments) {
    using namespace retort;
    torch::manual_seed(1);
    const data::Loader train{data::fashion_mnist(arguments[1], data::Split::train),
                             {.batch_size = 128},
                             data::fashion_mnist_eval()};
    const data::Loader test{
        data::fashion_mnist(arguments[1], data::Split::test), {}, data::fashion_mnist_eval()};
    auto teacher = network(512), student = network(16);
    const Sgd sgd{.learning_rate = 0.05, .momentum = 0.9};

    Trainer plain{teacher, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, sgd};
    plain.fit(train, {.epochs = 5});

    Trainer distiller{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4.0}},
                      Schedule{0.1, 0.9}, sgd};
    distiller.fit(train, {.epochs = 5}, ProgressBar{});
    std::cout << "teacher " << plain.evaluate(test).value() << ", student "
              << distiller.evaluate(test).value() << '\n';
}
