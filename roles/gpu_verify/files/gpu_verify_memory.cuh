// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One card's memory: a test of nearly all that is free, and the speed of copies and triads over size beside the copies
// of the CUDA runtime and of nvbandwidth's kernel.

#pragma once

#include <algorithm>

#include "gpu_verify_stream.cuh"

namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kGiB = size_t{1} << 30;
constexpr size_t kLeaveFree = 512 * kMiB;  // for the driver's own needs and a desktop that is being used
constexpr size_t kLargest = 8 * kGiB;      // of one allocation
constexpr size_t kSmallest = 64 * kMiB;

struct Chunk {
    ulonglong2* memory;
    size_t bytes;
    uint64_t vectors() const { return bytes / sizeof(ulonglong2); }
};

// Nearly all free memory, in pieces as large as can be had.
std::vector<Chunk> take_memory(size_t free_bytes) {
    std::vector<Chunk> chunks;
    size_t open = free_bytes > kLeaveFree ? free_bytes - kLeaveFree : 0;
    size_t piece = kLargest;
    while (piece >= kSmallest && open >= kSmallest) {
        const size_t bytes = std::min(piece, open / kSmallest * kSmallest);
        Chunk chunk{nullptr, bytes};
        if (cudaMalloc(&chunk.memory, bytes) == cudaSuccess) {
            chunks.push_back(chunk);
            open -= bytes;
        } else {
            cudaGetLastError();  // the error of a piece that is too large, which a smaller one answers
            piece /= 2;
        }
    }
    return chunks;
}

struct Pass {
    const char* name;
    Pattern pattern;
    uint64_t flip;
};

constexpr uint64_t kFlip = ~uint64_t{0};
constexpr Pass kPasses[] = {
    {"address", Pattern::kAddress, 0}, {"address_complement", Pattern::kAddress, kFlip},
    {"random", Pattern::kRandom, 0},   {"random_complement", Pattern::kRandom, kFlip},
    {"walking", Pattern::kWalking, 0}, {"walking_complement", Pattern::kWalking, kFlip},
};

#if GPU_VERIFY_PLANT == 5
__global__ void plant(ulonglong2* memory) {
    memory[12345].y ^= 1ull << 17;
}
#elif GPU_VERIFY_PLANT == 6
__global__ void plant(ulonglong2* memory) {
    while (*reinterpret_cast<volatile unsigned long long*>(memory) != 1) {
    }
}
#endif

std::string faults_text(const Pass& pass, const Faults& faults) {
    std::string text;
    const auto recorded = std::min<unsigned long long>(faults.count, kRecorded);
    for (unsigned long long i = 0; i < recorded; ++i) {
        text += format("%s{\"pattern\": \"%s\", \"address\": \"0x%016llx\", \"expected\": \"0x%016llx\", "
                       "\"found\": \"0x%016llx\"}",
                       i == 0 ? "" : ", ", pass.name, static_cast<unsigned long long>(faults.first[i].address),
                       static_cast<unsigned long long>(faults.first[i].expected),
                       static_cast<unsigned long long>(faults.first[i].found));
    }
    return text;
}

// Writes a pattern everywhere, and only then reads it back: memory that answers for other addresses shows.
Faults test_pass(const Pass& pass, const std::vector<Chunk>& chunks, uint64_t seed, Faults* on_card) {
    must("clear the faults", cudaMemset(on_card, 0, sizeof(Faults)));
    uint64_t key = seed;
    for (const Chunk& chunk : chunks) {
        fill<<<blocks_for(chunk.vectors()), kThreads>>>(chunk.memory, chunk.vectors(), pass.pattern, key, pass.flip);
        key += 2 * chunk.vectors();
    }
#if GPU_VERIFY_PLANT == 5 || GPU_VERIFY_PLANT == 6
    if (pass.pattern == Pattern::kRandom) plant<<<1, 1>>>(chunks.back().memory);
#endif
    key = seed;
    for (const Chunk& chunk : chunks) {
        check<<<blocks_for(chunk.vectors()), kThreads>>>(chunk.memory, chunk.vectors(), pass.pattern, key, pass.flip,
                                                         on_card);
        key += 2 * chunk.vectors();
    }
    must("launch", cudaGetLastError());
    Faults faults{};
    must("read the faults", cudaMemcpy(&faults, on_card, sizeof faults, cudaMemcpyDeviceToHost));
    return faults;
}

