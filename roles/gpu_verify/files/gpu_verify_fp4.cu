// Copyright: (c) 2026, gpulab contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The fp4 tensor cores of compute capability 12.0: nvfp4, e2m1 elements with an e4m3 scale for every 16 of a row. The
// instruction exists for the target 120a alone, so this program is built for it and has machine code for nothing else.
//
//   gpu_verify_fp4 DEVICE SEED LIMIT_SECONDS numbers      prints one JSON object

#include "gpu_verify_numbers.cuh"

namespace {

// e2m1 has no infinity; its bias is 1, so that exponents from 0 to 2 give 1 to 6. How many bits of an addend are kept
// is not published: 13, the least that is known of any tensor core.
constexpr Path kNvfp4{"nvfp4", 2, 1, 4, 0, 2, 256, 13, 120};
constexpr int kScaled = 16;                          // elements of a row that share a scale
constexpr Path kScale{"", 4, 3, 8, -2, 1, 0, 0, 0};  // ue4m3: e4m3 without its sign

// PTX ISA, "Block scaling for mma.sync": with thread-id-a 0 lanes 0 and 1 of each four bring the scales of the rows
// `group` and `group + 8`, with thread-id-b 0 lane 0 brings those of the column; a byte for each 16 of the 64 elements.
struct Nvfp4 {
    using Sum = float;
    static constexpr int kPlant = 21;
    static __device__ void step(Fragment<Sum>& f, const uint32_t* scales, int row, int column, int index, int steps) {
        const uint32_t scale_a = scales[(row + (threadIdx.x % 2) * 8) * steps + index];
        const uint32_t scale_b = scales[(kTensorRows + column) * steps + index];
        const uint16_t first = 0;
        asm volatile(
            "mma.sync.aligned.kind::mxf4nvf4.block_scale.scale_vec::4X.m16n8k64.row.col.f32.e2m1.e2m1.f32.ue4m3 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%12, %12}, {%11}, {%12, %12};"
            : "+f"(f.sum[0]), "+f"(f.sum[1]), "+f"(f.sum[2]), "+f"(f.sum[3])
            : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]), "r"(scale_a), "r"(scale_b),
              "h"(first));
    }
};

// Multiplies each 16 elements of a row with a scale of their own, which is kept as a byte for the card.
void scale(Matrix& matrix, bool exact, uint64_t& state, std::vector<uint32_t>& scales) {
    for (size_t i = 0; i < matrix.values.size(); i += kScaled) {
        const double random = exact ? 1.0 + static_cast<double>(next(state) % 2) : random_value(kScale, state);
        const double factor = std::fabs(random);
        for (int k = 0; k < kScaled; ++k) matrix.values[i + k] *= factor;
        const size_t byte = i / kScaled;
        if (byte % 4 == 0) scales.push_back(0);
        scales.back() |= encode(kScale, factor) << (8 * (byte % 4));
    }
}

}  // namespace

int main(int argc, char** argv) {
    const Run asked = start("gpu_verify_fp4", {"numbers"}, argc, argv);
    uint64_t seed = asked.seed;
    const cudaDeviceProp card = read_card();
    about_card(card, tensor<Nvfp4>, true);  // fails here where the program has no code for this card

    bool ok = true;
    std::vector<std::string> results;
    for (const bool exact : {false, true}) {
        Matrix a = make_matrix(kNvfp4, kTensorRows, exact, seed);
        Matrix b = make_matrix(kNvfp4, kTensorColumns, exact, seed);
        std::vector<uint32_t> scales;
        scale(a, exact, seed, scales);
        scale(b, exact, seed, scales);
        results.push_back(verify_tensor<Nvfp4>(kNvfp4, a, b, to_device(scales), exact, ok));
    }
    print_results(card, tensor<Nvfp4>, ok, asked.seed, asked.began, results);
    return ok ? 0 : 1;
}
