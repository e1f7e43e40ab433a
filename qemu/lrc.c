/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Context images. A context is at a page of the global GTT: a status page of its own,
 * then a page that lists registers as MI_LOAD_REGISTER_IMM commands, which are loaded
 * from there and saved to there, then state that is no register to the driver, whose
 * layout is the model's own business.
 */
#include "intel_gpu.h"
#include "trace.h"

#define IMAGE_DWORDS        (GPU_PAGE_SIZE / 4)
#define IMAGE_HEADER(dw)    (CMD_CLIENT(dw) == CLIENT_MI && MI_OPCODE(dw) == MI_LOAD_REGISTER_IMM)
#define LRI(count)          (MI_LOAD_REGISTER_IMM << 23 | (2 * (count) - 1))
#define IMAGE_TAIL          7               /* dword: the value of RING_TAIL */

typedef void (*ImageVisitor)(IntelGPUEngine *e, uint32_t addr, uint32_t value, uint32_t va);

static uint32_t image_address(IntelGPUEngine *e)
{
    return context_page(e->desc) + GPU_PAGE_SIZE;
}

static bool read_image(IntelGPUEngine *e, uint32_t image[IMAGE_DWORDS])
{
    if (!engine_access(e, true, image_address(e), image, GPU_PAGE_SIZE, false)) {
        return false;
    }
    for (int i = 0; i < IMAGE_DWORDS; i++) {
        image[i] = le32_to_cpu(image[i]);
    }
    return true;
}

/* Calls visit for each register of the image; returns the dword where the list ends. */
static unsigned walk_image(IntelGPUEngine *e, const uint32_t image[IMAGE_DWORDS],
                           ImageVisitor visit)
{
    unsigned i = 0;

    while (i < IMAGE_DWORDS && (image[i] == 0 || IMAGE_HEADER(image[i]))) {
        uint32_t header = image[i++];
        unsigned count = header ? (extract32(header, 0, 8) + 1) / 2 : 0;

        for (; count && i + 1 < IMAGE_DWORDS; count--, i += 2) {
            uint32_t addr = engine_relative(e, header & MI_LRI_CS_MMIO, image[i]);

            if (visit && addr < MMIO_SIZE) {
                visit(e, addr, image[i + 1], image_address(e) + (i + 1) * 4);
            }
        }
    }
    return i;
}

/* What an engine saves beyond the registers that the driver has listed */
typedef struct ExtraState {
    uint32_t addr;
    unsigned count;
} ExtraState;

static const ExtraState render_state[] = {
    { 0x20c0, 1 }, { 0x20d8, 1 }, { 0x2158, 1 }, { 0x2290, 2 }, { 0x22c8, 14 },
    { 0x2300, 18 }, { 0x2360, 2 }, { 0x2400, 22 }, { 0x2500, 3 }, { 0x2580, 8 }, { 0x2600, 32 },
    { 0x5200, 36 }, { 0x5580, 8 }, { 0x6210, 1 }, { 0x6604, 1 }, { 0x7000, 256 },
    { 0x83a4, 1 }, { 0xb118, 1 }, { 0xe180, 8 }, { 0xe400, 2 }, { 0xe48c, 2 }, { 0xe4f0, 4 },
};

static void access_render_state(IntelGPUEngine *e, bool save)
{
    uint64_t va = context_page(e->desc) + 2 * GPU_PAGE_SIZE;

    if (e->info->class != CLASS_RENDER) {
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(render_state); i++) {
        size_t len = render_state[i].count * 4;

        engine_access(e, true, va, intel_gpu_reg(e->gpu, render_state[i].addr), len, save);
        va += len;
    }
}

static void append_lri(uint32_t image[IMAGE_DWORDS], unsigned *at, uint32_t header,
                       const uint32_t *registers, unsigned count)
{
    image[(*at)++] = header | LRI(count);
    for (int i = 0; i < count; i++) {
        image[(*at)++] = registers[i];
        image[(*at)++] = 0;
    }
}

