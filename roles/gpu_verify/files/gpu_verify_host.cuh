// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One card's way to the host: copies from and to pinned memory, and the PCIe link read by sysfs and by NVML while they
// are under way (an idle link falls back to 2.5 GT/s).

#pragma once

#include <algorithm>
#include <fstream>

#include <dlfcn.h>
#include <limits.h>
#include <sched.h>

#include "gpu_verify.cuh"

namespace {

constexpr size_t kBlock = size_t{256} << 20;
constexpr int kBatches = 4;
constexpr int kPerBatch = 4;
constexpr int kSamples = 10;
constexpr int kCopiesPerSample = 8;

std::string read_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// Keeps this process, and so its pinned memory, on the processors beside the card.
void stay_near(const std::string& directory) {
    const std::string list = read_line(directory + "/local_cpulist");
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    const char* at = list.c_str();
    while (*at >= '0' && *at <= '9') {
        char* end = nullptr;
        long first = std::strtol(at, &end, 10);
        const long last = *end == '-' ? std::strtol(end + 1, &end, 10) : first;
        for (; first <= last && first < CPU_SETSIZE; ++first) CPU_SET(first, &wanted);
        at = *end == ',' ? end + 1 : end;
    }
    if (CPU_COUNT(&wanted) > 0) sched_setaffinity(0, sizeof wanted, &wanted);
}

// NVML by its name at run time, so that the program needs no library beyond the driver's.
class Nvml {
   public:
    explicit Nvml(const std::string& pci) : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
        using Init = int (*)();
        using Find = int (*)(const char*, void**);
        const auto init = find<Init>("nvmlInit_v2");
        const auto by_pci = find<Find>("nvmlDeviceGetHandleByPciBusId_v2");
        if (init == nullptr || by_pci == nullptr || init() != 0 || by_pci(pci.c_str(), &card_) != 0) card_ = nullptr;
    }

    // A number of the card, "null" where it cannot be had.
    std::string ask(const std::string& function) const {
        using Ask = int (*)(void*, unsigned*);
        const auto call = find<Ask>(function.c_str());
        unsigned value = 0;
        if (card_ == nullptr || call == nullptr || call(card_, &value) != 0) return "null";
        return std::to_string(value);
    }

   private:
    template <typename Function>
    Function find(const char* name) const {
        return library_ == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library_, name));
    }

    void* library_;
    void* card_ = nullptr;
};

struct Link {
    std::string card, port;  // directories of the card and of the port that it is plugged into
    const Nvml& nvml;

    std::string now() const { return read("current", "Curr"); }
    std::string most() const { return read("max", "Max"); }

   private:
    std::string read(const std::string& which, const std::string& nvml_which) const {
        const auto line = [&](const std::string& directory, const char* what) {
            return read_line(directory + "/" + which + "_link_" + what);
        };
        const std::string asked = "nvmlDeviceGet" + nvml_which + "PcieLink";
        return format("{\"card_speed\": \"%s\", \"card_width\": \"%s\", \"port_speed\": \"%s\", "
                      "\"port_width\": \"%s\", \"nvml_generation\": %s, \"nvml_width\": %s}",
                      line(card, "speed").c_str(), line(card, "width").c_str(), line(port, "speed").c_str(),
                      line(port, "width").c_str(), nvml.ask(asked + "Generation").c_str(),
                      nvml.ask(asked + "Width").c_str());
    }
};

class Copies {
   public:
    Copies() {
        for (int i = 0; i < 2; ++i) {
            must("make a stream", cudaStreamCreateWithFlags(&streams_[i], cudaStreamNonBlocking));
            must("pin host memory", cudaHostAlloc(&host_[i], kBlock, cudaHostAllocDefault));
            must("allocate", cudaMalloc(&card_[i], kBlock));
        }
        for (size_t i = 0; i < kBlock / sizeof(uint64_t); ++i) static_cast<uint64_t*>(host_[0])[i] = scramble(i);
    }

    void down() { copy(0, card_[0], host_[0]); }
    void up() { copy(1, host_[1], card_[1]); }
    void wait() { must("copy", cudaDeviceSynchronize()); }

    // What went down and came up again is what it was.
    bool same() {
        std::memset(host_[1], 0xDE, kBlock);
        down();
        wait();
        must("copy on the card", cudaMemcpy(card_[1], card_[0], kBlock, cudaMemcpyDeviceToDevice));
        up();
        wait();
        return std::memcmp(host_[0], host_[1], kBlock) == 0;
    }

    // GB/s of the best batch, all directions together.
    template <typename Copy>
    double speed(int directions, Copy copy) {
        double best = HUGE_VAL;
        for (int batch = 0; batch < kBatches; ++batch) {
            const double began = seconds_now();
            for (int i = 0; i < kPerBatch; ++i) copy();
            wait();
            best = std::min(best, seconds_now() - began);
        }
        return static_cast<double>(kBlock) * kPerBatch * directions / best * 1e-9;
    }

   private:
    void copy(int stream, void* to, const void* from) {
        must("start a copy", cudaMemcpyAsync(to, from, kBlock, cudaMemcpyDefault, streams_[stream]));
    }

    cudaStream_t streams_[2];
    void* host_[2];
    void* card_[2];
};

std::string parent(const std::string& directory) {
    char resolved[PATH_MAX];
    return realpath(directory.c_str(), resolved) == nullptr ? directory + "/.." : std::string(resolved) + "/..";
}

__global__ void nothing() {}

int measure_host(const cudaDeviceProp& card, double began) {
    about_card(card, nothing, true);  // fails here where the program has no code for this card
    const std::string pci = pci_text(card);
    const std::string directory = "/sys/bus/pci/devices/" + pci.substr(4);
    stay_near(directory);
    const Nvml nvml(pci);
    const Link link{directory, parent(directory), nvml};
    const std::string idle = link.now();

    Copies copies;
    const bool ok = copies.same();
    const double down = copies.speed(1, [&] { copies.down(); });
    const double up = copies.speed(1, [&] { copies.up(); });
    const double both = copies.speed(2, [&] {
        copies.down();
        copies.up();
    });
    std::string under_load;
    for (int sample = 0; sample < kSamples; ++sample) {
        for (int i = 0; i < kCopiesPerSample; ++i) {
            copies.down();
            copies.up();
        }
        under_load += (sample == 0 ? "" : ", ") + link.now();  // while these copies are under way
        copies.wait();
    }
    std::printf("%s, \"block_bytes\": %zu, \"h2d_gb_s\": %.2f, \"d2h_gb_s\": %.2f, \"bidirectional_gb_s\": %.2f, ",
                about_card(card, nothing, ok).c_str(), kBlock, down, up, both);
    const std::string replays = nvml.ask("nvmlDeviceGetPcieReplayCounter");
    std::printf("\"link\": {\"idle\": %s, \"max\": %s, \"load\": [%s]}, \"replays\": %s, \"seconds\": %.3f}\n",
                idle.c_str(), link.most().c_str(), under_load.c_str(), replays.c_str(), seconds_now() - began);
    return ok ? 0 : 1;
}

}  // namespace
