// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the programs of gpu_verify share: one JSON object on standard output, an end after a time limit, numbers that
// follow from a seed.
//
// Exit status of each program: 0 right, 1 wrong, 2 wrong arguments, 3 CUDA error, 4 out of time.

#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <signal.h>
#include <unistd.h>

// 1 to 4 break fused_fp32 (wrong number, unwritten element, hang, crash), 5 flips a word of the memory test, 6 lets the
// memory test hang, 11 and up break one tensor-core path each: the number of its row in the tables of paths.
#ifndef GPU_VERIFY_PLANT
#define GPU_VERIFY_PLANT 0
#endif

namespace {

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

double seconds_now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// What the command line asks for: PROGRAM DEVICE SEED LIMIT_SECONDS WHAT.
struct Run {
    std::string what;
    uint64_t seed;
    double began;
};

// Chooses the card and sets the time limit; ends the program where it was asked for something that it does not know.
Run start(const char* program, std::initializer_list<const char*> known, int argc, char** argv) {
    std::string all;
    bool found = false;
    for (const char* name : known) {
        all += (all.empty() ? "" : "|") + std::string(name);
        found |= argc == 5 && std::strcmp(argv[4], name) == 0;
    }
    if (!found) {
        std::fprintf(stderr, "usage: %s DEVICE SEED LIMIT_SECONDS %s\n", program, all.c_str());
        std::exit(2);
    }
    const double began = seconds_now();
    signal(SIGALRM, out_of_time);
    alarm(static_cast<unsigned>(std::atoi(argv[3])));
    g_device = std::atoi(argv[1]);
    must("choose the card", cudaSetDevice(g_device));
    return {argv[4], std::strtoull(argv[2], nullptr, 10), began};
}

// splitmix64 (Steele, Lea, Flood 2014): every input follows from the seed in the result.
__host__ __device__ inline uint64_t scramble(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

inline uint64_t next(uint64_t& state) {
    return scramble(state += 0x9E3779B97F4A7C15ull);
}

std::string format(const char* pattern, ...) {
    char text[1024];
    va_list values;
    va_start(values, pattern);
    std::vsnprintf(text, sizeof text, pattern, values);
    va_end(values);
    return text;
}

std::string uuid_text(const cudaUUID_t& uuid) {
    std::string text = "GPU";
    for (int i = 0; i < 16; ++i) {
        if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += format("%02x", static_cast<unsigned char>(uuid.bytes[i]));
    }
    return text;
}

std::string pci_text(const cudaDeviceProp& card) {
    return format("%08x:%02x:%02x.0", card.pciDomainID, card.pciBusID, card.pciDeviceID);
}

// The beginning of every result: which card, and which machine code was loaded for it.
template <typename Kernel>
std::string about_card(const cudaDeviceProp& card, Kernel kernel, bool ok) {
    cudaFuncAttributes code{};
    must("load the code", cudaFuncGetAttributes(&code, kernel));
    int driver = 0;
    must("read the driver's version", cudaDriverGetVersion(&driver));
    return format("{\"format\": 1, \"device\": %d, \"ok\": %s, \"name\": \"%s\", \"uuid\": \"%s\", \"pci\": \"%s\", "
                  "\"arch\": \"%d.%d\", \"binary_arch\": %d, \"driver_cuda\": %d, \"runtime_cuda\": %d",
                  g_device, ok ? "true" : "false", card.name, uuid_text(card.uuid).c_str(), pci_text(card).c_str(),
                  card.major, card.minor, code.binaryVersion, driver, CUDART_VERSION);
}

cudaDeviceProp read_card() {
    cudaDeviceProp card{};
    must("read the card's properties", cudaGetDeviceProperties(&card, g_device));
    return card;
}

}  // namespace
