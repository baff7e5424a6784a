// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// How a kernel's numbers are taken and judged: poisoned output, several copies of the work over the whole card, two
// runs, and for tensor-core paths a running error bound beside a case that must agree bit for bit.

#pragma once

#include "gpu_verify.cuh"

namespace {

constexpr int kWarp = 32;
constexpr uint32_t kPoison = 0xFFC0DEADu;  // as a float: a NaN; twice: as a double, a NaN as well

struct Verdict {
    long elements = 0;
    long unwritten = 0;
    long wrong = 0;
    double worst = 0.0;  // error divided by its bound
    bool repeatable = true;
    bool ok() const { return unwritten == 0 && wrong == 0 && repeatable; }
};

template <typename T>
T* to_device(const std::vector<T>& values) {
    T* memory = nullptr;
    must("allocate", cudaMalloc(&memory, values.size() * sizeof(T)));
    must("copy to the card", cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return memory;
}

// Launches into poisoned memory and returns what lies there afterwards.
template <typename T, typename Launch>
std::vector<T> run(size_t count, Launch launch) {
    static_assert(sizeof(T) % sizeof(uint32_t) == 0, "the poison is one word");
    const size_t words = count * sizeof(T) / sizeof(uint32_t);
    T* out = reinterpret_cast<T*>(to_device(std::vector<uint32_t>(words, kPoison)));
    launch(out);
    must("launch", cudaGetLastError());
    must("run", cudaDeviceSynchronize());
    std::vector<T> values(count);
    must("copy back", cudaMemcpy(values.data(), out, count * sizeof(T), cudaMemcpyDeviceToHost));
    must("free", cudaFree(out));
    return values;
}

template <typename T>
bool is_poison(T value) {
    uint32_t words[sizeof(T) / sizeof(uint32_t)];
    std::memcpy(words, &value, sizeof value);
    for (uint32_t word : words) {
        if (word != kPoison) return false;
    }
    return true;
}

template <typename T>
void judge_element(Verdict& verdict, T got, double error, double bound) {
    ++verdict.elements;
    const double ratio = bound > 0.0 ? error / bound : (error == 0.0 ? 0.0 : HUGE_VAL);
    if (is_poison(got)) {
        ++verdict.unwritten;
    } else if (!(ratio <= 1.0)) {
        ++verdict.wrong;
    }
    if (ratio > verdict.worst) verdict.worst = ratio;
}

std::string verdict_text(const char* name, const Verdict& v) {
    return format("{\"name\": \"%s\", \"elements\": %ld, \"unwritten\": %ld, \"wrong\": %ld, "
                  "\"worst_error_over_bound\": %.6g, \"repeatable\": %s, \"ok\": %s}",
                  name, v.elements, v.unwritten, v.wrong, std::isfinite(v.worst) ? v.worst : 1e30,
                  v.repeatable ? "true" : "false", v.ok() ? "true" : "false");
}

// One tensor-core path. In words of 32 bits all of these instructions (m16n8, 8 words of a row in a step) have the same
// layout, whatever the element is: PTX ISA, "Matrix fragments for mma".
struct Path {
    const char* name;
    int exponent_bits, mantissa_bits, bits;  // of an element; no exponent bits: a signed integer
    int low, high;                           // exponents of random inputs
    int inner;                               // K
    int kept;                                // bits that an addend keeps below the largest one of its sum
    int first_arch;                          // the first compute capability that has the instruction
};

constexpr int kTensorRows = 128;
constexpr int kTensorColumns = 128;
constexpr int kCopies = 16;  // of the whole work, so that every multiprocessor gets some
constexpr int kStepWords = 8;
constexpr int kWarpsPerBlock = 4;
constexpr int kTiles = (kTensorRows / 16) * (kTensorColumns / 8);

template <typename Sum>
struct Fragment {
    uint32_t a[4];
    uint32_t b[2];
    Sum sum[4];
};

// Each warp computes one 16 x 8 tile of A x B^T; both matrices lie row by row, packed to words along K.
template <typename Mma>
__global__ void tensor(const uint32_t* a, const uint32_t* b, const uint32_t* scales, typename Mma::Sum* out,
                       int words) {
    const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / kWarp);
    const int tile = warp % kTiles;
    const int group = (threadIdx.x % kWarp) / 4, quarter = threadIdx.x % 4;
    const int row = (tile / (kTensorColumns / 8)) * 16 + group;
    const int column = (tile % (kTensorColumns / 8)) * 8;
    const uint32_t* a_low = a + row * words + quarter;
    const uint32_t* a_high = a_low + 8 * words;
    const uint32_t* b_row = b + (column + group) * words + quarter;
    Fragment<typename Mma::Sum> f{};
    for (int k = 0; k < words; k += kStepWords) {
        f.a[0] = a_low[k];
        f.a[1] = a_high[k];
        f.a[2] = a_low[k + 4];
        f.a[3] = a_high[k + 4];
        f.b[0] = b_row[k];
        f.b[1] = b_row[k + 4];
        if (GPU_VERIFY_PLANT == Mma::kPlant && tile == 5 && k == kStepWords && threadIdx.x % kWarp == 7) f.a[2] = 0;
        Mma::step(f, scales, row, column + group, k / kStepWords, words / kStepWords);
    }
    typename Mma::Sum* at = out + (static_cast<size_t>(warp / kTiles) * kTensorRows + row) * kTensorColumns + column;
    at[quarter * 2] = f.sum[0];
    at[quarter * 2 + 1] = f.sum[1];
    at[8 * kTensorColumns + quarter * 2] = f.sum[2];
    at[8 * kTensorColumns + quarter * 2 + 1] = f.sum[3];
}

struct Matrix {
    std::vector<uint32_t> words;
    std::vector<double> values;
};

// Writes a value whose significand fits the format, which random and small whole numbers here do.
uint32_t encode(const Path& path, double value) {
    if (path.exponent_bits == 0) return static_cast<uint32_t>(static_cast<int>(value)) & ((1u << path.bits) - 1);
    const int bias = (1 << (path.exponent_bits - 1)) - 1;
    const int spare = path.bits - 1 - path.exponent_bits - path.mantissa_bits;  // tf32 lies in the upper 19 of 32 bits
    uint32_t code = 0;
    if (value != 0.0) {
        int exponent = 0;
        const double significand = std::frexp(std::fabs(value), &exponent) * 2.0 - 1.0;
        code = static_cast<uint32_t>(exponent - 1 + bias) << path.mantissa_bits;
        code |= static_cast<uint32_t>(std::ldexp(significand, path.mantissa_bits));
    }
    return ((value < 0.0 ? 1u : 0u) << (path.bits - 1)) | (code << spare);
}

double random_value(const Path& path, uint64_t& state) {
    const uint64_t random = next(state);
    if (path.exponent_bits == 0) return static_cast<double>(static_cast<int8_t>(random >> 56));
    const auto fraction = static_cast<double>((random >> 8) & ((1u << path.mantissa_bits) - 1));
    const int exponent = path.low + static_cast<int>((random >> 40) % static_cast<uint64_t>(path.high - path.low + 1));
    const double value = std::ldexp(1.0 + std::ldexp(fraction, -path.mantissa_bits), exponent);
    return (random >> 63) != 0 ? -value : value;
}

// Whole numbers from -3 to 3: with K up to 1024 no sum passes 2^14, so that even 13 kept bits lose nothing.
Matrix make_matrix(const Path& path, int rows, bool exact, uint64_t& state) {
    const int per_word = 32 / path.bits;
    Matrix matrix{std::vector<uint32_t>(static_cast<size_t>(rows) * path.inner / per_word),
                  std::vector<double>(static_cast<size_t>(rows) * path.inner)};
    for (size_t i = 0; i < matrix.values.size(); ++i) {
        const double value = exact ? static_cast<double>(next(state) % 7) - 3.0 : random_value(path, state);
        matrix.values[i] = value;
        const int shift = static_cast<int>(i % per_word) * path.bits;
        matrix.words[i / per_word] |= encode(path, value) << shift;
    }
    return matrix;
}

struct Reference {
    double sum, bound;
};

// Products are exact. The hardware adds some of them and the sum so far at once, each cut to `kept` bits below the
// largest, and cuts the result (Fasi, Higham, Mikaitis, Pranesh, PeerJ CS 7:e330, 2021). How many it takes at once is
// not published, but at least 4 and at most a step of k, so that in a step no more than k + k/4 addends and k/4 results
// are cut, each by less than 2^-kept of |sum so far| + sum |a b|; 2 k of them leave room for what the cuts did to the
// sum so far. This is a running error bound (Higham, Accuracy and Stability, 3.3).
Reference refer(const Path& path, const double* a, const double* b) {
    const int step = kStepWords * 32 / path.bits;
    Reference result{0.0, 0.0};
    for (int start_at = 0; start_at < path.inner; start_at += step) {
        double part = 0.0, size = std::fabs(result.sum);
        for (int k = start_at; k < start_at + step; ++k) {
            part += a[k] * b[k];
            size += std::fabs(a[k] * b[k]);
        }
        result.sum += part;
        result.bound += std::ldexp(2.0 * step * size, -path.kept);
    }
    return result;
}

template <typename Sum>
Verdict judge_tensor(const Path& path, const Matrix& a, const Matrix& b, bool exact, const std::vector<Sum>& out) {
    Verdict verdict;
    const size_t size = static_cast<size_t>(kTensorRows) * kTensorColumns;
    for (int row = 0; row < kTensorRows; ++row) {
        for (int column = 0; column < kTensorColumns; ++column) {
            const Reference expected = refer(path, &a.values[static_cast<size_t>(row) * path.inner],
                                             &b.values[static_cast<size_t>(column) * path.inner]);
            const Sum got = out[static_cast<size_t>(row) * kTensorColumns + column];
            judge_element(verdict, got, std::fabs(static_cast<double>(got) - expected.sum),
                          exact || path.exponent_bits == 0 ? 0.0 : expected.bound);
        }
    }
    for (int copy = 1; copy < kCopies; ++copy) {
        verdict.repeatable &= std::memcmp(&out[0], &out[copy * size], size * sizeof(Sum)) == 0;
    }
    return verdict;
}

// Runs a path once on random numbers and once on whole ones; the scales belong to the elements' values already.
template <typename Mma>
std::string verify_tensor(const Path& path, const Matrix& a, const Matrix& b, const uint32_t* scales, bool exact,
                          bool& ok) {
    using Sum = typename Mma::Sum;
    const uint32_t* a_words = to_device(a.words);
    const uint32_t* b_words = to_device(b.words);
    const auto launch = [&](Sum* out) {
        tensor<Mma><<<kTiles * kCopies / kWarpsPerBlock, kWarpsPerBlock * kWarp>>>(
            a_words, b_words, scales, out, path.inner * path.bits / 32);
    };
    const size_t count = static_cast<size_t>(kTensorRows) * kTensorColumns * kCopies;
    const auto first = run<Sum>(count, launch);
    const auto second = run<Sum>(count, launch);
    Verdict verdict = judge_tensor(path, a, b, exact, first);
    verdict.repeatable &= std::memcmp(first.data(), second.data(), count * sizeof(Sum)) == 0;
    ok &= verdict.ok();
    return verdict_text((std::string(path.name) + (exact ? "_exact" : "")).c_str(), verdict);
}

template <typename Kernel>
void print_results(const cudaDeviceProp& card, Kernel kernel, bool ok, uint64_t seed, double began,
                   const std::vector<std::string>& results) {
    std::printf("%s, \"seed\": %llu, \"seconds\": %.3f, \"kernels\": [", about_card(card, kernel, ok).c_str(),
                static_cast<unsigned long long>(seed), seconds_now() - began);
    for (size_t i = 0; i < results.size(); ++i) std::printf("%s%s", i == 0 ? "" : ", ", results[i].c_str());
    std::printf("]}\n");
}

}  // namespace
