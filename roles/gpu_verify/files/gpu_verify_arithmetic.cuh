// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One card's arithmetic: a fused fp32 matrix product and fp64 products against a reference in higher precision with
// derived bounds, an integer mix that must agree bit for bit, and the tensor cores in int8, fp16, bf16, tf32 and fp8.

#pragma once

#include "gpu_verify_numbers.cuh"

namespace {

constexpr int kRows = 512;
constexpr int kColumns = 512;
constexpr int kInner = 1024;
constexpr int kTile = 16;
constexpr int kRoundings = kTile + kInner / kTile + 2;  // of one output: in a tile, over tiles, bias and scale
constexpr float kScale = 0.75f;
constexpr int kWords = 1 << 20;
constexpr int kRounds = 64;
constexpr int kDoubles = 128;  // rows and columns of the fp64 products
constexpr int kDoubleInner = 256;

float next_float(uint64_t& state) {
    return static_cast<float>(static_cast<int64_t>(next(state) >> 40) - (1 << 23)) / static_cast<float>(1 << 23);
}

// out = leaky(a x b + bias) * scale; leaky halves negative values, which is exact.
__global__ void fused_fp32(const float* a, const float* b, const float* bias, float* out, volatile int* stop) {
    __shared__ float tile_a[kTile][kTile];
    __shared__ float tile_b[kTile][kTile + 1];
    const int row = blockIdx.y * kTile + threadIdx.y;
    const int column = blockIdx.x * kTile + threadIdx.x;
    float sum = 0.0f;
    for (int start = 0; start < kInner; start += kTile) {
        tile_a[threadIdx.y][threadIdx.x] = a[row * kInner + start + threadIdx.x];
        tile_b[threadIdx.y][threadIdx.x] = b[(start + threadIdx.y) * kColumns + column];
        __syncthreads();
        float part = 0.0f;
#pragma unroll
        for (int k = 0; k < kTile; ++k) part = fmaf(tile_a[threadIdx.y][k], tile_b[k][threadIdx.x], part);
        sum += part;
        __syncthreads();
    }
    sum += bias[column];
    float value = (sum >= 0.0f ? sum : 0.5f * sum) * kScale;
    const int element = row * kColumns + column;
#if GPU_VERIFY_PLANT == 1
    if (element == 12345) value += 0.01f;
#elif GPU_VERIFY_PLANT == 2
    if (element == 12345) return;
#elif GPU_VERIFY_PLANT == 3
    while (*stop == 0) {
    }
#elif GPU_VERIFY_PLANT == 4
    if (element == 12345) out += 1ll << 40;
#endif
    out[element] = value;
}

__host__ __device__ inline uint32_t rotate(uint32_t x, int by) {
    return (x << by) | (x >> (32 - by));
}

__host__ __device__ inline uint32_t mix(uint32_t x, uint32_t other, int round) {
    const uint64_t product = static_cast<uint64_t>(x | 1u) * (other ^ 0x85EBCA6Bu);
    const uint32_t folded = static_cast<uint32_t>(product >> 32) ^ static_cast<uint32_t>(product);
    return rotate(folded + x, 1 + (round % 31)) ^ (other >> 3) ^ (x / (static_cast<uint32_t>(round) + 3u));
}

__global__ void integer_mix(const uint32_t* in, uint32_t* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t x = in[i];
    for (int round = 0; round < kRounds; ++round) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, x, 1 << (round % 5));
        x = mix(x, other, round);
    }
    out[i] = x;
}

// fma in double precision, a thread per element, in the order of k.
__global__ void fp64(const double* a, const double* b, double* out) {
    const int row = blockIdx.x % kDoubles, column = threadIdx.x;
    double sum = 0.0;
    for (int k = 0; k < kDoubleInner; ++k) {
        sum = fma(a[row * kDoubleInner + k], b[column * kDoubleInner + k], sum);
    }
    out[static_cast<size_t>(blockIdx.x) * kDoubles + column] = sum;
}