int test_memory(const cudaDeviceProp& card, uint64_t seed) {
    about_card(card, check, true);  // fails here where the program has no code for this card
    size_t free_bytes = 0, total_bytes = 0;
    must("ask for free memory", cudaMemGetInfo(&free_bytes, &total_bytes));
    Faults* on_card = nullptr;
    must("allocate", cudaMalloc(&on_card, sizeof(Faults)));
    const std::vector<Chunk> chunks = take_memory(free_bytes);
    size_t tested = 0;
    for (const Chunk& chunk : chunks) tested += chunk.bytes;
    const double began = seconds_now();
    std::string passes, first;
    unsigned long long errors = 0;
    for (const Pass& pass : kPasses) {
        if (chunks.empty()) break;
        const Faults faults = test_pass(pass, chunks, seed, on_card);
        passes += format("%s{\"pattern\": \"%s\", \"errors\": %llu}", passes.empty() ? "" : ", ", pass.name,
                         faults.count);
        if (first.empty()) first = faults_text(pass, faults);
        errors += faults.count;
    }
    const double seconds = seconds_now() - began;
    const bool ok = errors == 0 && tested > 0;
    std::printf("%s, \"total_bytes\": %zu, \"free_bytes\": %zu, \"tested_bytes\": %zu, \"errors\": %llu, "
                "\"seconds\": %.3f, \"gb_s\": %.1f, \"passes\": [%s], \"first\": [%s]}\n",
                about_card(card, check, ok).c_str(), total_bytes, free_bytes, tested, errors, seconds,
                gb_s(2.0 * static_cast<double>(tested) * static_cast<double>(std::size(kPasses)), seconds * 1e3),
                passes.c_str(), first.c_str());
    return ok ? 0 : 1;
}

struct Arrays {
    float4 *a, *b, *c;
    size_t bytes;
};

using Stream = void (*)(const Arrays&, size_t bytes, int multiprocessors);

template <int kWide, int kLoads, Hint kHint, bool kTriad>
void launch_tiles(const Arrays& on, size_t bytes, int) {
    const auto blocks = static_cast<unsigned>(bytes / (sizeof(float4) * kWide * kLoads));
    tile_stream<kWide, kLoads, kHint, kTriad><<<blocks, kWide>>>(on.a, on.b, on.c);
}

void launch_striding(const Arrays& on, size_t bytes, int multiprocessors) {
    striding_copy<<<multiprocessors, kPublicWide>>>(on.a, on.b, bytes / sizeof(float4));
}

void launch_memcpy(const Arrays& on, size_t bytes, int) {
    must("copy", cudaMemcpyAsync(on.a, on.b, bytes, cudaMemcpyDeviceToDevice));
}

struct Variant {
    const char* name;
    Stream launch;
};

// Threads of a block and 16-byte loads that each has under way. The fastest differs from card to card, so each card
// chooses its own, at 1 GiB. On an H100 the 1024x1 win; cp.async.bulk with rings of 2 to 16 stages lost by 5 %.
template <bool kTriad>
constexpr Variant kVariants[] = {
    {"256x1", launch_tiles<256, 1, Hint::kPlain, kTriad>},
    {"256x4", launch_tiles<256, 4, Hint::kPlain, kTriad>},
    {"512x2", launch_tiles<512, 2, Hint::kPlain, kTriad>},
    {"1024x1", launch_tiles<1024, 1, Hint::kPlain, kTriad>},
    {"1024x1_streaming", launch_tiles<1024, 1, Hint::kStream, kTriad>},
};
constexpr Variant kMemcpy{"cuda_memcpy", launch_memcpy};
constexpr Variant kStriding{"nvbandwidth_like", launch_striding};

class Bench {
   public:
    Bench(const cudaDeviceProp& card, const Arrays& on, uint64_t seed) : card_(card), on_(on), seed_(seed) {
        must("allocate", cudaMalloc(&faults_, sizeof(Faults)));
        fill_all(on.b, Pattern::kRandom, seed);
    }

    // GB/s of a variant with what it reads and writes counted; at first its result is read, word by word.
    double speed(const Variant& variant, size_t bytes, int arrays) const {
        constexpr double kPerBatch = 16.0 * kGiB;
        const double moved = static_cast<double>(bytes) * arrays;
        const int launches = static_cast<int>(std::clamp(kPerBatch / moved, 4.0, 200.0));
        const auto launch = [&] { variant.launch(on_, bytes, card_.multiProcessorCount); };
        return gb_s(moved, best_ms(4, launches, launch));
    }

    unsigned long long wrong_copy(const Variant& variant, size_t bytes) const {
        must("clear", cudaMemset(on_.a, 0, bytes));
        variant.launch(on_, bytes, card_.multiProcessorCount);
        return wrong(bytes, Pattern::kRandom, seed_);
    }

    // b = 1 and c = 2 give 1 + 3 * 2 everywhere.
    unsigned long long wrong_triad(const Variant& variant, size_t bytes) const {
        must("clear", cudaMemset(on_.a, 0, bytes));
        fill_all(on_.b, Pattern::kConstant, pair(1.0f));
        fill_all(on_.c, Pattern::kConstant, pair(2.0f));
        variant.launch(on_, bytes, card_.multiProcessorCount);
        return wrong(bytes, Pattern::kConstant, pair(1.0f + kFactor * 2.0f));
    }

