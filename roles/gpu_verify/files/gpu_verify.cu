// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Two kernels that prove one card's arithmetic: a fused fp32 matrix product against a double-precision reference with
// a derived bound, and an integer mix that must agree bit for bit. Outputs are poisoned first, each kernel runs twice.
//
//   gpu_verify DEVICE SEED LIMIT_SECONDS      prints one JSON object
//
// Exit status: 0 right, 1 wrong numbers, 2 wrong arguments, 3 CUDA error, 4 out of time.
// -DGPU_VERIFY_PLANT=1..4 breaks it on purpose (wrong number, unwritten element, hang, crash) to prove the check.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <signal.h>
#include <unistd.h>

#ifndef GPU_VERIFY_PLANT
#define GPU_VERIFY_PLANT 0
#endif

namespace {

constexpr int kRows = 512;
constexpr int kColumns = 512;
constexpr int kInner = 1024;
constexpr int kTile = 16;
constexpr int kRoundings = kTile + kInner / kTile + 2;  // of one output: in a tile, over tiles, bias and scale
constexpr float kScale = 0.75f;
constexpr int kWords = 1 << 20;
constexpr int kRounds = 64;
constexpr int kWarp = 32;
constexpr uint32_t kPoison = 0xFFC0DEADu;  // as a float: a NaN

int g_device = -1;

[[noreturn]] void fail(const char* at, cudaError_t error) {
    std::printf("{\"format\": 1, \"device\": %d, \"ok\": false, \"at\": \"%s\", \"error\": \"%s\", \"code\": %d}\n",
                g_device, at, cudaGetErrorString(error), static_cast<int>(error));
    std::fflush(stdout);
    std::_Exit(3);
}

void must(const char* at, cudaError_t error) {
    if (error != cudaSuccess) fail(at, error);
}

void out_of_time(int) {
    static const char text[] = "{\"format\": 1, \"ok\": false, \"at\": \"time limit\", \"error\": \"out of time\"}\n";
    if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) _exit(5);
    _exit(4);
}

// splitmix64 (Steele, Lea, Flood 2014): every input follows from the seed in the result.
uint64_t next(uint64_t& state) {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

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

struct Inputs {
    std::vector<float> a, b, bias;
    std::vector<uint32_t> words;
};

Inputs make_inputs(uint64_t seed) {
    Inputs in{std::vector<float>(kRows * kInner), std::vector<float>(kInner * kColumns), std::vector<float>(kColumns),
              std::vector<uint32_t>(kWords)};
    for (float& x : in.a) x = next_float(seed);
    for (float& x : in.b) x = next_float(seed);
    for (float& x : in.bias) x = next_float(seed);
    for (uint32_t& x : in.words) x = static_cast<uint32_t>(next(seed) >> 32);
    return in;
}

struct Verdict {
    long unwritten = 0;
    long wrong = 0;
    double worst = 0.0;  // error divided by its bound
    bool repeatable = true;
    bool ok() const { return unwritten == 0 && wrong == 0 && repeatable; }
};

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
            uint32_t bits;
            std::memcpy(&bits, &got, sizeof bits);
            const double expected = (sum[c] >= 0.0 ? sum[c] : 0.5 * sum[c]) * kScale;
            const double ratio = std::fabs(got - expected) / (gamma * size[c] * kScale);
            if (bits == kPoison) {
                ++verdict.unwritten;
            } else if (!(ratio <= 1.0)) {
                ++verdict.wrong;
            }
            if (ratio > verdict.worst) verdict.worst = ratio;
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
            for (int lane = 0; lane < kWarp; ++lane) now[lane] = mix(before[lane], before[lane ^ (1 << (round % 5))], round);
        }
        for (int lane = 0; lane < kWarp; ++lane) {
            if (out[base + lane] == now[lane]) continue;
            if (out[base + lane] == kPoison) {
                ++verdict.unwritten;
            } else {
                ++verdict.wrong;
            }
        }
    }
    return verdict;
}