/*
 * The driver gives some engines fewer registers than they have after they were saved
 * once: the render engine of graphics 11, and on graphics 12 those that do not render,
 * each at a place that the driver expects; copy engines the tiling of their surfaces
 * at the end.
 */
static bool extends_image(IntelGPUEngine *e)
{
    return e->info->class != CLASS_RENDER || e->gpu->gen->version == 11;
}

static void extend_image(IntelGPUEngine *e, uint32_t image[IMAGE_DWORDS])
{
    enum { GEN11_MORE = 0x51, GEN12_MORE = 0x5d, GPRS = 2 * CS_GPR_COUNT };
    static const uint16_t more[] = {
        0x028, 0x09c, 0x0c0, 0x178, 0x17c, 0x358, 0x170, 0x150, 0x154, 0x158, 0x41c,
    };
    bool gen11_render = e->info->class == CLASS_RENDER;
    uint32_t base = e->info->base, swctrl = base + BCS_SWCTRL;
    uint32_t registers[ARRAY_SIZE(more) + GPRS + 2];
    unsigned end = walk_image(e, image, NULL), at = gen11_render ? GEN11_MORE : GEN12_MORE;
    unsigned count = 0;

    if ((gen11_render || e->gpu->gen->version >= 12) && !IMAGE_HEADER(image[at])) {
        memset(&image[end], 0, (at > end ? at - end : 0) * 4);
        for (int i = 0; i < ARRAY_SIZE(more); i++) {
            registers[count++] = base + more[i];
        }
        for (int i = 0; i < GPRS; i++) {
            registers[count++] = base + CS_GPR + i * 4;
        }
        if (gen11_render) {
            registers[count++] = base + 0x068;
            registers[count++] = base + CMD_BUF_CCTL;
        } else {
            registers[count++] = base + BLIT_CCTL;
        }
        append_lri(image, &at, MI_LRI_CS_MMIO | MI_LRI_FORCE_POSTED, registers, count);
        end = at;
    }
    if (e->info->class == CLASS_COPY && end > 1 && image[end - 2] != swctrl &&
        end + 4 < IMAGE_DWORDS) {
        append_lri(image, &end, MI_LRI_FORCE_POSTED, &swctrl, 1);
    }
    if (end >= IMAGE_DWORDS) {
        return;
    }
    image[end] = MI_BATCH_BUFFER_END << 23 | 1;
    for (int i = 0; i < IMAGE_DWORDS; i++) {
        image[i] = cpu_to_le32(image[i]);
    }
    engine_access(e, true, image_address(e), image, GPU_PAGE_SIZE, true);
}

static void save_register(IntelGPUEngine *e, uint32_t addr, uint32_t value, uint32_t va)
{
    switch (addr - e->info->base) {
    case RING_TAIL:                 /* these are the driver's */
    case RING_START:
    case RING_CTL:
    case RING_CONTEXT_CONTROL:
        break;
    default:
        engine_write32(e, true, va, intel_gpu_read(e->gpu, addr));
    }
}

/* Where a batch goes on; one of the second level is never left before its end. */
void engine_save_batch(IntelGPUEngine *e)
{
    *engine_reg(e, RING_BBADDR) = e->level ? (uint32_t)e->batch[1] | RING_BB_VALID : 0;
    *engine_reg(e, RING_BBADDR_UDW) = e->level ? e->batch[1] >> 32 : 0;
    *engine_reg(e, RING_BBSTATE) = e->level && !e->batch_ggtt[1] ? RING_BB_PPGTT : 0;
}

void engine_context_save(IntelGPUEngine *e)
{
    uint32_t image[IMAGE_DWORDS];

    if (!e->loaded) {
        return;
    }
    trace_intel_gpu_context_save(e->info->name, e->desc, *engine_reg(e, RING_HEAD), e->level);
    engine_flush_tlb(e);
    engine_save_batch(e);
    *engine_reg(e, RING_CTX_TIMESTAMP) = engine_context_timestamp(e);
    if (extends_image(e) && read_image(e, image)) {
        extend_image(e, image);
    }
    if (read_image(e, image)) {
        walk_image(e, image, save_register);
    }
    access_render_state(e, true);
    e->loaded = false;
}

