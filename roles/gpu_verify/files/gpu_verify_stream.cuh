// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Kernels that stream through device memory: patterns written and read back, copies and triads, and how they are timed.

#pragma once

#include "gpu_verify.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kDeep = 4;  // 16-byte accesses that a thread has in flight where patterns are written and read
constexpr int kRecorded = 8;

enum class Pattern : int { kAddress, kRandom, kWalking, kConstant };

__device__ inline uint64_t pattern_word(Pattern pattern, uint64_t index, uint64_t key) {
    switch (pattern) {
        case Pattern::kAddress: return index * sizeof(uint64_t);
        case Pattern::kRandom: return scramble(index + key);
        case Pattern::kWalking: return 1ull << (index % 64);
        default: return key;
    }
}

struct Fault {
    uint64_t address, expected, found;
};

struct Faults {
    unsigned long long count;
    Fault first[kRecorded];
};

__global__ void fill(ulonglong2* memory, uint64_t vectors, Pattern pattern, uint64_t key, uint64_t flip) {
    const uint64_t first = static_cast<uint64_t>(blockIdx.x) * kThreads * kDeep + threadIdx.x;
#pragma unroll
    for (int i = 0; i < kDeep; ++i) {
        const uint64_t at = first + static_cast<uint64_t>(i) * kThreads;
        if (at >= vectors) continue;
        memory[at] = make_ulonglong2(pattern_word(pattern, 2 * at, key) ^ flip,
                                     pattern_word(pattern, 2 * at + 1, key) ^ flip);
    }
}

__device__ void record(Faults* faults, const ulonglong2* memory, uint64_t word, uint64_t expected, uint64_t found) {
    const unsigned long long number = atomicAdd(&faults->count, 1ull);
    if (number >= kRecorded) return;
    faults->first[number] = {reinterpret_cast<uint64_t>(memory) + word * sizeof(uint64_t), expected, found};
}

__global__ void check(const ulonglong2* memory, uint64_t vectors, Pattern pattern, uint64_t key, uint64_t flip,
                      Faults* faults) {
    const uint64_t first = static_cast<uint64_t>(blockIdx.x) * kThreads * kDeep + threadIdx.x;
    ulonglong2 found[kDeep];
#pragma unroll
    for (int i = 0; i < kDeep; ++i) {
        const uint64_t at = first + static_cast<uint64_t>(i) * kThreads;
        if (at < vectors) found[i] = __ldcs(&memory[at]);
    }
#pragma unroll
    for (int i = 0; i < kDeep; ++i) {
        const uint64_t at = first + static_cast<uint64_t>(i) * kThreads;
        if (at >= vectors) continue;
        const uint64_t low = pattern_word(pattern, 2 * at, key) ^ flip;
        const uint64_t high = pattern_word(pattern, 2 * at + 1, key) ^ flip;
        if (found[i].x != low) record(faults, memory, 2 * at, low, found[i].x);
        if (found[i].y != high) record(faults, memory, 2 * at + 1, high, found[i].y);
    }
}

unsigned blocks_for(uint64_t vectors) {
    return static_cast<unsigned>((vectors + kThreads * kDeep - 1) / (kThreads * kDeep));
}

enum class Hint { kPlain, kStream };

template <Hint kHint>
__device__ inline float4 load(const float4* from) {
    return kHint == Hint::kStream ? __ldcs(from) : *from;
}

template <Hint kHint>
__device__ inline void store(float4* to, float4 value) {
    if (kHint == Hint::kStream) {
        __stcs(to, value);
    } else {
        *to = value;
    }
}

constexpr float kFactor = 3.0f;

__device__ inline float4 triad_of(float4 b, float4 c) {
    return make_float4(fmaf(kFactor, c.x, b.x), fmaf(kFactor, c.y, b.y), fmaf(kFactor, c.z, b.z),
                       fmaf(kFactor, c.w, b.w));
}

// Each block moves one tile: all loads of a thread are under way before its first store. The sizes that are measured
// are whole numbers of tiles.
template <int kWide, int kLoads, Hint kHint, bool kTriad>
__global__ void __launch_bounds__(kWide) tile_stream(float4* a, const float4* b, const float4* c) {
    const size_t first = static_cast<size_t>(blockIdx.x) * kWide * kLoads + threadIdx.x;
    float4 value[kLoads], other[kTriad ? kLoads : 1];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
        value[i] = load<kHint>(&b[first + i * kWide]);
        if (kTriad) other[i] = load<kHint>(&c[first + i * kWide]);
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
        store<kHint>(&a[first + i * kWide], kTriad ? triad_of(value[i], other[kTriad ? i : 0]) : value[i]);
    }
}

// The copy kernel of nvbandwidth in its shape: one block of 512 threads per multiprocessor, twelve loads under way.
constexpr int kPublicWide = 512;
constexpr int kPublicLoads = 12;

__global__ void striding_copy(float4* a, const float4* b, size_t vectors) {
    const size_t stride = static_cast<size_t>(gridDim.x) * kPublicWide;
    size_t at = static_cast<size_t>(blockIdx.x) * kPublicWide + threadIdx.x;
    for (; at + (kPublicLoads - 1) * stride < vectors; at += kPublicLoads * stride) {
        float4 value[kPublicLoads];
#pragma unroll
        for (int i = 0; i < kPublicLoads; ++i) value[i] = b[at + i * stride];
#pragma unroll
        for (int i = 0; i < kPublicLoads; ++i) a[at + i * stride] = value[i];
    }
    for (; at < vectors; at += stride) a[at] = b[at];
}

// Milliseconds of one launch: the best of some batches, each of launches that follow one another without a pause.
template <typename Launch>
double best_ms(int batches, int launches, Launch launch) {
    cudaEvent_t begin{}, end{};
    must("make an event", cudaEventCreate(&begin));
    must("make an event", cudaEventCreate(&end));
    launch();
    double best = HUGE_VAL;
    for (int batch = 0; batch < batches; ++batch) {
        must("start the clock", cudaEventRecord(begin));
        for (int i = 0; i < launches; ++i) launch();
        must("stop the clock", cudaEventRecord(end));
        must("launch", cudaGetLastError());
        must("run", cudaEventSynchronize(end));
        float ms = 0.0f;
        must("read the clock", cudaEventElapsedTime(&ms, begin, end));
        if (ms / launches < best) best = ms / launches;
    }
    must("free an event", cudaEventDestroy(begin));
    must("free an event", cudaEventDestroy(end));
    return best;
}

double gb_s(double bytes, double ms) {
    return bytes / ms * 1e-6;
}

}  // namespace