   private:
    static uint64_t pair(float value) {
        uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        return static_cast<uint64_t>(bits) << 32 | bits;
    }

    void fill_all(float4* memory, Pattern pattern, uint64_t key) const {
        const uint64_t vectors = on_.bytes / sizeof(ulonglong2);
        fill<<<blocks_for(vectors), kThreads>>>(reinterpret_cast<ulonglong2*>(memory), vectors, pattern, key, 0);
    }

    unsigned long long wrong(size_t bytes, Pattern pattern, uint64_t key) const {
        const uint64_t vectors = bytes / sizeof(ulonglong2);
        must("clear the faults", cudaMemset(faults_, 0, sizeof(Faults)));
        check<<<blocks_for(vectors), kThreads>>>(reinterpret_cast<const ulonglong2*>(on_.a), vectors, pattern, key, 0,
                                                 faults_);
        must("launch", cudaGetLastError());
        Faults faults{};
        must("read the faults", cudaMemcpy(&faults, faults_, sizeof faults, cudaMemcpyDeviceToHost));
        return faults.count;
    }

    cudaDeviceProp card_;
    Arrays on_;
    uint64_t seed_;
    Faults* faults_ = nullptr;
};

struct Chosen {
    const Variant* best = nullptr;
    double speed = 0.0;
    std::string tried;
    unsigned long long wrong = 0;
};

template <bool kTriad>
Chosen choose(const Bench& bench, size_t bytes) {
    Chosen chosen;
    for (const Variant& variant : kVariants<kTriad>) {
        chosen.wrong += kTriad ? bench.wrong_triad(variant, bytes) : bench.wrong_copy(variant, bytes);
        const double speed = bench.speed(variant, bytes, kTriad ? 3 : 2);
        chosen.tried += format("%s\"%s\": %.1f", chosen.tried.empty() ? "" : ", ", variant.name, speed);
        if (speed > chosen.speed) {
            chosen.best = &variant;
            chosen.speed = speed;
        }
    }
    return chosen;
}

int attribute(cudaDeviceAttr what) {
    int value = 0;
    must("read an attribute", cudaDeviceGetAttribute(&value, what, g_device));
    return value;
}

Arrays take_arrays() {
    size_t free_bytes = 0, total_bytes = 0;
    must("ask for free memory", cudaMemGetInfo(&free_bytes, &total_bytes));
    size_t bytes = 4 * kGiB;
    while (bytes > kGiB && 3 * bytes + kLeaveFree > free_bytes) bytes /= 2;
    Arrays on{nullptr, nullptr, nullptr, bytes};
    must("allocate 3 GiB", cudaMalloc(&on.a, bytes));
    must("allocate 3 GiB", cudaMalloc(&on.b, bytes));
    must("allocate 3 GiB", cudaMalloc(&on.c, bytes));
    return on;
}

int measure_bandwidth(const cudaDeviceProp& card, uint64_t seed, double began) {
    about_card(card, check, true);  // fails here where the program has no code for this card
    const Arrays on = take_arrays();
    const Bench bench(card, on, seed);
    const Chosen copy = choose<false>(bench, kGiB);
    const double by_memcpy = bench.speed(kMemcpy, kGiB, 2);
    const double by_striding = bench.speed(kStriding, kGiB, 2);
    const Chosen triad = choose<true>(bench, kGiB);
    std::string over_size;
    for (size_t bytes = 64 * 1024; bytes <= on.bytes; bytes *= 4) {
        over_size += format("%s{\"bytes\": %zu, \"copy_gb_s\": %.1f, \"triad_gb_s\": %.1f}",
                            over_size.empty() ? "" : ", ", bytes, bench.speed(*copy.best, bytes, 2),
                            bench.speed(*triad.best, bytes, 3));
    }
    const unsigned long long wrong = copy.wrong + triad.wrong;
    std::printf("%s, \"memory_clock_khz\": %d, \"memory_bus_bits\": %d, \"l2_bytes\": %d, \"wrong_words\": %llu, "
                "\"copy_kernel\": \"%s\", \"copy_gb_s\": %.1f, \"triad_kernel\": \"%s\", \"triad_gb_s\": %.1f, "
                "\"cuda_memcpy_gb_s\": %.1f, \"nvbandwidth_like_gb_s\": %.1f, \"copies\": {%s}, \"triads\": {%s}, "
                "\"over_size\": [",
                about_card(card, check, wrong == 0).c_str(), attribute(cudaDevAttrMemoryClockRate),
                attribute(cudaDevAttrGlobalMemoryBusWidth), attribute(cudaDevAttrL2CacheSize), wrong, copy.best->name,
                copy.speed, triad.best->name, triad.speed, by_memcpy, by_striding, copy.tried.c_str(),
                triad.tried.c_str());
    std::printf("%s], \"seconds\": %.3f}\n", over_size.c_str(), seconds_now() - began);
    return wrong == 0 ? 0 : 1;
}

}  // namespace
