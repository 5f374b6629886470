// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <random>

#include "../data/files.hpp"

namespace readme_test {

using namespace retort_test;

TEST_CASE("the program in the README is examples/00_readme") {
    const std::filesystem::path root = RETORT_SOURCE_DIRECTORY;
    const std::string readme = read_file(root / "README.md");
    const std::string opening = "```cpp\n";
    const auto begin = readme.find(opening) + opening.size();
    CHECK(readme.substr(begin, readme.find("```", begin) - begin) ==
          read_file(root / "examples/00_readme/main.cpp"));
}

#if defined(RETORT_README_PROGRAM)
TEST_CASE("the program in the README distills on a folder of IDX files") {
    const TemporaryDirectory folder;
    for (const auto& [split, count] : {std::pair<std::string, unsigned>{"train", 2560}, {"t10k", 640}}) {
        std::string pixels(static_cast<std::size_t>(count) * 784, '\0');
        std::string labels(count, '\0');
        for (std::size_t i = 0; i < count; ++i) {
            labels[i] = static_cast<char>(i % 10);
            // Each class has a separate pattern, about as bright as Fashion-MNIST on average.
            std::mt19937 pattern(static_cast<unsigned>(i % 10));
            for (std::size_t p = 0; p < 784; ++p) pixels[i * 784 + p] = static_cast<char>(pattern() % 147);
        }
        const auto file = [&](const char* part) { return folder / std::string(split).append(part); };
        write_file(file("-images-idx3-ubyte"), idx(8, {count, 28, 28}, pixels));
        write_file(file("-labels-idx1-ubyte"), idx(8, {count}, labels));
    }
    const std::string output = (folder / "output").string();
    std::ostringstream command;
    command << RETORT_README_PROGRAM << ' ' << folder.path().string() << " >" << output << " 2>/dev/null";
    REQUIRE(std::system(command.str().c_str()) == 0);
    double teacher = 0, student = 0;
    REQUIRE(std::sscanf(read_file(output).c_str(), "teacher %lf, student %lf", &teacher, &student) == 2);
    CHECK(teacher > 0.9);
    CHECK(student > 0.3);
}
#endif

}  // namespace readme_test