template <typename T>
T* to_device(const std::vector<T>& values) {
    T* memory = nullptr;
    must("allocate", cudaMalloc(&memory, values.size() * sizeof(T)));
    must("copy to the card", cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return memory;
}

template <typename T, typename Launch>
std::vector<T> run(size_t count, Launch launch) {
    static_assert(sizeof(T) == sizeof(uint32_t), "the poison is one word");
    T* out = reinterpret_cast<T*>(to_device(std::vector<uint32_t>(count, kPoison)));
    launch(out);
    must("launch", cudaGetLastError());
    must("run", cudaDeviceSynchronize());
    std::vector<T> values(count);
    must("copy back", cudaMemcpy(values.data(), out, count * sizeof(T), cudaMemcpyDeviceToHost));
    must("free", cudaFree(out));
    return values;
}

Verdict verify_fp32(const Inputs& in) {
    const float* a = to_device(in.a);
    const float* b = to_device(in.b);
    const float* bias = to_device(in.bias);
    int* stop = to_device(std::vector<int>(1, 0));
    const auto launch = [&](float* out) {
        fused_fp32<<<dim3(kColumns / kTile, kRows / kTile), dim3(kTile, kTile)>>>(a, b, bias, out, stop);
    };
    const auto first = run<float>(kRows * kColumns, launch);
    const auto second = run<float>(kRows * kColumns, launch);
    Verdict verdict = judge_fp32(in, first);
    verdict.repeatable = std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0;
    return verdict;
}

Verdict verify_integers(const Inputs& in) {
    const uint32_t* words = to_device(in.words);
    const auto launch = [&](uint32_t* out) { integer_mix<<<kWords / 256, 256>>>(words, out); };
    const auto first = run<uint32_t>(kWords, launch);
    const auto second = run<uint32_t>(kWords, launch);
    Verdict verdict = judge_integers(in, first);
    verdict.repeatable = first == second;
    return verdict;
}

std::string uuid_text(const cudaUUID_t& uuid) {
    std::string text = "GPU";
    char byte[3];
    for (int i = 0; i < 16; ++i) {
        if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        std::snprintf(byte, sizeof byte, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
        text += byte;
    }
    return text;
}

void print_kernel(const char* name, long elements, const Verdict& v, const char* end) {
    std::printf("{\"name\": \"%s\", \"elements\": %ld, \"unwritten\": %ld, \"wrong\": %ld, "
                "\"worst_error_over_bound\": %.6g, \"repeatable\": %s, \"ok\": %s}%s",
                name, elements, v.unwritten, v.wrong, std::isfinite(v.worst) ? v.worst : 1e30,
                v.repeatable ? "true" : "false", v.ok() ? "true" : "false", end);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: gpu_verify DEVICE SEED LIMIT_SECONDS\n");
        return 2;
    }
    g_device = std::atoi(argv[1]);
    const uint64_t seed = std::strtoull(argv[2], nullptr, 10);
    signal(SIGALRM, out_of_time);
    alarm(static_cast<unsigned>(std::atoi(argv[3])));
    timespec start{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &start);

    must("choose the card", cudaSetDevice(g_device));
    cudaDeviceProp card{};
    must("read the card's properties", cudaGetDeviceProperties(&card, g_device));
    cudaFuncAttributes code{};
    must("load the code", cudaFuncGetAttributes(&code, fused_fp32));
    int driver = 0;
    must("read the driver's version", cudaDriverGetVersion(&driver));

    const Inputs in = make_inputs(seed);
    const Verdict fp32 = verify_fp32(in);
    const Verdict integers = verify_integers(in);
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds = static_cast<double>(end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) * 1e-9;
    const bool ok = fp32.ok() && integers.ok();
    std::printf("{\"format\": 1, \"device\": %d, \"ok\": %s, \"name\": \"%s\", \"uuid\": \"%s\", "
                "\"pci\": \"%08x:%02x:%02x.0\", \"arch\": \"%d.%d\", \"binary_arch\": %d, \"driver_cuda\": %d, "
                "\"runtime_cuda\": %d, \"seed\": %llu, \"seconds\": %.3f, \"kernels\": [",
                g_device, ok ? "true" : "false", card.name, uuid_text(card.uuid).c_str(), card.pciDomainID,
                card.pciBusID, card.pciDeviceID, card.major, card.minor, code.binaryVersion, driver, CUDART_VERSION,
                static_cast<unsigned long long>(seed), seconds);
    print_kernel("fused_fp32", static_cast<long>(kRows) * kColumns, fp32, ", ");
    print_kernel("integer_mix", kWords, integers, "]}\n");
    return ok ? 0 : 1;
}
