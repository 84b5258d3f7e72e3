// Runs a libFuzzer entry point without libFuzzer: every corpus file once, then seeded mutations for some seconds.
// Usage: TARGET [--seconds N] [--seed N] [corpus file or directory]...
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kMaxInputBytes = 4096;

Input read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

void load_corpus(const std::filesystem::path& path, std::vector<Input>& corpus) {
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.is_regular_file()) {
        corpus.push_back(read_file(entry.path()));
      }
    }
  } else {
    corpus.push_back(read_file(path));
  }
}

Input mutate(Input input, std::mt19937_64& random) {
  const auto edits = 1 + random() % 8;
  for (std::uint64_t i = 0; i < edits; ++i) {
    const auto choice = random() % 4;
    if (input.empty() || choice == 0) {
      const auto position = input.empty() ? 0 : random() % (input.size() + 1);
      input.insert(input.begin() + static_cast<std::ptrdiff_t>(position), static_cast<std::uint8_t>(random()));
    } else if (choice == 1) {
      input[random() % input.size()] = static_cast<std::uint8_t>(random());
    } else if (choice == 2) {
      input[random() % input.size()] ^= static_cast<std::uint8_t>(1u << (random() % 8));
    } else {
      input.resize(random() % (input.size() + 1));
    }
  }
  if (input.size() > kMaxInputBytes) {
    input.resize(kMaxInputBytes);
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 1;
  std::uint64_t seed = 1;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      load_corpus(argv[i], corpus);
    }
  }
  for (const auto& input : corpus) {
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  corpus.emplace_back();
  std::mt19937_64 random(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::uint64_t runs = 0;
  while (std::chrono::steady_clock::now() < end) {
    const Input input = mutate(corpus[random() % corpus.size()], random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++runs;
  }
  std::printf("%zu corpus inputs, %llu mutations, seed %llu\n", corpus.size() - 1,
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  return 0;
}
