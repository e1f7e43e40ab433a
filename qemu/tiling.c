/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tiled memory: the fences, through which the CPU sees it as linear, and the blitter.
 * Memory is not swizzled.
 */
#include "intel_gpu.h"

#define BLT_BYTES_AT_ONCE   MiB             /* before the rest of the machine goes on */

/* A tile is a page: X has 8 rows of 512 bytes, Y 32 rows in columns of 16 bytes. */
uint64_t intel_gpu_tile_offset(IntelGPUTiling tiling, uint32_t pitch, uint32_t x, uint32_t y)
{
    uint64_t tile;

    switch (tiling) {
    case TILING_X:
        tile = (uint64_t)(y / 8) * (pitch / 512) + x / 512;
        return tile * GPU_PAGE_SIZE + y % 8 * 512 + x % 512;
    case TILING_Y:
        tile = (uint64_t)(y / 32) * (pitch / 128) + x / 128;
        return tile * GPU_PAGE_SIZE + x % 128 / 16 * 512 + y % 32 * 16 + x % 16;
    default:
        return (uint64_t)y * pitch + x;
    }
}

/* Where in the global GTT an address of the aperture is */
uint64_t intel_gpu_fence_address(IntelGPUState *s, uint64_t addr)
{
    for (int i = 0; i < FENCES; i++) {
        uint32_t lo = *intel_gpu_reg(s, FENCE_LO(i)), hi = *intel_gpu_reg(s, FENCE_HI(i));
        uint32_t start = lo & FENCE_PAGE, last_page = hi & FENCE_PAGE;
        uint32_t pitch = (extract32(hi, 0, 12) + 1) * 128;

        if ((lo & FENCE_VALID) && addr >= start && addr - start < last_page - start + GPU_PAGE_SIZE) {
            IntelGPUTiling tiling = lo & FENCE_TILING_Y ? TILING_Y : TILING_X;

            return start + intel_gpu_tile_offset(tiling, pitch, (addr - start) % pitch,
                                                 (addr - start) / pitch);
        }
    }
    return addr;
}

typedef struct Surface {
    uint64_t addr;
    int32_t pitch;                          /* bytes */
    uint32_t x, y;                          /* x in bytes */
    IntelGPUTiling tiling;
} Surface;

/* One row of a surface; tiled ones are contiguous for 16 bytes at least. */
static bool access_row(IntelGPUEngine *e, const Surface *surface, uint32_t row, uint8_t *buf,
                       size_t len, bool write)
{
    uint32_t x = surface->x, y = surface->y + row;

    if (surface->tiling == TILING_NONE) {
        return engine_access(e, false, surface->addr + (int64_t)y * surface->pitch + x,
                             buf, len, write);
    }
    while (len) {
        size_t n = MIN(len, 16 - x % 16);
        uint64_t offset = intel_gpu_tile_offset(surface->tiling, surface->pitch, x, y);

        if (!engine_access(e, false, surface->addr + offset, buf, n, write)) {
            return false;
        }
        buf += n;
        x += n;
        len -= n;
    }
    return true;
}

static unsigned pixel_size(uint32_t opcode, uint32_t dw1)
{
    static const uint8_t fast_copy[8] = { 1, 2, 0, 4, 8, 16, 0, 0 };

    if (opcode == XY_FAST_COPY_BLT) {
        return fast_copy[extract32(dw1, 24, 3)];
    }
    switch (extract32(dw1, 24, 2)) {
    case 0:
        return 1;
    case 3:
        return 4;
    default:
        return 2;
    }
}

static IntelGPUTiling surface_tiling(IntelGPUEngine *e, const uint32_t *dw, bool dst)
{
    uint32_t swctrl = *engine_reg(e, BCS_SWCTRL);

    if (BLT_OPCODE(dw[0]) == XY_FAST_COPY_BLT) {
        return dst ? FAST_COPY_DST_TILING(dw[0]) : FAST_COPY_SRC_TILING(dw[0]);
    }
    if (!(dw[0] & (dst ? XY_DST_TILED : XY_SRC_TILED))) {
        return TILING_NONE;
    }
    return swctrl & (dst ? BCS_DST_Y : BCS_SRC_Y) ? TILING_Y : TILING_X;
}

static bool set_surface(IntelGPUEngine *e, const uint32_t *dw, bool dst, unsigned bpp, Surface *s)
{
    uint32_t pitch = dst ? dw[1] : dw[7], origin = dst ? dw[2] : dw[6];
    uint32_t lo = dst ? dw[4] : dw[8], hi = dst ? dw[5] : dw[9];

    s->tiling = surface_tiling(e, dw, dst);
    s->addr = (uint64_t)hi << 32 | lo;
    /* In dwords if it is tiled, and then never negative */
    s->pitch = s->tiling == TILING_NONE ? (int16_t)pitch : (int32_t)(pitch & 0xffff) * 4;
    s->x = extract32(origin, 0, 16) * bpp;
    s->y = extract32(origin, 16, 16);
    return s->tiling <= TILING_Y && (s->tiling == TILING_NONE || s->pitch);
}

static void fill(uint8_t *row, size_t len, unsigned bpp, uint32_t color)
{
    for (size_t i = 0; i < len; i++) {
        row[i] = color >> (i % bpp % 4 * 8);
    }
}

/* Returns false when there is more to do: call it again with the same command. */
bool engine_blit(IntelGPUEngine *e, const uint32_t *dw)
{
    uint32_t opcode = BLT_OPCODE(dw[0]);
    unsigned bpp = pixel_size(opcode, dw[1]);
    uint32_t width, height;
    Surface dst, src = {};
    size_t len, done = 0;

    if ((opcode != XY_COLOR_BLT && opcode != XY_SRC_COPY_BLT && opcode != XY_FAST_COPY_BLT) ||
        !bpp || !set_surface(e, dw, true, bpp, &dst) ||
        (opcode != XY_COLOR_BLT && !set_surface(e, dw, false, bpp, &src))) {
        qemu_log_mask(LOG_UNIMP, "intel-gpu: %s: blitter command 0x%08x 0x%08x\n",
                      e->info->name, dw[0], dw[1]);
        return true;
    }
    width = extract32(dw[3], 0, 16);
    height = extract32(dw[3], 16, 16);
    if (width * bpp <= dst.x || height <= dst.y) {
        return true;
    }
    len = width * bpp - dst.x;
    height -= dst.y;

    g_autofree uint8_t *row = g_malloc(len);

    if (opcode == XY_COLOR_BLT) {
        fill(row, len, bpp, dw[6]);
    }
    for (; e->blit_row < height && done < BLT_BYTES_AT_ONCE; e->blit_row++, done += len) {
        if ((opcode != XY_COLOR_BLT && !access_row(e, &src, e->blit_row, row, len, false)) ||
            !access_row(e, &dst, e->blit_row, row, len, true)) {
            e->blit_row = height;           /* the rest is not mapped either */
        }
    }
    if (e->blit_row < height) {
        return false;
    }
    e->blit_row = 0;
    return true;
}
