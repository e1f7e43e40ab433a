/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Resets: of one engine and of all by GDRST, and of the device.
 */
#include "intel_gpu.h"
#include "trace.h"

/* What the driver has set up stays: the status page, and which errors interrupt. */
void engine_reset(IntelGPUEngine *e)
{
    uint32_t status_page = *engine_reg(e, RING_HWS_PGA);
    uint32_t error_mask = *engine_reg(e, RING_EMR);

    trace_intel_gpu_engine_reset(e->info->name);
    timer_del(e->timer);
    memset(engine_reg(e, 0), 0, RING_REGS_SIZE);
    *engine_reg(e, RING_HWS_PGA) = status_page;
    *engine_reg(e, RING_EMR) = error_mask;
    /* From graphics 11 on the driver never writes the mask. */
    *engine_reg(e, RING_IMR) = e->gpu->gen->version >= 11 ? 0 : UINT32_MAX;
    *engine_reg(e, RING_INSTDONE) = UINT32_MAX;

    e->elsp_count = 0;
    memset(e->queue, 0, sizeof(e->queue));
    e->num_pending = 0;
    e->num_ports = e->port = 0;
    e->csb_write = e->gpu->gen->csb_entries - 1;
    e->loaded = false;
    e->level = 0;
    e->arbitration_off = false;
    e->waiting = false;
    e->hung = false;
    e->predicate = PREDICATE_OFF;
    e->blit_row = 0;
    engine_flush_tlb(e);
}

void intel_gpu_reset_domains(IntelGPUState *s, uint32_t domains)
{
    for (int i = 0; i < s->gen->num_engines; i++) {
        IntelGPUEngine *e = &s->engines[i];

        if (domains & (GRDOM_FULL | e->info->reset_bit)) {
            engine_reset(e);
        }
    }
}

void intel_gpu_reset(IntelGPUState *s)
{
    memset(s->regs, 0, MMIO_SIZE);
    memset(s->gtt, 0, GTT_SIZE);
    for (int i = 0; i < s->gen->num_engines; i++) {
        s->engines[i].irq_pending = 0;
        engine_reset(&s->engines[i]);
    }
    for (const IntelGPURegValue *fuse = s->gen->fuses; fuse->addr; fuse++) {
        *intel_gpu_reg(s, fuse->addr) = fuse->value;
    }
    for (int i = 0; i < GEN8_GT_BANKS; i++) {
        *intel_gpu_reg(s, GEN8_GT_IMR(i)) = UINT32_MAX;
    }
    s->irq_level = false;
    s->rc6_ns = 0;
    s->rc6_since = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}