static void load_register(IntelGPUEngine *e, uint32_t addr, uint32_t value, uint32_t va)
{
    switch (addr - e->info->base) {
    case RING_CONTEXT_CONTROL:
        *intel_gpu_reg(e->gpu, addr) = value & 0xffff;
        if (value & CTX_RESTORE_INHIBIT) {      /* just this once */
            engine_write32(e, true, va, value & ~CTX_RESTORE_INHIBIT);
        }
        break;
    case RING_MI_MODE:
    case RING_INSTPM:
        *intel_gpu_reg(e->gpu, addr) = value & 0xffff;
        break;
    case RING_TIMESTAMP:
    case RING_TIMESTAMP_UDW:
        break;
    default:
        *intel_gpu_reg(e->gpu, addr) = value;
    }
}

static void load_batch(IntelGPUEngine *e)
{
    uint32_t bbaddr = *engine_reg(e, RING_BBADDR);

    e->level = 0;
    if (bbaddr & RING_BB_VALID) {
        e->level = 1;
        e->batch[1] = (uint64_t)*engine_reg(e, RING_BBADDR_UDW) << 32 | (bbaddr & ~3u);
        e->batch_ggtt[1] = !(*engine_reg(e, RING_BBSTATE) & RING_BB_PPGTT);
    }
}

/*
 * The batches that the driver wants to be run whenever a context is loaded. The first runs
 * after the registers that the driver has listed, before the others, which may undo it.
 */
static void run_indirect_context(IntelGPUEngine *e)
{
    uint32_t indirect = *engine_reg(e, RING_INDIRECT_CTX);

    if (indirect & INDIRECT_CTX_LINES) {
        engine_run_privileged(e, indirect & ~INDIRECT_CTX_LINES,
                              (indirect & INDIRECT_CTX_LINES) * 16);
    }
}

static void run_per_context(IntelGPUEngine *e)
{
    uint32_t per_context = *engine_reg(e, RING_BB_PER_CTX_PTR);

    if (per_context & PER_CTX_BB_VALID) {
        engine_run_privileged(e, per_context & GPU_PAGE_MASK, GPU_PAGE_SIZE / 4);
    }
}

/* Returns false if there is no context there. */
bool engine_context_load(IntelGPUEngine *e, uint64_t desc)
{
    uint32_t image[IMAGE_DWORDS];

    e->desc = desc;
    e->loaded = true;
    e->level = 0;
    e->arbitration_off = false;
    e->waiting = false;
    e->predicate = PREDICATE_OFF;
    e->blit_row = 0;
    engine_flush_tlb(e);
    if (!read_image(e, image)) {
        qemu_log_mask(LOG_GUEST_ERROR, "intel-gpu: %s: no context at 0x%08x\n",
                      e->info->name, context_page(desc));
        return false;
    }

    *engine_reg(e, RING_BBADDR) = 0;
    walk_image(e, image, load_register);
    e->timestamp_start = *engine_reg(e, RING_CTX_TIMESTAMP);
    e->timestamp_loaded = intel_gpu_timestamp();
    load_batch(e);
    trace_intel_gpu_context_load(e->info->name, desc, *engine_reg(e, RING_HEAD),
                                 *engine_reg(e, RING_TAIL), e->level);
    run_indirect_context(e);
    if (!(*engine_reg(e, RING_CONTEXT_CONTROL) & CTX_RESTORE_INHIBIT)) {
        access_render_state(e, false);
    }
    run_per_context(e);
    e->arbitration_off = false;
    return true;
}

/* A lite restore: the driver has added to the ring of the context that runs. */
void engine_reload_tail(IntelGPUEngine *e)
{
    uint32_t tail;

    engine_flush_tlb(e);
    if (engine_access(e, true, image_address(e) + IMAGE_TAIL * 4, &tail, sizeof(tail), false)) {
        *engine_reg(e, RING_TAIL) = le32_to_cpu(tail);
    }
}
