// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// One card's arithmetic, its memory and its way to the host, each on request. They are one program because most of its
// compilation is the same for all of them.
//
//   gpu_verify DEVICE SEED LIMIT_SECONDS numbers|memory|bandwidth|host      prints one JSON object

#include "gpu_verify_arithmetic.cuh"
#include "gpu_verify_host.cuh"
#include "gpu_verify_memory.cuh"

int main(int argc, char** argv) {
    const Run asked = start("gpu_verify", {"numbers", "memory", "bandwidth", "host"}, argc, argv);
    const cudaDeviceProp card = read_card();
    if (asked.what == "numbers") return verify_numbers(card, asked.seed, asked.began);
    if (asked.what == "memory") return test_memory(card, asked.seed);
    if (asked.what == "bandwidth") return measure_bandwidth(card, asked.seed, asked.began);
    return measure_host(card, asked.began);
}