// The same by the tensor cores, a warp per 8 x 8 tile (PTX ISA, "Matrix fragments for mma.m8n8k4 with .f64").
__global__ void fp64_tensor(const double* a, const double* b, double* out) {
#if __CUDA_ARCH__ >= 800
    const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / kWarp);
    const int tile = warp % (kDoubles / 8 * kDoubles / 8);
    const int group = (threadIdx.x % kWarp) / 4, quarter = threadIdx.x % 4;
    const int row = tile / (kDoubles / 8) * 8, column = tile % (kDoubles / 8) * 8;
    double low = 0.0, high = 0.0;
    for (int k = 0; k < kDoubleInner; k += 4) {
        double a_here = a[(row + group) * kDoubleInner + k + quarter];
        const double b_here = b[(column + group) * kDoubleInner + k + quarter];
#if GPU_VERIFY_PLANT == 16
        if (tile == 5 && k == 4 && threadIdx.x % kWarp == 7) a_here = 0.0;
#endif
        asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+d"(low), "+d"(high)
                     : "d"(a_here), "d"(b_here));
    }
    const size_t copy = warp / (kDoubles / 8 * kDoubles / 8);
    double* at = out + (copy * kDoubles + row + group) * kDoubles + column + quarter * 2;
    at[0] = low;
    at[1] = high;
#endif
}

// D = A x B + D by one warp. What a compute capability lacks is not compiled for it, and not launched there.
#define GPU_VERIFY_MMA(instruction, constraint, f)                                                              \
    asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                 \
                 : "+" constraint(f.sum[0]), "+" constraint(f.sum[1]), "+" constraint(f.sum[2]),                \
                   "+" constraint(f.sum[3])                                                                     \
                 : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]))

struct Int8 {
    using Sum = int32_t;
    static constexpr int kPlant = 11;
    static __device__ void step(Fragment<Sum>& f, const uint32_t*, int, int, int, int) {
#if __CUDA_ARCH__ >= 800
        GPU_VERIFY_MMA("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", "r", f);
#endif
    }
};

