// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The negative control: a kernel that any card could run, built for an architecture that the card is not. It is launched
// without asking first, so that only the card and its driver can refuse it.
//
//   gpu_verify_control DEVICE SEED LIMIT_SECONDS numbers      prints one JSON object

#include "gpu_verify.cuh"

namespace {

__global__ void mark(uint32_t* out, uint32_t value) {
    *out = value;
}

}  // namespace

int main(int argc, char** argv) {
    const Run asked = start("gpu_verify_control", {"numbers"}, argc, argv);
    const auto value = static_cast<uint32_t>(scramble(asked.seed));
    uint32_t* memory = nullptr;
    uint32_t found = ~value;
    must("allocate", cudaMalloc(&memory, sizeof found));
    mark<<<1, 1>>>(memory, value);
    must("launch", cudaGetLastError());
    must("read the mark", cudaMemcpy(&found, memory, sizeof found, cudaMemcpyDeviceToHost));
    std::printf("%s}\n", about_card(read_card(), mark, found == value).c_str());
    return found == value ? 0 : 1;
}