struct Fp16 {
    using Sum = float;
    static constexpr int kPlant = 12;
    static __device__ void step(Fragment<Sum>& f, const uint32_t*, int, int, int, int) {
#if __CUDA_ARCH__ >= 800
        GPU_VERIFY_MMA("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "f", f);
#endif
    }
};

struct Bf16 {
    using Sum = float;
    static constexpr int kPlant = 13;
    static __device__ void step(Fragment<Sum>& f, const uint32_t*, int, int, int, int) {
#if __CUDA_ARCH__ >= 800
        GPU_VERIFY_MMA("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "f", f);
#endif
    }
};

struct Tf32 {
    using Sum = float;
    static constexpr int kPlant = 14;
    static __device__ void step(Fragment<Sum>& f, const uint32_t*, int, int, int, int) {
#if __CUDA_ARCH__ >= 800
        GPU_VERIFY_MMA("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "f", f);
#endif
    }
};

struct Fp8 {
    using Sum = float;
    static constexpr int kPlant = 15;
    static __device__ void step(Fragment<Sum>& f, const uint32_t*, int, int, int, int) {
#if __CUDA_ARCH__ >= 890
        GPU_VERIFY_MMA("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", "f", f);
#endif
    }
};

// Bits that are kept: 23 is the least seen for fp16, bf16 and tf32 (V100; later cards keep more), 13 is Hopper's and
// Ada's for fp8 (docs/verification.md names the sources).
constexpr Path kInt8{"int8", 0, 0, 8, 0, 0, 1024, 31, 80};
constexpr Path kFp16{"fp16", 5, 10, 16, -6, -1, 1024, 23, 80};
constexpr Path kBf16{"bf16", 8, 7, 16, -6, -1, 1024, 23, 80};
constexpr Path kTf32{"tf32", 8, 10, 32, -6, -1, 512, 23, 80};
constexpr Path kFp8{"fp8_e4m3", 4, 3, 8, -2, 1, 256, 13, 89};

struct Inputs {
    std::vector<float> a, b, bias;
    std::vector<uint32_t> words;
    std::vector<double> a64, b64;
};

Inputs make_inputs(uint64_t seed) {
    Inputs in{std::vector<float>(kRows * kInner), std::vector<float>(kInner * kColumns), std::vector<float>(kColumns),
              std::vector<uint32_t>(kWords), std::vector<double>(kDoubles * kDoubleInner),
              std::vector<double>(kDoubles * kDoubleInner)};
    for (float& x : in.a) x = next_float(seed);
    for (float& x : in.b) x = next_float(seed);
    for (float& x : in.bias) x = next_float(seed);
    for (uint32_t& x : in.words) x = static_cast<uint32_t>(next(seed) >> 32);
    for (double& x : in.a64) x = std::ldexp(static_cast<double>(static_cast<int64_t>(next(seed))), -63);
    for (double& x : in.b64) x = std::ldexp(static_cast<double>(static_cast<int64_t>(next(seed))), -63);
    return in;
}

// A sum in which no term passes through more than n roundings is off by at most gamma(n) * sum |a b|, with
// gamma(n) = n u / (1 - n u) and u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1 and 4.2).
Verdict judge_fp32(const Inputs& in, const std::vector<float>& out) {
    const double nu = kRoundings * std::ldexp(1.0, -24);
    const double gamma = nu / (1.0 - nu);
    Verdict verdict;
    std::vector<double> sum(kColumns), size(kColumns);
    for (int row = 0; row < kRows; ++row) {
        for (int c = 0; c < kColumns; ++c) {
            sum[c] = in.bias[c];
            size[c] = std::fabs(static_cast<double>(in.bias[c]));
        }
        for (int k = 0; k < kInner; ++k) {
            const double a = in.a[row * kInner + k];
            const float* b = &in.b[static_cast<size_t>(k) * kColumns];
            for (int c = 0; c < kColumns; ++c) {
                const double term = a * b[c];
                sum[c] += term;
                size[c] += std::fabs(term);
            }
        }
        for (int c = 0; c < kColumns; ++c) {
            const float got = out[row * kColumns + c];
            const double expected = (sum[c] >= 0.0 ? sum[c] : 0.5 * sum[c]) * kScale;
            judge_element(verdict, got, std::fabs(got - expected), gamma * size[c] * kScale);
        }
    }
    return verdict;
}

Verdict judge_integers(const Inputs& in, const std::vector<uint32_t>& out) {
    Verdict verdict;
    for (int base = 0; base < kWords; base += kWarp) {
        uint32_t now[kWarp], before[kWarp];
        std::memcpy(now, &in.words[base], sizeof now);
        for (int round = 0; round < kRounds; ++round) {
            std::memcpy(before, now, sizeof now);
            for (int lane = 0; lane < kWarp; ++lane) {
                now[lane] = mix(before[lane], before[lane ^ (1 << (round % 5))], round);
            }
        }
        for (int lane = 0; lane < kWarp; ++lane) {
            const uint32_t got = out[base + lane];
            judge_element(verdict, got, std::fabs(static_cast<double>(got) - static_cast<double>(now[lane])), 0.0);
        }
    }
    return verdict;
}

// An fma chain of K terms has at most K roundings; the reference has 11 bits more (x86's extended precision).
Verdict judge_fp64(const Inputs& in, const std::vector<double>& out) {
    const long double nu = kDoubleInner * std::ldexp(1.0L, -53);
    Verdict verdict;
    for (int row = 0; row < kDoubles; ++row) {
        for (int column = 0; column < kDoubles; ++column) {
            long double sum = 0.0L, size = 0.0L;
            for (int k = 0; k < kDoubleInner; ++k) {
                const long double term = static_cast<long double>(in.a64[row * kDoubleInner + k]) *
                                         in.b64[column * kDoubleInner + k];
                sum += term;
                size += std::fabs(term);
            }
            const double got = out[static_cast<size_t>(row) * kDoubles + column];
            judge_element(verdict, got, static_cast<double>(std::fabs(got - sum)),
                          static_cast<double>(nu / (1.0L - nu) * size));
        }
    }
    const size_t size = static_cast<size_t>(kDoubles) * kDoubles;
    for (int copy = 1; copy < kCopies; ++copy) {
        verdict.repeatable &= std::memcmp(&out[0], &out[copy * size], size * sizeof(double)) == 0;
    }
    return verdict;
}

template <typename T, typename Launch, typename Judge>
std::string verify(const char* name, size_t count, bool& ok, Launch launch, Judge judge) {
    const auto first = run<T>(count, launch);
    const auto second = run<T>(count, launch);
    Verdict verdict = judge(first);
    verdict.repeatable &= std::memcmp(first.data(), second.data(), count * sizeof(T)) == 0;
    ok &= verdict.ok();
    return verdict_text(name, verdict);
}

std::vector<std::string> verify_plain(const Inputs& in, int arch, bool& ok) {
    const float* a = to_device(in.a);
    const float* b = to_device(in.b);
    const float* bias = to_device(in.bias);
    const uint32_t* words = to_device(in.words);
    const double* a64 = to_device(in.a64);
    const double* b64 = to_device(in.b64);
    int* stop = to_device(std::vector<int>(1, 0));
    const size_t doubles = static_cast<size_t>(kDoubles) * kDoubles * kCopies;
    const auto judge_doubles = [&](const std::vector<double>& out) { return judge_fp64(in, out); };
    std::vector<std::string> results{
        verify<float>(
            "fused_fp32", kRows * kColumns, ok,
            [&](float* out) {
                fused_fp32<<<dim3(kColumns / kTile, kRows / kTile), dim3(kTile, kTile)>>>(a, b, bias, out, stop);
            },
            [&](const std::vector<float>& out) { return judge_fp32(in, out); }),
        verify<uint32_t>(
            "integer_mix", kWords, ok, [&](uint32_t* out) { integer_mix<<<kWords / 256, 256>>>(words, out); },
            [&](const std::vector<uint32_t>& out) { return judge_integers(in, out); }),
        verify<double>(
            "fp64", doubles, ok, [&](double* out) { fp64<<<kDoubles * kCopies, kDoubles>>>(a64, b64, out); },
            judge_doubles),
    };
    if (arch < 80) return results;
    const auto launch = [&](double* out) {
        fp64_tensor<<<kDoubles / 8 * kDoubles / 8 * kCopies / kWarpsPerBlock, kWarpsPerBlock * kWarp>>>(a64, b64, out);
    };
    results.push_back(verify<double>("fp64_tensor", doubles, ok, launch, judge_doubles));
    return results;
}

template <typename Mma>
void verify_path(const Path& path, int arch, uint64_t& state, std::vector<std::string>& results, bool& ok) {
    if (arch < path.first_arch) return;
    for (const bool exact : {false, true}) {
        const Matrix a = make_matrix(path, kTensorRows, exact, state);
        const Matrix b = make_matrix(path, kTensorColumns, exact, state);
        results.push_back(verify_tensor<Mma>(path, a, b, nullptr, exact, ok));
        if (path.exponent_bits == 0) return;  // whole numbers are exact as they are
    }
}

int verify_numbers(const cudaDeviceProp& card, uint64_t seed, double began) {
    const uint64_t seed_of_all = seed;
    about_card(card, fused_fp32, true);  // fails here where the program has no code for this card
    bool ok = true;
    const int arch = card.major * 10 + card.minor;
    std::vector<std::string> results = verify_plain(make_inputs(seed), arch, ok);
    verify_path<Int8>(kInt8, arch, seed, results, ok);
    verify_path<Fp16>(kFp16, arch, seed, results, ok);
    verify_path<Bf16>(kBf16, arch, seed, results, ok);
    verify_path<Tf32>(kTf32, arch, seed, results, ok);
    verify_path<Fp8>(kFp8, arch, seed, results, ok);
    print_results(card, fused_fp32, ok, seed_of_all, began, results);
    return ok ? 0 : 1;
}

}  // namespace
